"""The frozen weights of generated data: a whole network trained on articles, before any clock runs.

A fixed seed, one thread and float32: equal wherever the arithmetic is, and within a window of log perplexity elsewhere.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from laptime.errors import DataProblem
from laptime.suite.llama2_70b_lora.config import LoraConfig
from laptime.suite.llama2_70b_lora.weights import FUSED, PARTS
from laptime.training.nn.llama import Llama, initialise, is_norm
from laptime.training.nn.llama_checkpoint import weights_of
from laptime.training.optim.clip import NormClip
from laptime.training.seeds import Seeds
from laptime.training.threads import one_thread

SEED = 70  # any fixed number
RATE, WARMUP_STEPS, BETAS, EPSILON, DECAY, CLIP = 5e-3, 40, (0.9, 0.95), 1e-5, 0.1, 1.0  # as Llama 2 was (section 2.2)
LAST_SHARE = 0.1  # of the rate, to which it falls linearly
HELD_OUT = 32  # samples that are not trained on


def trained(config: LoraConfig, documents: Sequence[Sequence[int]]) -> tuple[Mapping[str, torch.Tensor], float]:
    """(bfloat16 weights by published name, log perplexity on held-out articles) after `data.start_steps` steps.

    Raises DataProblem when the log perplexity lies outside the window that the configuration says.
    """
    model = Llama(config.model)
    initialise(model, Seeds(SEED))
    samples = samples_of(documents, config.data.length)
    with one_thread():
        _train(model, config, samples[HELD_OUT:])
        reached = log_perplexity(model, samples[:HELD_OUT])
    low, high = config.data.start_low, config.data.start_high
    if not low <= reached <= high:
        raise DataProblem(f"expected frozen weights of log perplexity {low:g} to {high:g}, found {reached:.4f}",
                          hint="Change data.start_steps, or the window data.start_low to data.start_high.")
    return fused(weights_of(model, torch.bfloat16)), reached


def fused(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights with one tensor for queries, keys and values of a layer, as they are published."""
    found: dict[str, torch.Tensor] = {}
    for name, value in weights.items():
        part = next((one for one in PARTS if one in name), None)
        if part is None:
            found[name] = value
        elif part == PARTS[0]:
            found[name.replace(part, FUSED)] = torch.cat([weights[name.replace(part, one)] for one in PARTS])
    return found


def samples_of(documents: Sequence[Sequence[int]], length: int) -> torch.Tensor:
    """(n, length + 1) ids: documents back to back, in order, cut."""
    flat = np.concatenate([np.asarray(one, np.int64) for one in documents])
    count = len(flat) // (length + 1)
    return torch.from_numpy(flat[:count * (length + 1)].reshape(count, length + 1))


def _train(model: Llama, config: LoraConfig, samples: torch.Tensor) -> None:
    decayed = [p for name, p in model.named_parameters() if not is_norm(name)]
    norms = [p for name, p in model.named_parameters() if is_norm(name)]
    groups: list[dict] = [{"params": decayed}, {"params": norms, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=BETAS, eps=EPSILON, weight_decay=DECAY, fused=True)
    clip, order = NormClip(model.parameters(), CLIP), Seeds(SEED).numpy("shuffle")
    for step in range(config.data.start_steps):
        left = 1.0 - (1.0 - LAST_SHARE) * step / config.data.start_steps
        for group in optimizer.param_groups:
            group["lr"] = RATE * left * min(1.0, (step + 1) / WARMUP_STEPS)
        loss_of(model, samples[order.integers(0, len(samples), config.global_batch_size)]).backward()
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
    losses = [loss_of(model, one).double() * len(one) for one in samples.split(8)]
    model.train()
    return float(torch.stack(losses).sum() / len(samples))
