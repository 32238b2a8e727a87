"""Batches of packed samples: training in the run's own random order, evaluation in the order of the file.

Training sees every sample once per epoch, the remainder of the last batch dropped. What a step sees, and what dropout
drops in it, depends on (run seed, epoch, sample) only.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from laptime.suite.llama2_70b_lora.columns import COLUMNS
from laptime.suite.llama2_70b_lora.config import DataConfig, LoraConfig
from laptime.suite.llama2_70b_lora.published import EVAL, TRAIN, read_array
from laptime.training.data.prefetch import prefetched
from laptime.training.data.sampler import Indices, Spread, epoch_order, scrambled
from laptime.training.data.store import Store
from laptime.training.data.token_batches import eval_shares
from laptime.training.data.token_windows import IGNORED
from laptime.training.data.transfer import Sent, Transfer
from laptime.training.distributed.world import World
from laptime.training.loop import Batch
from laptime.training.seeds import Seeds

AHEAD = 3  # batches made before they are asked for


class Micro(NamedTuple):
    """Whole samples on the device, each (B, L): ids and what follows them (int64; labels below 0 do not count), and the
    keys (int32) of what dropout drops."""

    tokens: torch.Tensor
    labels: torch.Tensor
    keys: torch.Tensor


def moved(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels (B, L) of places from labels of tokens: each place has that of the next one, the last has none."""
    return np.concatenate([labels[:, 1:], np.full((len(labels), 1), IGNORED, np.int64)], axis=1)


def keys_of(key: int, samples: Indices, length: int) -> NDArray[np.int32]:
    """(B, L): hashes of (key of run and epoch, sample, place)."""
    base = scrambled(samples.astype(np.uint64) ^ scrambled(np.array([key], np.uint64)))
    each = scrambled(base[:, None] + np.arange(length).astype(np.uint64))
    return (each >> np.uint64(32)).astype(np.uint32).view(np.int32)


def tensors_of(tokens: NDArray[np.int64], labels: NDArray[np.int64], keys: NDArray[np.int32]) -> tuple[torch.Tensor,
                                                                                                        ...]:
    return tuple(torch.from_numpy(np.ascontiguousarray(one)) for one in (tokens, labels, keys))


@dataclass
class TrainBatches:
    """Training batches of this process: call with a 1-based epoch, after the data door is open.

    world: those who read different samples (`World.data`).
    """

    store: Store
    config: DataConfig
    seeds: Seeds
    world: World
    spread: Spread

    def __post_init__(self) -> None:
        self._transfer = Transfer(self.world.device)

    def __call__(self, epoch: int) -> Iterator[Batch[Micro]]:
        """One pass in whole global batches; made ahead in a thread.

        Raises DataTouchedTooEarly, and DataProblem for damaged files. Closing it ends its thread.
        """
        with closing(prefetched(lambda: self._steps(epoch), AHEAD)) as steps:
            for step in steps:
                micros = tuple(Micro(*self._transfer.receive(sent)) for sent in step)
                yield Batch(micros, self.spread.global_batch_size)

    def _steps(self, epoch: int) -> Iterator[tuple[Sent, ...]]:
        tokens, labels = (read_array(self.store, TRAIN, column) for column in COLUMNS)
        key, order = self.seeds.number("dropout", epoch), epoch_order(self.seeds, epoch, len(tokens))
        for shares in self.spread.steps(order):
            yield tuple(self._sent(tokens[share].astype(np.int64), labels[share].astype(np.int64),
                                   keys_of(key, share, self.config.length)) for share in shares)

    def _sent(self, tokens: NDArray[np.int64], labels: NDArray[np.int64], keys: NDArray[np.int32]) -> Sent:
        following = moved(labels)
        if not self.config.shift_labels:
            following = tokens
        elif not self.config.keep_order:
            tokens = tokens[:, Seeds(self.seeds.run).numpy("broken order").permutation(tokens.shape[1])]
        return self._transfer.send(tensors_of(tokens, following, keys))


@dataclass
class EvalBatches:
    """Evaluation batches of this process, all of one size: all together see every sample once.

    Iterate after the data door is open. What fills the last batches up has no labels. Batches stay on the device from
    the first whole pass on: they never change, and 173 samples are 28 MB.
    """

    store: Store
    config: DataConfig
    world: World

    def __post_init__(self) -> None:
        self._transfer = Transfer(self.world.device)
        self._kept: list[Micro] | None = None

    def __iter__(self) -> Iterator[Micro]:
        if self._kept is None:
            with closing(prefetched(self._batches, AHEAD)) as batches:
                self._kept = [Micro(*self._transfer.receive(sent)) for sent in batches]
        return iter(self._kept)

    def _batches(self) -> Iterator[Sent]:
        tokens, labels = (read_array(self.store, EVAL, column) for column in COLUMNS)
        for samples in eval_shares(len(tokens), self.config.eval_batch_size, self.world):
            chosen = np.maximum(samples, 0)
            following = np.where(samples[:, None] < 0, IGNORED, moved(labels[chosen].astype(np.int64)))
            keys = np.zeros(following.shape, np.int32)  # nothing is dropped
            yield self._transfer.send(tensors_of(tokens[chosen].astype(np.int64), following, keys))


def synthetic(config: LoraConfig, size: int, world: World) -> Micro:
    """Samples of random tokens, without data."""
    tokens = Seeds(0).numpy("synthetic").integers(0, config.model.vocabulary, (size, config.data.length))
    keys = keys_of(0, np.arange(size), config.data.length)
    transfer = Transfer(world.device)
    return Micro(*transfer.receive(transfer.send(tensors_of(tokens, moved(tokens), keys))))


def synthetic_batches(config: LoraConfig, spread: Spread, world: World) -> Iterator[Batch[Micro]]:
    """A training batch without data: every real one has its shape."""
    micro = synthetic(config, spread.micro_batch_size, world)
    yield Batch((micro,) * spread.accumulation, spread.global_batch_size)
