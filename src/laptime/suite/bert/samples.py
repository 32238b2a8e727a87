"""One sample as bytes on disk, and many of them as the packed input of a step.

A sample is little-endian 16-bit numbers: its tokens (masked ones as the network sees them), where segment B begins,
the masked positions, the words that stood there. How many tokens and masked positions it has stands in the index of
its shard (columns `height` and `width`), whether B is a random segment in column `label`. Nothing is padded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from laptime.suite.bert.instances import Instance
from laptime.suite.bert.model import Tokens
from laptime.training.data.packing import Packing, by_length
from laptime.training.data.sampler import Indices, scrambled
from laptime.training.data.shards import Sample

NUMBER = np.dtype("<u2")
SMALL = 1e-5  # added to the number of masked words by the reference, so that none is no division by zero

Tensors = tuple[torch.Tensor, ...]


class Micro(NamedTuple):
    """A micro-batch on the device. P masked positions `masked` (among all tokens) with the words `labels`, each of
    which has a weight in the loss; B next-sentence labels."""

    tokens: Tokens
    masked: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor
    next_labels: torch.Tensor


@dataclass(frozen=True)
class Columns:
    """What the index says of every sample."""

    lengths: Indices
    predictions: Indices
    random_next: Indices

    def take(self, samples: Indices) -> "Columns":
        return Columns(self.lengths[samples], self.predictions[samples], self.random_next[samples])


def encoded(instance: Instance) -> Sample:
    """An instance as it is kept in a shard."""
    numbers = (*instance.tokens, instance.second, *instance.positions, *instance.labels)
    return Sample(np.array(numbers, NUMBER).tobytes(), int(instance.random_next), len(instance.tokens),
                  len(instance.positions))


def columns_of(samples: Sequence[Sample]) -> Columns:
    """The columns of samples that are in memory."""
    rows = np.array([(one.height, one.width, one.label) for one in samples], np.int64).reshape(-1, 3)
    return Columns(rows[:, 0], rows[:, 1], rows[:, 2])


def loss_weights(predictions: Indices, span: int) -> NDArray[np.float64]:
    """The weight of every masked word of each sample of a global batch, in the order of the batch.

    `span` neighbours share one normalisation, sum / (count + 1e-5); the spans are averaged. The sum over any way to
    cut the batch is the same. The batch divides by `span`.
    """
    counts = predictions.reshape(-1, span).sum(1)
    return np.repeat(span / len(predictions) / (counts + SMALL), span)


def token_keys(key: int, samples: Indices, packing: Packing) -> NDArray[np.int32]:
    """Dropout keys of all tokens: hashes of (key of run and epoch, sample, position)."""
    base = scrambled(samples.astype(np.uint64) ^ scrambled(np.array([key], np.uint64)))
    each = scrambled(np.repeat(base, packing.lengths) + packing.positions.astype(np.uint64))
    return (each >> np.uint64(32)).astype(np.uint32).view(np.int32)


@dataclass(frozen=True)
class Arrays:
    """A micro-batch on the host, before it is sent."""

    packing: Packing
    integers: NDArray[np.int32]  # (4, T): numbers, segments, positions, keys
    masked: NDArray[np.int64]  # (2, P): position among all tokens, word
    weights: NDArray[np.float64]  # (P)
    next_labels: Indices  # (B)

    @property
    def tensors(self) -> Tensors:
        return tuple(torch.from_numpy(one) for one in (self.packing.bounds, self.integers, self.masked, self.weights,
                                                       self.next_labels))


def collated(contents: Sequence[bytes], columns: Columns, samples: Indices, weights: NDArray[np.float64],
             key: int) -> Arrays:
    """Pack samples, the shortest first. `weights`: per sample, of its masked words."""
    order = by_length(columns.lengths)
    columns, samples, weights = columns.take(order), samples[order], weights[order]
    flat = np.frombuffer(b"".join(contents[i] for i in order), NUMBER).astype(np.int32)
    packing = Packing(tuple(columns.lengths.tolist()))
    sizes = columns.lengths + 1 + 2 * columns.predictions
    starts = np.cumsum(sizes) - sizes
    seconds = flat[starts + columns.lengths]
    numbers = flat[ragged(starts, columns.lengths)]
    segments = (packing.positions >= np.repeat(seconds, columns.lengths)).astype(np.int32)
    chosen = flat[ragged(starts + columns.lengths + 1, columns.predictions)]
    words = flat[ragged(starts + columns.lengths + 1 + columns.predictions, columns.predictions)]
    integers = np.stack([numbers, segments, packing.positions, token_keys(key, samples, packing)])
    masked = np.stack([chosen + np.repeat(packing.bounds[:-1], columns.predictions), words]).astype(np.int64)
    return Arrays(packing, integers, masked, np.repeat(weights, columns.predictions), columns.random_next)


def ragged(starts: Indices, lengths: Indices) -> Indices:
    """start, start + 1, ... for `length` numbers each, one run after the other."""
    ends = np.cumsum(lengths)
    return np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(starts - ends + lengths, lengths)


def micro(packing: Packing, tensors: Tensors) -> Micro:
    """The tensors of `Arrays`, arrived on the device, as the network takes them."""
    bounds, integers, masked, weights, next_labels = tensors
    numbers, segments, positions, keys = integers.unbind(0)
    return Micro(Tokens(packing, bounds, numbers, segments, positions, keys), masked[0], masked[1], weights,
                 next_labels)
