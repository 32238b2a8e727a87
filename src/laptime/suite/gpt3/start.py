"""The starting checkpoint of generated data: training on the first set of articles, before any clock runs.

A fixed seed, one thread and float32: equal wherever the arithmetic is, and within a window of log perplexity elsewhere.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from laptime.suite.gpt3.checkpoint import MOMENTS, save
from laptime.suite.gpt3.config import Gpt3Config
from laptime.suite.gpt3.data import Micro, eval_windows
from laptime.suite.gpt3.model import Gpt3
from laptime.suite.gpt3.train import Loss, build_optimizer, build_schedule, initialise, losses
from laptime.training.data.token_windows import Form, inputs_and_labels
from laptime.training.distributed.world import World
from laptime.training.optim.adamw import AdamW
from laptime.training.optim.clip import NormClip
from laptime.training.optim.schedules import Applied
from laptime.training.seeds import Seeds
from laptime.training.threads import one_thread

SEED = 4000  # any fixed number; the step of the published checkpoint
ALONE = World(0, 1, torch.device("cpu"))

Ids = NDArray[np.integer]


def write_start(config: Gpt3Config, folder: Path, tokens: Ids, evaluation: Ids) -> float:
    """Train on `tokens` and write the checkpoint; returns its log perplexity on `evaluation` (all ids of a set)."""
    with one_thread():
        model, optimizer = trained(from_the_beginning(config), tokens)
        found = log_perplexity(model, evaluation, config.data.length)
    save(folder, {name: {"weight": parameter.detach().numpy(),
                         **{which: optimizer.state[parameter][which].numpy() for which in MOMENTS}}
                  for name, parameter in model.named_parameters()})
    return found


def from_the_beginning(config: Gpt3Config) -> Gpt3Config:
    """The configuration of the training that ends where runs begin: the same schedule from sequence 0, another rate."""
    rate, schedule = config.data.start_rate, config.schedule
    return replace(config, global_batch_size=config.data.start_batch,
                   optimizer=replace(config.optimizer, base_learning_rate=rate, end_learning_rate=rate / 10),
                   schedule=replace(schedule, start_sequences=0, limit_sequences=schedule.start_sequences))


def trained(config: Gpt3Config, tokens: Ids) -> tuple[Gpt3, AdamW]:
    """Network and optimizer after `limit_sequences` windows of `tokens`, taken in a fixed order, pass after pass."""
    model = Gpt3(config.model, config.data.length)
    initialise(model, config, Seeds(SEED))
    optimizer, clip = build_optimizer(config.optimizer, model), NormClip(model.parameters(), config.optimizer.clip_norm)
    schedule = Applied(build_schedule(config), optimizer)
    loss, form = Loss(config.global_batch_size * (config.data.length - 1), ALONE), Form(config.data.length, extra=0)
    windows = tokens[:len(tokens) // form.length * form.length].reshape(-1, form.length).astype(np.int64)
    steps = -(-config.schedule.limit_sequences // config.global_batch_size)
    passes = -(-steps * config.global_batch_size // len(windows))
    order = np.concatenate([Seeds(SEED).numpy("windows", one).permutation(len(windows)) for one in range(passes)])
    for step, chosen in enumerate(order[:steps * config.global_batch_size].reshape(steps, -1)):
        schedule.apply(step)
        loss(model, micro(*inputs_and_labels(windows[chosen], form))).backward()
        clip()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return model, optimizer


@torch.no_grad()
def log_perplexity(model: torch.nn.Module, flat: Ids, length: int, size: int = 64) -> float:
    """Mean cross entropy over all ids of a set but the first of each window, as a run measures it."""
    tokens, labels = eval_windows(flat, length, 1)
    total = sum(losses(model, micro(tokens[i:i + size], labels[i:i + size]), ALONE).double().sum().item()
                for i in range(0, len(tokens), size))
    return total / int((labels >= 0).sum())


def micro(tokens: NDArray[np.int64], labels: NDArray[np.int64]) -> Micro:
    return Micro(torch.from_numpy(np.ascontiguousarray(tokens)), torch.from_numpy(np.ascontiguousarray(labels)))
