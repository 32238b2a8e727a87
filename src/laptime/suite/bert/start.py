"""The starting checkpoint of generated data: a first phase of training on short samples, before any clock runs.

A fixed seed, one thread and float32: equal wherever the arithmetic is, and within a window of accuracy elsewhere.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from laptime.suite.bert.config import BertConfig
from laptime.suite.bert.instances import Instance
from laptime.suite.bert.model import Bert, initialise, reference_names, transposed
from laptime.suite.bert.samples import Micro, collated, columns_of, encoded, loss_weights, micro
from laptime.suite.bert.train import Loss
from laptime.training.data.transfer import Transfer
from laptime.training.distributed.world import World
from laptime.training.metrics.accuracy import TopOne
from laptime.training.optim.clip import NormClip
from laptime.training.seeds import Seeds
from laptime.training.threads import one_thread

SEED = 28252  # any fixed number; the step count of the published checkpoint
BATCH, RATE, WARMUP_STEPS, LAST_RATE = 32, 4e-3, 50, 0.3  # Adam; the rate falls linearly to a part of itself
BETAS = (0.9, 0.98)

Tensors = dict[str, NDArray[np.float32]]


def trained(config: BertConfig, short: Sequence[Instance], evaluation: Sequence[Instance]) -> tuple[Tensors, float]:
    """(tensors by reference name, accuracy on `evaluation`) after `data.start_steps` steps on short samples."""
    model = Bert(replace(config.model, dropout=0.0, attention_dropout=0.0))
    initialise(model, Seeds(SEED).torch("init"), config.model.initial_std)
    with one_thread():
        _train(model, short, config.data.start_steps)
        accuracy = masked_accuracy(model, [_packed(evaluation, np.arange(len(evaluation)))])
    return {theirs: _as_reference(theirs, parameter) for (_, parameter), theirs in
            zip(model.named_parameters(), reference_names(model).values(), strict=True)}, accuracy


def _train(model: Bert, samples: Sequence[Instance], steps: int) -> None:
    optimizer, loss = torch.optim.Adam(model.parameters(), betas=BETAS), Loss(BATCH)
    clip = NormClip(model.parameters(), 1.0)
    for step, batch in zip(range(steps), _batches(samples), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / WARMUP_STEPS) * (1.0 - (1.0 - LAST_RATE) * step / steps)
        loss(model, batch).backward()
        clip()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def _batches(samples: Sequence[Instance]) -> Iterator[Micro]:
    """Endless batches in a fixed order."""
    batch, epoch = min(BATCH, len(samples)), 0
    while True:
        order = Seeds(SEED).numpy("shuffle", epoch).permutation(len(samples))
        for start in range(0, len(order) - batch + 1, batch):
            chosen = order[start:start + batch]
            yield _packed([samples[i] for i in chosen], chosen + epoch * len(samples))
        epoch += 1


def _packed(instances: Sequence[Instance], numbers: NDArray[np.int64]) -> Micro:
    samples = [encoded(one) for one in instances]
    columns = columns_of(samples)
    weights = loss_weights(columns.predictions, len(samples))
    arrays = collated([one.data for one in samples], columns, numbers, weights, SEED)
    transfer = Transfer(torch.device("cpu"))
    return micro(arrays.packing, transfer.receive(transfer.send(arrays.tensors)))


@torch.no_grad()
def masked_accuracy(model: Bert, batches: Sequence[Micro]) -> float:
    """Share of masked words guessed right."""
    right = TopOne(World(0, 1, torch.device("cpu")))
    model.eval()
    for batch in batches:
        words, _ = model(batch.tokens, batch.masked)
        right.add(words, batch.labels, torch.ones_like(batch.labels, dtype=torch.bool))
    model.train()
    return right.result()


def _as_reference(name: str, parameter: torch.Tensor) -> NDArray[np.float32]:
    tensor = parameter.detach().to(torch.float32)
    return np.ascontiguousarray((tensor.t() if transposed(name) else tensor).numpy())
