"""Batches of token windows: training in the run's own random order, evaluation in the order of the file.

Documents and samples of each file are shuffled anew for every pass, from the run's seed; the index arrays are made
when a pass begins, behind the data door. What a step sees does not depend on the number of processes.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from laptime.training.data.prefetch import prefetched
from laptime.training.data.sampler import Spread
from laptime.training.data.store import Store
from laptime.training.data.token_files import TokenFile
from laptime.training.data.token_sets import TokenSet
from laptime.training.data.token_windows import IGNORED, IN_ORDER, Indices, Windows, blend, inputs_and_labels
from laptime.training.data.transfer import Sent, Transfer
from laptime.training.distributed.world import World
from laptime.training.loop import Batch
from laptime.training.seeds import Seeds

AHEAD = 3  # batches made before they are asked for

Ids = NDArray[np.int64]
Change = Callable[[Ids, Ids], tuple[Ids, Ids]]


class Micro(NamedTuple):
    """Whole samples on the device: ids and what follows them, each (B, length) int64; labels below 0 do not count."""

    tokens: torch.Tensor
    labels: torch.Tensor


def as_they_are(tokens: Ids, labels: Ids) -> tuple[Ids, Ids]:
    """The default `change`."""
    return tokens, labels


@dataclass
class TrainTokens:
    """Training batches of this process: call with a 1-based epoch (a pass), after the data door is open.

    world: those who read different samples (`World.data`). change: what planted faults do to tokens and labels.
    """

    store: Store
    wanted: TokenSet
    seeds: Seeds
    world: World
    spread: Spread
    change: Change = as_they_are

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
        parts = [self._windows(name, epoch) for name in self.wanted.train]
        order, size = in_turn([len(part) for part in parts]), self.spread.global_batch_size
        while len(batch := list(islice(order, size))) == size:
            shares = self.spread.share(np.arange(size))
            yield tuple(self._sent([parts[part][sample] for part, sample in (batch[place] for place in share)])
                        for share in shares)

    def _windows(self, name: str, epoch: int) -> Windows:
        file = TokenFile.of(self.store, name)
        shuffler = self.seeds.numpy(f"windows {name}", epoch)
        return Windows(file, Indices.of(file.sizes, self.wanted.form, shuffler=shuffler), self.wanted.form)

    def _sent(self, windows: list[Ids]) -> Sent:
        tokens, labels = self.change(*inputs_and_labels(np.stack(windows), self.wanted.form))
        return self._transfer.send((tensor_of(tokens), tensor_of(labels)))


@dataclass
class EvalTokens:
    """Evaluation batches of this process, all of one size: all together see every sample once.

    Iterate after the data door is open. What fills the last batches up has no labels. Batches stay on the device from
    the first whole pass on: they never change, and 8.4 million tokens are 134 MB.
    """

    store: Store
    wanted: TokenSet
    world: World
    batch_size: int  # of one process

    def __post_init__(self) -> None:
        self._transfer = Transfer(self.world.device)
        self._kept: list[Micro] | None = None

    def __iter__(self) -> Iterator[Micro]:
        if self._kept is None:
            with closing(prefetched(self._batches, AHEAD)) as batches:
                self._kept = [Micro(*self._transfer.receive(sent)) for sent in batches]
        return iter(self._kept)

    def _batches(self) -> Iterator[Sent]:
        file = TokenFile.of(self.store, self.wanted.evaluation)
        shuffler = np.random.RandomState(0)  # not used: all in order
        indices = Indices.of(file.sizes, self.wanted.form, shuffler=shuffler, shuffled=IN_ORDER)
        windows = Windows(file, indices, self.wanted.form)
        for samples in eval_shares(self.wanted.eval_samples, self.batch_size, self.world):
            found = np.stack([windows[int(sample)] for sample in np.maximum(samples, 0)])
            tokens, labels = inputs_and_labels(found, self.wanted.form)
            labels = np.where(samples[:, None] < 0, IGNORED, labels)
            yield self._transfer.send((tensor_of(tokens), tensor_of(labels)))


def eval_shares(samples: int, batch_size: int, world: World) -> Iterator[NDArray[np.int64]]:
    """This process's batches of sample numbers, as many on every process; -1 where there is none left."""
    together = batch_size * world.size
    for start in range(0, samples, together):
        numbers = np.arange(start + world.rank * batch_size, start + (world.rank + 1) * batch_size)
        yield np.where(numbers < samples, numbers, -1)


def in_turn(counts: list[int]) -> Iterator[tuple[int, int]]:
    """(file, sample of it), one file after another, until the first that has none left."""
    for part, sample in blend([1.0] * len(counts)):
        if sample >= counts[part]:
            return
        yield part, sample


def synthetic(wanted: TokenSet, size: int, world: World) -> Micro:
    """Samples of random tokens, without data."""
    windows = Seeds(0).numpy("synthetic").integers(0, wanted.vocabulary, (size, wanted.form.tokens))
    tokens, labels = inputs_and_labels(windows, wanted.form)
    transfer = Transfer(world.device)
    return Micro(*transfer.receive(transfer.send((tensor_of(tokens), tensor_of(labels)))))


def synthetic_batches(wanted: TokenSet, spread: Spread, world: World) -> Iterator[Batch[Micro]]:
    """A training batch without data: every real one has its shape."""
    micro = synthetic(wanted, spread.micro_batch_size, world)
    yield Batch((micro,) * spread.accumulation, spread.global_batch_size)


def tensor_of(ids: Ids) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(ids))
