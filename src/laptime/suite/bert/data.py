"""Data of BERT: prepared once (real or generated), then read in packed batches; one path at all scales.

Masks were drawn before any run (`published.py`); what a run draws is the order of samples and what dropout drops, both
functions of (run seed, epoch, sample). Training: every sample once per epoch, the remainder of the last batch dropped.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from laptime.errors import DataProblem
from laptime.events import Sizes
from laptime.suite.bert.config import BertConfig
from laptime.suite.bert.instances import Instance
from laptime.suite.bert.published import recipe, reformat
from laptime.suite.bert.samples import Arrays, Columns, Micro, collated, columns_of, encoded, loss_weights, micro
from laptime.training.data.described import Count, check_described
from laptime.training.data.packing import Packing, by_length
from laptime.training.data.prefetch import prefetched
from laptime.training.data.sampler import Indices, Spread, epoch_order
from laptime.training.data.shards import Shards
from laptime.training.data.store import Manifest, Store
from laptime.training.data.transfer import Sent, Transfer
from laptime.training.distributed.world import World
from laptime.training.loop import Batch
from laptime.training.seeds import Seeds

NAME = "wikipedia-20200101"
AHEAD = 3  # batches made before they are asked for

Sending = tuple[Packing, Sent]


def prepare(config: BertConfig, source: Path, root: Path) -> None:
    """Verify the published files under `source` (`published.py`) and reformat them into `root`.

    Untimed; nothing in it depends on a run. Raises DataProblem.
    """
    reformat(config, source, root, name=NAME, generator="published", facts={})


def sizes(config: BertConfig, manifest: Manifest) -> Sizes:
    """Sample counts; the run gives up where the learning rate has become 0.

    Raises DataProblem when the data set is not the one that the configuration describes.
    """
    data = config.data
    expected = {"data.train_samples": data.train_samples, "data.eval_samples": data.eval_samples,
                "model.vocabulary": config.model.vocabulary, "data.length": data.length}
    check_described(manifest, (Count(setting, count, manifest.count(setting.partition(".")[2]))
                               for setting, count in expected.items()), recipe(config))
    batch = config.global_batch_size
    if batch > data.train_samples:
        raise DataProblem(f"expected a global batch of {batch} samples, found {data.train_samples} for training",
                          hint="Make global_batch_size smaller.")
    per_epoch = data.train_samples // batch * batch
    return Sizes(data.train_samples, data.eval_samples, per_epoch, limit_samples=config.schedule.train_steps * batch)


@dataclass
class Part:
    """One part of a prepared data set, opened on first use (after the data door is)."""

    store: Store
    name: str

    def __post_init__(self) -> None:
        self._opened: tuple[Shards, Columns] | None = None

    def open(self) -> tuple[Shards, Columns]:
        if self._opened is None:
            shards = Shards(self.store, self.name)
            rows = shards.rows
            self._opened = shards, Columns(*(rows[name].astype(np.int64) for name in ("height", "width", "label")))
        return self._opened

    def arrays(self, samples: Indices, weights: np.ndarray, key: int) -> Arrays:
        """Samples packed. Raises DataProblem where a shard is damaged."""
        shards, columns = self.open()
        chosen = columns.take(samples)
        contents = [shards[int(sample)] for sample in samples]
        wrong = np.flatnonzero([len(one) for one in contents] != 2 * (chosen.lengths + 1 + 2 * chosen.predictions))
        if len(wrong):
            raise DataProblem(f"{shards.where(int(samples[wrong[0]]))} has another size than the index says",
                              hint="Make the data again: `laptime prepare --force`.")
        return collated(contents, chosen, samples, weights, key)


@dataclass
class TrainBatches:
    """Training batches of this rank: call with a 1-based epoch, after the data door is open."""

    store: Store
    config: BertConfig
    seeds: Seeds
    world: World

    def __post_init__(self) -> None:
        self.spread = spread_of(self.config, self.world)
        self._transfer, self._part = Transfer(self.world.device), Part(self.store, "train")

    def __call__(self, epoch: int) -> Iterator[Batch[Micro]]:
        """One epoch: every sample at most once over all ranks, in whole global batches; made ahead in a thread.

        Raises DataTouchedTooEarly, and DataProblem for damaged data. Closing it ends its thread.
        """
        with closing(prefetched(lambda: self._steps(epoch), AHEAD)) as steps:
            for step in steps:
                parts = tuple(micro(packing, self._transfer.receive(sent)) for packing, sent in step)
                yield Batch(parts, self.config.global_batch_size)

    def _steps(self, epoch: int) -> Iterator[tuple[Sending, ...]]:
        _, columns = self._part.open()
        order, key = epoch_order(self.seeds, epoch, len(columns.lengths)), self.seeds.number("dropout", epoch)
        batch = self.config.global_batch_size
        for start in range(0, len(order) - batch + 1, batch):
            yield tuple(self._sent(one) for one in self._shares(order[start:start + batch], columns, key))

    def _shares(self, batch: Indices, columns: Columns, key: int) -> Iterator[Arrays]:
        """This rank's micro-batches of a global batch, normalised as parts of it."""
        weights = loss_weights(columns.predictions[batch], self.config.loss_span)
        places = np.arange(len(batch))
        for share in self.spread.share(places):
            arrays = self._part.arrays(batch[share], weights[share], key)
            yield broken(arrays, self.config)

    def _sent(self, arrays: Arrays) -> Sending:
        return arrays.packing, self._transfer.send(arrays.tensors)


