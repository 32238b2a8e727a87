"""Sequences of different lengths back to back, without padding: where each begins, and which have equal lengths."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Group:
    """Neighbours of one length: `count` sequences of `length` tokens each."""

    count: int
    length: int

    @property
    def tokens(self) -> int:
        return self.count * self.length


@dataclass(frozen=True)
class Packing:
    """The lengths of packed sequences, in order (known on the host)."""

    lengths: tuple[int, ...]

    @property
    def tokens(self) -> int:
        return sum(self.lengths)

    @cached_property
    def bounds(self) -> NDArray[np.int32]:
        """Cumulative lengths (n + 1): sequence i is tokens bounds[i] to bounds[i + 1]."""
        return np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int32)

    @cached_property
    def positions(self) -> NDArray[np.int32]:
        """The position of every token in its sequence."""
        return (np.arange(self.tokens) - np.repeat(self.bounds[:-1], self.lengths)).astype(np.int32)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Runs of equal lengths: few where sequences are sorted by length."""
        found: list[Group] = []
        for length in self.lengths:
            if found and found[-1].length == length:
                found[-1] = Group(found[-1].count + 1, length)
            else:
                found.append(Group(1, length))
        return tuple(found)


def by_length(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """An order in which equal lengths are neighbours, the shortest first; ties stay in order."""
    return np.argsort(lengths, kind="stable")
