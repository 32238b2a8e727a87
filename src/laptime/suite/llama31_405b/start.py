"""The starting checkpoint of generated data: trained from random weights with another tokenizer, before a clock runs.

A fixed seed, one thread and float32: equal wherever the arithmetic is, and within a window of log perplexity elsewhere.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from laptime.errors import DataProblem
from laptime.suite.llama31_405b.config import Llama405BConfig
from laptime.training.data.token_windows import Form
from laptime.training.nn.llama import Llama, initialise, is_norm
from laptime.training.nn.llama_checkpoint import weights_of
from laptime.training.optim.clip import NormClip
from laptime.training.seeds import Seeds
from laptime.training.threads import one_thread

SEED = 405  # any fixed number
RATE, WARMUP_STEPS, BETAS = 5e-3, 40, (0.9, 0.95)

Documents = Sequence[Sequence[int]]


def trained(config: Llama405BConfig, documents: Documents,
            held_out: Documents) -> tuple[Mapping[str, torch.Tensor], float]:
    """(bfloat16 weights by name, log perplexity on `held_out`) after `data.start_steps` steps.

    Raises DataProblem when the log perplexity lies outside the window that the configuration says.
    """
    model = Llama(config.model)
    initialise(model, Seeds(SEED))
    with one_thread():
        _train(model, config, samples_of(documents, config.data.length))
        reached = log_perplexity(model, samples_of(held_out, config.data.length)[:config.data.eval_samples])
    low, high = config.data.start_low, config.data.start_high
    if not low <= reached <= high:
        raise DataProblem(f"expected a starting checkpoint of log perplexity {low:g} to {high:g}, found {reached:.4f}",
                          hint="Change data.start_steps, or the window data.start_low to data.start_high.")
    return weights_of(model, torch.bfloat16), reached


def samples_of(documents: Documents, length: int) -> torch.Tensor:
    """(n, length + 1) ids: documents back to back, in order, cut."""
    form, flat = Form(length), np.concatenate([np.asarray(one, np.int64) for one in documents])
    starts = np.arange(form.samples_in(len(flat))) * length
    return torch.from_numpy(flat[starts[:, None] + np.arange(form.tokens)])


def _train(model: Llama, config: Llama405BConfig, samples: torch.Tensor) -> None:
    decayed = [p for name, p in model.named_parameters() if not is_norm(name)]
    norms = [p for name, p in model.named_parameters() if is_norm(name)]
    groups: list[dict] = [{"params": decayed}, {"params": norms, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=BETAS, weight_decay=config.optimizer.weight_decay, fused=True)
    clip, order = NormClip(model.parameters(), config.optimizer.clip_norm), Seeds(SEED).numpy("shuffle")
    for step in range(config.data.start_steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / WARMUP_STEPS)
        chosen = order.integers(0, len(samples), config.global_batch_size)
        loss_of(model, samples[chosen]).backward()
        clip()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def loss_of(model: Llama, windows: torch.Tensor) -> torch.Tensor:
    """The mean cross entropy of what follows each token."""
    scores = model(windows[:, :-1], torch.arange(windows.shape[1] - 1))
    return F.cross_entropy(scores.flatten(0, 1), windows[:, 1:].flatten())


@torch.no_grad()
def log_perplexity(model: Llama, samples: torch.Tensor) -> float:
    """Over all samples."""
    model.eval()
    losses = [loss_of(model, one).double() * len(one) for one in samples.split(32)]
    model.train()
    return float(torch.stack(losses).sum() / len(samples))