def broken(arrays: Arrays, config: BertConfig) -> Arrays:
    """The planted faults of the data; as it came without one."""
    if config.data.shuffle_labels:
        words = np.roll(arrays.masked[1], arrays.masked.shape[1] // 2 + 1)
        return replace(arrays, masked=np.stack([arrays.masked[0], words]))
    if not config.data.keep_masks:
        integers = arrays.integers.copy()
        integers[0, arrays.masked[0]] = arrays.masked[1]
        return replace(arrays, integers=integers)
    return arrays


@dataclass
class EvalBatches:
    """Evaluation batches of this rank: all ranks together see every sample once. Iterate after the data door is open.

    Samples of similar length are taken together. The batches stay on the device from the first whole pass on: they
    never change, and 10,000 samples are 60 MB.
    """

    store: Store
    config: BertConfig
    world: World

    def __post_init__(self) -> None:
        self._transfer, self._part = Transfer(self.world.device), Part(self.store, "eval")
        self._kept: list[Micro] | None = None

    def __iter__(self) -> Iterator[Micro]:
        if self._kept is not None:
            yield from self._kept
            return
        made: list[Micro] = []
        with closing(prefetched(self._batches, AHEAD)) as batches:
            for packing, sent in batches:
                made.append(micro(packing, self._transfer.receive(sent)))
                yield made[-1]
        self._kept = made

    def _batches(self) -> Iterator[Sending]:
        _, columns = self._part.open()
        own = by_length(columns.lengths)[self.world.rank::self.world.size]
        for start in range(0, len(own), self.config.data.eval_batch_size):
            samples = own[start:start + self.config.data.eval_batch_size]
            arrays = self._part.arrays(samples, np.ones(len(samples)), 0)
            yield arrays.packing, self._transfer.send(arrays.tensors)


def synthetic_batches(config: BertConfig, world: World, steps: int = 2) -> Iterator[Batch[Micro]]:
    """Training batches of plausible shapes without data, for warm-up; their sizes differ from step to step."""
    spread = spread_of(config, world)
    for step in range(steps):
        parts = tuple(synthetic(config, spread.micro_batch_size, world, seed=step)
                      for _ in range(spread.accumulation))
        yield Batch(parts, config.global_batch_size)


def synthetic(config: BertConfig, size: int, world: World, seed: int = 0) -> Micro:
    """A micro-batch of `size` samples of random words, as long as those of the data (`Lengths`)."""
    draw = Seeds(seed).numpy("synthetic")
    model, data = config.model, config.data
    made = []
    usual = GENERATED if data.articles else PUBLISHED
    for length in usual.spread(size, data.length, seed):
        count = min(data.predictions, max(1, round(int(length) * data.masked)))
        numbers = tuple(draw.integers(0, model.vocabulary, length).tolist())
        positions = tuple(sorted(draw.choice(np.arange(1, length), count, replace=False).tolist()))
        words = tuple(draw.integers(0, model.vocabulary, count).tolist())
        made.append(encoded(Instance(numbers, int(length) // 2, positions, words, bool(draw.integers(2)))))
    columns = columns_of(made)
    weights = loss_weights(columns.predictions, size) * size / config.global_batch_size
    arrays = collated([one.data for one in made], columns, np.arange(size), weights, seed)
    transfer = Transfer(world.device)
    return micro(arrays.packing, transfer.receive(transfer.send(arrays.tensors)))


@dataclass(frozen=True)
class Lengths:
    """How long samples are: a share of them fills up, the others are as often of any length from `least` on, itself a
    share of the longest."""

    filled: float
    least: float

    def spread(self, count: int, longest: int, seed: int = 0) -> np.ndarray:
        """What `count` samples drawn at random have on average, the shortest first; another seed, other lengths."""
        rank = (np.arange(1, count + 1) + SHIFT * seed % 1) / (count + 1)
        partial = self.least + (1.0 - self.least) * rank / (1.0 - self.filled)
        return np.clip(np.round(longest * partial), SHORTEST, longest).astype(np.int64)


PUBLISHED = Lengths(0.18, 1 / 64)  # mean 305 of 512: records of eval_10k (25,382,591 bytes) have 2,538 bytes each
GENERATED = Lengths(0.7, 0.4)  # mean 58 of 64 (mini)
SHORTEST = 4  # [CLS] A [SEP] [SEP]
SHIFT = 0.618  # between seeds; any fraction does


def spread_of(config: BertConfig, world: World) -> Spread:
    return Spread(config.global_batch_size, world.size, world.rank, config.parallel.accumulation_steps)
