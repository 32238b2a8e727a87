"""Data of ResNet: prepared once (real or generated), then read in batches; one path at all scales.

Source: the reference's `imagenet_preprocessing.py` (training resnet-tf2). Training: random crop, mirror, bilinear
resize, mean subtraction; order and augmentation are functions of (run seed, epoch, sample). Evaluation: shorter side
resized, centre crop. Images are float32, (n, 3, crop, crop) in channels_last memory; labels int64, 0-based.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from laptime.config import Parallel
from laptime.errors import DataProblem
from laptime.events import Sizes
from laptime.suite.resnet.config import ResNetConfig
from laptime.suite.resnet.published import reformat
from laptime.suite.resnet.reader import Pictures, Renderer, empty_images, eval_axes, renderer, train_axes
from laptime.suite.resnet.shapes import GENERATOR, write_published
from laptime.training.data.described import GENERATED, Count, check_described
from laptime.training.data.prefetch import prefetched
from laptime.training.data.sampler import Draws, Indices, Spread, epoch_order, rank_slice
from laptime.training.data.shards import Shards
from laptime.training.data.store import Manifest, Store
from laptime.training.data.transfer import Sent, Transfer
from laptime.training.distributed.world import World
from laptime.training.loop import Batch
from laptime.training.seeds import Seeds

NAME = "ilsvrc2012"
AHEAD = 3  # batches made before they are asked for
UNPACKED = "published-"  # prefix of the folder that generated files pass through
SHUFFLED_LABELS_KEY = 20122012  # of the fixed permutation of the planted fault

Micro = tuple[torch.Tensor, torch.Tensor]  # images, labels


class EvalBatch(NamedTuple):
    """Images and labels of fixed size; `valid` (bool) is False for padding, whose images and labels are 0."""

    images: torch.Tensor
    labels: torch.Tensor
    valid: torch.Tensor


def prepare(config: ResNetConfig, source: Path, root: Path) -> None:
    """Verify ILSVRC-2012 in the published layout under `source` (`published.py`) and reformat it into `root`.

    Untimed; nothing in it depends on a run. Raises DataProblem.
    """
    reformat(config, source, root, name=NAME, generator="published")


def generate(config: ResNetConfig, root: Path, seed: int) -> None:
    """Draw the learnable data set of `shapes.py` in the published layout, then reformat it as real data is."""
    root.mkdir(parents=True, exist_ok=True)
    for left in root.glob(f"{UNPACKED}*"):  # by an interrupted call
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=root, prefix=UNPACKED) as folder:
        content_hash = write_published(config, Path(folder), seed)
        reformat(config, Path(folder), root, name=NAME + GENERATED, generator=recipe(config),
                 content_hash=content_hash)


def recipe(config: ResNetConfig) -> str:
    """What generated data was made by: another recipe makes another data set."""
    data = config.data
    return (f"{GENERATOR}, {data.image_low}-{data.image_high} px, label noise {data.label_noise:g}, "
            f"hardness {data.hardness:g}")


def sizes(config: ResNetConfig, manifest: Manifest) -> Sizes:
    """Sample counts; the remainder of an epoch is dropped (reference: drop_train_remainder).

    Raises DataProblem when the data set is not the one that the configuration describes.
    """
    train, evaluation = manifest.count("train_samples"), manifest.count("eval_samples")
    check_described(manifest, (Count("data.train_images", config.data.train_images, train),
                               Count("data.eval_images", config.data.eval_images, evaluation),
                               Count("model.classes", config.model.classes, manifest.count("classes"))), recipe(config))
    per_epoch = steps_per_epoch(config, manifest) * config.global_batch_size
    return Sizes(train, evaluation, per_epoch, limit_epochs=config.schedule.train_epochs)


def steps_per_epoch(config: ResNetConfig, manifest: Manifest) -> int:
    """Whole global batches in the training set. Raises DataProblem when there is none."""
    train = manifest.count("train_samples")
    if config.global_batch_size > train:
        raise DataProblem(f"expected a global batch of {config.global_batch_size} images, found {train} for training",
                          hint="Make global_batch_size smaller.")
    return train // config.global_batch_size


@dataclass
class TrainBatches:
    """Training batches of this rank: call with a 1-based epoch, after the data door is open."""

    store: Store
    config: ResNetConfig
    seeds: Seeds
    world: World

    def __post_init__(self) -> None:
        self.spread = _spread(self.config, self.world)
        self._transfer = Transfer(self.world.device)
        self._pictures: Pictures | None = None

    def __call__(self, epoch: int) -> Iterator[Batch[Micro]]:
        """One epoch: every sample at most once over all ranks, in whole global batches; made ahead in a thread.

        Raises DataTouchedTooEarly, and DataProblem for damaged data. Closing it ends its threads.
        """
        with closing(prefetched(lambda: self._steps(epoch), AHEAD)) as steps:
            for step in steps:
                yield Batch(tuple(_micro(self._transfer.receive(sent)) for sent in step), self.config.global_batch_size)

    def pictures(self) -> Pictures:
        """The training part, opened on first use."""
        if self._pictures is None:
            opened = Pictures(Shards(self.store, "train"), self.config.data.cache_bytes)
            if self.config.data.shuffle_labels:
                fixed = np.random.Generator(np.random.Philox(SHUFFLED_LABELS_KEY))
                opened.labels = fixed.permutation(opened.labels)
            self._pictures = opened
        return self._pictures

    def _steps(self, epoch: int) -> Iterator[tuple[Sent, ...]]:
        pictures, draws = self.pictures(), Draws.of(self.seeds, "augment", epoch)
        order = epoch_order(self.seeds, epoch, len(pictures.labels))
        with renderer(self.config.data, decoding_threads(self.config.parallel, self.world)) as drawing:
            for share in self.spread.steps(order):
                yield tuple(self._sent(drawing, pictures, draws, samples) for samples in share)

    def _sent(self, drawing: Renderer, pictures: Pictures, draws: Draws, samples: Indices) -> Sent:
        axes = train_axes(self.config.data, pictures, draws, samples)
        images = drawing.images(pictures, samples, axes, size=len(samples), pinned=self._transfer.pinned)
        return self._transfer.send((images, torch.from_numpy(pictures.labels[samples])))


@dataclass
class EvalBatches:
    """Evaluation batches of this rank: all ranks together see every sample once, in equally many batches of one shape.

    Iterate after the data door is open. Preprocessing never changes, so the batches are kept from the first whole pass
    on where they fit into `cache_bytes`.
    """

    store: Store
    config: ResNetConfig
    world: World

    def __post_init__(self) -> None:
        self._transfer = Transfer(self.world.device)
        self._kept: list[EvalBatch] | None = None

    def __iter__(self) -> Iterator[EvalBatch]:
        if self._kept is not None:
            yield from self._kept
            return
        made: list[EvalBatch] = []
        with closing(prefetched(self._batches, AHEAD)) as batches:
            for sent in batches:
                batch = EvalBatch(*self._transfer.receive(sent))
                if self._fits:
                    made.append(batch)
                yield batch
        self._kept = made if self._fits else None

    @property
    def _fits(self) -> bool:
        data, share = self.config.data, -(-self.config.data.eval_images // self.world.size)
        return share * data.crop**2 * 3 * 4 <= data.cache_bytes  # float32

    def _batches(self) -> Iterator[Sent]:
        pictures = Pictures(Shards(self.store, "eval"), cache_bytes=0)
        count, size = len(pictures.labels), self.config.data.eval_batch_size
        own = rank_slice(count, self.world.size, self.world.rank)
        with renderer(self.config.data, decoding_threads(self.config.parallel, self.world)) as drawing:
            for start in range(0, -(-count // self.world.size), size):
                yield self._sent(drawing, pictures, own[start:start + size], size)

    def _sent(self, drawing: Renderer, pictures: Pictures, samples: Indices, size: int) -> Sent:
        axes = eval_axes(self.config.data, pictures, samples)
        images = drawing.images(pictures, samples, axes, size=size, pinned=self._transfer.pinned)
        labels = torch.zeros(size, dtype=torch.int64)
        labels[:len(samples)] = torch.from_numpy(pictures.labels[samples])
        return self._transfer.send((images, labels, torch.arange(size) < len(samples)))


def synthetic_batches(config: ResNetConfig, world: World, steps: int = 2) -> Iterator[Batch[Micro]]:
    """Training batches of the real shapes, dtypes and memory layout without data, for warm-up."""
    spread = _spread(config, world)
    for _ in range(steps):
        micro = tuple(_synthetic(config, spread.micro_batch_size, world) for _ in range(spread.accumulation))
        yield Batch(micro, config.global_batch_size)


def synthetic_eval_batches(config: ResNetConfig, world: World) -> Iterator[EvalBatch]:
    """One evaluation batch of the real shapes, dtypes and memory layout without data, for warm-up."""
    images, labels = _synthetic(config, config.data.eval_batch_size, world)
    yield EvalBatch(images, labels, torch.ones(len(labels), dtype=torch.bool, device=world.device))


def decoding_threads(parallel: Parallel, world: World) -> int:
    """Threads that decode: as configured; else this process's share of the cores, or one where the CPU also trains."""
    if parallel.data_workers >= 0:
        return max(1, parallel.data_workers)
    if world.device.type == "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // world.size)


def _spread(config: ResNetConfig, world: World) -> Spread:
    return Spread(config.global_batch_size, world.size, world.rank, config.parallel.accumulation_steps)


def _micro(tensors: tuple[torch.Tensor, ...]) -> Micro:
    images, labels = tensors
    return images, labels


def _synthetic(config: ResNetConfig, size: int, world: World) -> Micro:
    generator = Seeds(0).torch("synthetic")
    images = empty_images(config.data, size).normal_(0.0, 60.0, generator=generator)  # about the spread of real pixels
    labels = torch.randint(config.model.classes, (size,), generator=generator)
    return images.to(world.device), labels.to(world.device)
