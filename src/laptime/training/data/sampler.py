"""Which samples a step consumes, on which rank, and the random numbers that belong to a sample.

Everything is keyed by (run seed, epoch, sample index), never by process or position: any layout of the same global
batch sees the same samples with the same augmentation in the same step (design decision 6).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from laptime.errors import InvalidConfiguration
from laptime.training.seeds import Seeds

Indices = NDArray[np.int64]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # splitmix64 (Steele, Lea, Flood 2014): increment and the two multipliers
FIRST = np.uint64(0xBF58476D1CE4E5B9)
SECOND = np.uint64(0x94D049BB133111EB)


def scrambled(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The splitmix64 finaliser: a bijection of 64-bit numbers under which neighbours become unrelated."""
    z = values + GOLDEN
    z = (z ^ (z >> np.uint64(30))) * FIRST
    z = (z ^ (z >> np.uint64(27))) * SECOND
    return z ^ (z >> np.uint64(31))


@dataclass(frozen=True)
class Draws:
    """Random numbers of samples: the same for the same (key, sample, draw) on every rank and machine."""

    key: int

    @classmethod
    def of(cls, seeds: Seeds, purpose: str, epoch: int) -> "Draws":
        return cls(seeds.number(purpose, epoch))

    def uniform(self, samples: Indices, draw: int) -> NDArray[np.float64]:
        """One number in [0, 1) per sample, of 53 random bits."""
        base = scrambled(np.asarray(samples).astype(np.uint64) ^ scrambled(np.array([self.key], np.uint64)))
        return (scrambled(base + np.uint64(draw)) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def below(self, samples: Indices, draw: int, bound: Indices) -> Indices:
        """One integer in [0, bound) per sample; 0 where `bound` is 0."""
        return np.floor(self.uniform(samples, draw) * bound).astype(np.int64)


@dataclass(frozen=True)
class Spread:
    """A global batch over ranks (contiguous shares) and, within a rank, over `accumulation` micro-batches.

    Raises InvalidConfiguration when it does not divide evenly.
    """

    global_batch_size: int
    ranks: int
    rank: int
    accumulation: int

    def __post_init__(self) -> None:
        parts = self.ranks * self.accumulation
        if self.global_batch_size <= 0 or self.accumulation <= 0 or self.global_batch_size % parts:
            raise InvalidConfiguration(
                f"expected a global batch that divides by {self.ranks} processes x {self.accumulation} accumulation "
                f"steps, found {self.global_batch_size}",
                hint="Change global_batch_size, parallel.accumulation_steps or the number of processes.")

    @property
    def micro_batch_size(self) -> int:
        return self.global_batch_size // (self.ranks * self.accumulation)

    def share(self, batch: Indices) -> tuple[Indices, ...]:
        """This rank's micro-batches of one global batch.

        All ranks' micro-batches that are computed together are neighbours in the batch, so that a group of batch-norm
        statistics over several ranks holds the samples it holds on one.
        """
        return tuple(batch.reshape(self.accumulation, self.ranks, self.micro_batch_size)[:, self.rank])

    def steps(self, order: Indices) -> Iterator[tuple[Indices, ...]]:
        """This rank's micro-batches of every whole global batch of `order`; the remainder is dropped."""
        for start in range(0, len(order) - self.global_batch_size + 1, self.global_batch_size):
            yield self.share(order[start:start + self.global_batch_size])


def epoch_order(seeds: Seeds, epoch: int, count: int) -> Indices:
    """Every sample of 0..count-1 once, in the random order of this run and epoch."""
    order: Indices = seeds.numpy("shuffle", epoch).permutation(count)
    return order


def rank_slice(count: int, ranks: int, rank: int) -> Indices:
    """This rank's contiguous part of 0..count-1; parts differ in size by at most one."""
    return np.arange(rank * count // ranks, (rank + 1) * count // ranks)
