"""Data of ResNet: prepared once (real or generated), then read as training and evaluation batches. One path at every scale.

Source: the reference's `imagenet_preprocessing.py` (training resnet-tf2). Training: random crop, mirror, bilinear resize,
mean subtraction; order and augmentation are functions of (run seed, epoch, sample). Evaluation: shorter side resized,
centre crop. Images are float32, (n, 3, crop, crop) in channels_last memory; labels int64, 0-based.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from laptime.config import Parallel
from laptime.errors import DataProblem
from laptime.events import Sizes
from laptime.suite.resnet.config import DataConfig, ResNetConfig
from laptime.suite.resnet.images import Axis, centre_axes, crop_axes, random_boxes, resample
from laptime.suite.resnet.published import reformat
from laptime.suite.resnet.shapes import GENERATOR, write_published
from laptime.training.data.jpeg import Image, decode
from laptime.training.data.prefetch import prefetched
from laptime.training.data.sampler import Draws, Indices, Spread, epoch_order, rank_slice
from laptime.training.data.shards import Shards
from laptime.training.data.store import Manifest, Store
from laptime.training.distributed.world import World
from laptime.training.loop import Batch
from laptime.training.seeds import Seeds

NAME = "ilsvrc2012"
SHUFFLED_LABELS_KEY = 20122012  # of the fixed permutation of the planted fault

Micro = tuple[torch.Tensor, torch.Tensor]  # images, labels
Axes = tuple[Axis, Axis]


def prepare(config: ResNetConfig, source: Path, root: Path) -> None:
    """Verify ILSVRC-2012 in the published layout under `source` (`published.py`) and reformat it into `root`.

    Untimed; nothing in it depends on a run. Raises DataProblem.
    """
    reformat(config, source, root, name=NAME, generator="published")


def generate(config: ResNetConfig, root: Path, seed: int) -> None:
    """Draw the learnable data set of `shapes.py` in the published layout, then reformat it as real data is."""
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix="published-") as folder:
        content_hash = write_published(config, Path(folder), seed)
        reformat(config, Path(folder), root, name=f"{NAME}-generated", generator=GENERATOR, content_hash=content_hash)


def sizes(config: ResNetConfig, manifest: Manifest) -> Sizes:
    """Sample counts; the remainder of an epoch is dropped (reference: drop_train_remainder).

    Raises DataProblem when the data set is not the one that the configuration describes.
    """
    train, evaluation = manifest.count("train_samples"), manifest.count("eval_samples")
    for setting, expected, found in (("data.train_images", config.data.train_images, train),
                                     ("data.eval_images", config.data.eval_images, evaluation),
                                     ("model.classes", config.model.classes, manifest.count("classes"))):
        if expected != found:
            raise DataProblem(f"the configuration expects {setting}={expected}, the data set '{manifest.name}' has {found}",
                              hint="Make the data for this configuration with `laptime prepare`.")
    per_epoch = train // config.global_batch_size * config.global_batch_size
    if not per_epoch:
        raise DataProblem(f"expected at least one global batch of {config.global_batch_size}, found {train} training images")
    return Sizes(train, evaluation, per_epoch, limit_epochs=config.schedule.train_epochs)


@dataclass
class Pictures:
    """Decoded images of one part; kept in memory from their first use where the whole part fits `cache_bytes`."""

    shards: Shards
    cache_bytes: int
    _kept: dict[int, Image] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        rows = self.shards.rows
        self.heights, self.widths = rows["height"].astype(np.int64), rows["width"].astype(np.int64)
        self.labels = rows["label"].astype(np.int64)
        self._keep = int((self.heights * self.widths * 3).sum()) <= self.cache_bytes

    def __getitem__(self, sample: int) -> Image:
        """(height, width, 3) uint8. Raises DataProblem for bytes that do not decode."""
        if sample in self._kept:
            return self._kept[sample]
        try:
            image = decode(self.shards[sample])
        except ValueError as error:
            raise DataProblem(f"{self.shards.where(sample)} does not decode: {error}",
                              hint="Make the data again: `laptime prepare --force`.") from None
        if self._keep:
            self._kept[sample] = image
        return image


@dataclass(frozen=True)
class Renderer:
    """Turns samples and their interpolation axes into one tensor, on `workers` threads."""

    config: DataConfig
    workers: int

    def render(self, pictures: Pictures, samples: Indices, axes: Sequence[Axes], pool: ThreadPoolExecutor | None) -> torch.Tensor:
        """(n, 3, crop, crop) float32 in channels_last memory, mean subtracted."""
        crop = self.config.crop
        images = np.empty((len(samples), crop, crop, 3), np.float32)
        mean = np.array(self.config.mean, np.float32)

        def fill(first: int) -> None:
            for i in range(first, len(samples), self.workers):
                np.subtract(resample(pictures[int(samples[i])], *axes[i]), mean, out=images[i])

        if pool is None:
            fill(0)
        else:
            list(pool.map(fill, range(self.workers)))
        return torch.from_numpy(images).permute(0, 3, 1, 2)

    def pool(self) -> ThreadPoolExecutor | None:
        """Threads to pass to `render`; shut them down."""
        return ThreadPoolExecutor(self.workers, thread_name_prefix="decode") if self.workers > 1 else None


@dataclass
class TrainBatches:
    """Training batches of this rank: call with a 1-based epoch, after the data door is open."""

    store: Store
    config: ResNetConfig
    seeds: Seeds
    world: World

    def __post_init__(self) -> None:
        self.spread = Spread(self.config.global_batch_size, self.world.size, self.world.rank,
                             self.config.parallel.accumulation_steps)
        self._renderer = Renderer(self.config.data, decoding_threads(self.config.parallel, self.world))
        self._pictures: Pictures | None = None

    def __call__(self, epoch: int) -> Iterator[Batch[Micro]]:
        """One epoch: every sample at most once over all ranks, all whole global batches; made ahead in a thread."""
        pictures = self._opened()
        for micro in prefetched(lambda: self._steps(pictures, epoch), depth=self.config.data.prefetch):
            yield Batch(tuple(to_device(part, self.world) for part in micro), self.config.global_batch_size)

    def _opened(self) -> Pictures:
        if self._pictures is None:
            self._pictures = Pictures(Shards(self.store, "train"), self.config.data.cache_bytes)
            if self.config.data.shuffle_labels:
                fixed = np.random.Generator(np.random.Philox(SHUFFLED_LABELS_KEY))
                self._pictures.labels = fixed.permutation(self._pictures.labels)
        return self._pictures

    def _steps(self, pictures: Pictures, epoch: int) -> Iterator[tuple[Micro, ...]]:
        draws = Draws.of(self.seeds, "augment", epoch)
        order = epoch_order(self.seeds, epoch, len(pictures.labels))
        pool = self._renderer.pool()
        try:
            for share in self.spread.steps(order):
                yield tuple(self._micro(pictures, draws, samples, pool) for samples in share)
        finally:
            if pool is not None:
                pool.shutdown()

    def _micro(self, pictures: Pictures, draws: Draws, samples: Indices, pool: ThreadPoolExecutor | None) -> Micro:
        axes = train_axes(self.config.data, pictures, draws, samples)
        images = self._renderer.render(pictures, samples, axes, pool)
        return pinned((images, torch.from_numpy(pictures.labels[samples])), self.world)


def train_axes(config: DataConfig, pictures: Pictures, draws: Draws, samples: Indices) -> list[Axes]:
    """Where each sample is read in this epoch."""
    heights, widths = pictures.heights[samples], pictures.widths[samples]
    if not config.augment:
        return _centre(config, heights, widths)
    boxes = random_boxes(config, draws, samples, heights, widths)
    fields = (boxes.y, boxes.x, boxes.height, boxes.width, boxes.flipped)
    return [crop_axes(y, x, h, w, out=config.crop, flipped=flipped)
            for y, x, h, w, flipped in zip(*(field.tolist() for field in fields), strict=True)]


def _centre(config: DataConfig, heights: Indices, widths: Indices) -> list[Axes]:
    return [centre_axes(h, w, resize=config.eval_resize, out=config.crop)
            for h, w in zip(heights.tolist(), widths.tolist(), strict=True)]


@dataclass(frozen=True)
class EvalBatch:
    """Images and labels of fixed size; `valid` (bool) is False for padding, whose images are 0 and labels 0."""

    images: torch.Tensor
    labels: torch.Tensor
    valid: torch.Tensor


@dataclass
class EvalBatches:
    """Evaluation batches of this rank: together the ranks see every sample once, in equally many batches of equal shape.

    Preprocessing is the same every time: the batches are kept from the first evaluation on where they fit `cache_bytes`.
    """

    store: Store
    config: ResNetConfig
    world: World

    def __post_init__(self) -> None:
        self._renderer = Renderer(self.config.data, decoding_threads(self.config.parallel, self.world))
        self._kept: list[EvalBatch] | None = None

    def __call__(self) -> Iterator[EvalBatch]:
        """One pass over this rank's share, after the data door is open."""
        if self._kept is not None:
            yield from self._kept
            return
        made: list[EvalBatch] = []
        for parts in prefetched(self._batches, depth=self.config.data.prefetch):
            batch = EvalBatch(*(part.to(self.world.device, non_blocking=True) for part in parts))
            if self._keep:
                made.append(batch)
            yield batch
        self._kept = made if self._keep else None

    @property
    def _keep(self) -> bool:
        share = -(-self.config.data.eval_images // self.world.size)
        return share * image_bytes(self.config.data) <= self.config.data.cache_bytes

    def _batches(self) -> Iterator[tuple[torch.Tensor, ...]]:
        pictures = Pictures(Shards(self.store, "eval"), cache_bytes=0)
        total, size = len(pictures.labels), self.config.data.eval_batch_size
        own = rank_slice(total, self.world.size, self.world.rank)
        pool = self._renderer.pool()
        try:
            for start in range(0, -(-total // self.world.size), size):
                yield pinned(self._batch(pictures, own[start:start + size], pool), self.world)
        finally:
            if pool is not None:
                pool.shutdown()

    def _batch(self, pictures: Pictures, samples: Indices, pool: ThreadPoolExecutor | None) -> tuple[torch.Tensor, ...]:
        config, size = self.config.data, self.config.data.eval_batch_size
        axes = _centre(config, pictures.heights[samples], pictures.widths[samples])
        images = empty_images(config, size)
        images[:len(samples)] = self._renderer.render(pictures, samples, axes, pool)
        labels = torch.zeros(size, dtype=torch.int64)
        labels[:len(samples)] = torch.from_numpy(pictures.labels[samples])
        return images, labels, torch.arange(size) < len(samples)


def synthetic_batches(config: ResNetConfig, world: World, steps: int = 2) -> Iterator[Batch[Micro]]:
    """Training batches of the real shapes, dtypes and memory layout without data, for warm-up."""
    spread = Spread(config.global_batch_size, world.size, world.rank, config.parallel.accumulation_steps)
    for _ in range(steps):
        micro = tuple(_synthetic(config, spread.micro_batch_size, world) for _ in range(spread.accumulation))
        yield Batch(micro, config.global_batch_size)


def synthetic_eval_batch(config: ResNetConfig, world: World) -> EvalBatch:
    """An evaluation batch of the real shapes, dtypes and memory layout without data, for warm-up."""
    images, labels = _synthetic(config, config.data.eval_batch_size, world)
    return EvalBatch(images, labels, torch.ones(len(labels), dtype=torch.bool, device=world.device))


def _synthetic(config: ResNetConfig, size: int, world: World) -> Micro:
    generator = Seeds(0).torch("synthetic")
    images = empty_images(config.data, size).normal_(0.0, 60.0, generator=generator)  # about the spread of real pixels
    labels = torch.randint(config.model.classes, (size,), generator=generator)
    return to_device((images, labels), world)
