"""An endless stream over shards: whole shards drawn with replacement, mixed in a small buffer (webdataset's habit).

One stream for the whole job, so that it does not depend on the number of processes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from laptime.training.data.sampler import Indices

BLOCK = 4096  # random places drawn at a time


@dataclass
class Resampled:
    """Indices of samples 0, 1, ... that lie in shards of the sizes `counts`, one shard after another.

    A drawn shard passes through a buffer of `buffer` samples: each new one takes the place of a random one, which
    leaves. Neither once per epoch nor without repetition, by design.
    """

    counts: Sequence[int]
    buffer: int
    generator: np.random.Generator
    _starts: Indices = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._starts = np.concatenate([[0], np.cumsum(np.asarray(self.counts, np.int64))])

    def batches(self, size: int) -> Iterator[Indices]:
        """Endless batches (size,) of indices."""
        stream = self._mixed()
        while True:
            yield np.fromiter((next(stream) for _ in range(size)), np.int64, size)

    def _mixed(self) -> Iterator[int]:
        incoming = self._drawn()
        held = [next(incoming) for _ in range(self.buffer)]
        while True:
            for place in self.generator.integers(0, self.buffer, BLOCK).tolist():
                yield held[place]
                held[place] = next(incoming)

    def _drawn(self) -> Iterator[int]:
        while True:
            shard = int(self.generator.integers(len(self.counts)))
            yield from range(int(self._starts[shard]), int(self._starts[shard + 1]))
