"""Data of RetinaNet: prepared once (real or generated), then read in batches; one path at all scales.

Training images are mirrored half of the time; order and mirroring are functions of (run seed, epoch, sample).
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
from laptime.suite.retinanet.config import RetinaNetConfig
from laptime.suite.retinanet.pretrain import published_backbone, train_backbone
from laptime.suite.retinanet.published import BACKBONE, reformat
from laptime.suite.retinanet.reader import (
    Pictures,
    Renderer,
    Targets,
    empty_images,
    padded_length,
    read_boxes,
    renderer,
)
from laptime.suite.retinanet.scenes import GENERATOR, write_published
from laptime.training.data.described import GENERATED, Count, check_described
from laptime.training.data.prefetch import prefetched
from laptime.training.data.sampler import Draws, Indices, Spread, epoch_order, rank_slice
from laptime.training.data.shards import Shards
from laptime.training.data.store import Manifest, Store
from laptime.training.data.transfer import Sent, Transfer
from laptime.training.distributed.world import World
from laptime.training.loop import Batch
from laptime.training.nn.boxes import mirrored
from laptime.training.seeds import Seeds

NAME = "openimages-v6-mlperf"
AHEAD = 3  # batches made before they are asked for
UNPACKED = "published-"  # prefix of the folder that generated files pass through
FLIP_DRAW = 0
SHUFFLED_LABELS_KEY = 20220601  # of the fixed permutation of the planted fault
SYNTHETIC_BOXES = 4  # real ones per image of a synthetic batch


class Micro(NamedTuple):
    """Images (n, 3, S, S), boxes (n, G, 4) as corners in pixels of S, labels (n, G), -1 for padding."""

    images: torch.Tensor
    boxes: torch.Tensor
    labels: torch.Tensor


class EvalBatch(NamedTuple):
    """Images of fixed size and the numbers of the samples they show (on the host); further rows are padding."""

    images: torch.Tensor
    samples: Indices


def prepare(config: RetinaNetConfig, source: Path, root: Path) -> None:
    """Verify the published layout under `source` (`published.py`) and reformat it into `root`. Untimed.

    Raises DataProblem.
    """
    root.mkdir(parents=True, exist_ok=True)
    published_backbone(config.model, source, root / BACKBONE)
    reformat(config, source, root, name=NAME, generator="published", backbone=BACKBONE)


def generate(config: RetinaNetConfig, root: Path, seed: int) -> None:
    """Draw the data set of `scenes.py` in the published layout, reformat it as real data is, and make start weights."""
    root.mkdir(parents=True, exist_ok=True)
    for left in root.glob(f"{UNPACKED}*"):  # by an interrupted call
        shutil.rmtree(left)
    backbone = BACKBONE if config.pretrain.steps else ""
    if backbone:
        train_backbone(config, root / backbone, seed)
    with tempfile.TemporaryDirectory(dir=root, prefix=UNPACKED) as folder:
        content_hash = write_published(config, Path(folder), seed)
        reformat(config, Path(folder), root, name=NAME + GENERATED, generator=recipe(config), backbone=backbone,
                 content_hash=content_hash)


def recipe(config: RetinaNetConfig) -> str:
    """What generated data was made by: another recipe makes another data set."""
    data, start, model = config.data, config.pretrain, config.model
    return (f"{GENERATOR}, {data.image_low}-{data.image_high} px, 1-{data.objects} objects of "
            f"{data.object_low:g}-{data.object_high:g}, hardness {data.hardness:g}; start, one thread: {start.steps} "
            f"steps of {start.batch} at {start.learning_rate:g}, {start.images} images of {start.size} px, "
            f"stem {model.stem}, blocks {'-'.join(map(str, model.blocks))} of {model.groups} x {model.group_width}")


def sizes(config: RetinaNetConfig, manifest: Manifest) -> Sizes:
    """Sample counts; the remainder of an epoch is dropped.

    Raises DataProblem when the data set is not the one that the configuration describes.
    """
    train, evaluation = manifest.count("train_samples"), manifest.count("eval_samples")
    check_described(manifest, (Count("data.train_images", config.data.train_images, train),
                               Count("data.eval_images", config.data.eval_images, evaluation),
                               Count("model.classes", config.model.classes, manifest.count("classes"))), recipe(config))
    per_epoch = steps_per_epoch(config, manifest) * config.global_batch_size
    return Sizes(train, evaluation, per_epoch, limit_epochs=config.schedule.train_epochs)


def steps_per_epoch(config: RetinaNetConfig, manifest: Manifest) -> int:
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
    config: RetinaNetConfig
    seeds: Seeds
    world: World

    def __post_init__(self) -> None:
        self.spread = _spread(self.config, self.world)
        self._transfer = Transfer(self.world.device)
        self._opened: tuple[Pictures, Targets] | None = None

    def __call__(self, epoch: int) -> Iterator[Batch[Micro]]:
        """One epoch: every sample at most once over all ranks, in whole global batches; made ahead in a thread.

        Raises DataTouchedTooEarly, and DataProblem for damaged data. Closing it ends its threads.
        """
        with closing(prefetched(lambda: self._steps(epoch), AHEAD)) as steps:
            for step in steps:
                yield Batch(tuple(Micro(*self._transfer.receive(sent)) for sent in step), self.config.global_batch_size)

    def opened(self) -> tuple[Pictures, Targets]:
        """The training part, opened on first use."""
        if self._opened is None:
            pictures = Pictures(Shards(self.store, "train"), self.config.data)
            boxes = read_boxes(self.store, "train", len(pictures))
            targets = Targets(boxes, pictures.heights, pictures.widths, self.config.data.size)
            if self.config.data.shuffle_labels:
                fixed = np.random.Generator(np.random.Philox(SHUFFLED_LABELS_KEY))
                targets.labels = fixed.permutation(targets.labels)
            self._opened = pictures, targets
        return self._opened

    def _steps(self, epoch: int) -> Iterator[tuple[Sent, ...]]:
        pictures, targets = self.opened()
        draws = Draws.of(self.seeds, "augment", epoch)
        order = epoch_order(self.seeds, epoch, len(pictures))
        with renderer(decoding_threads(self.config.parallel, self.world)) as drawing:
            for share in self.spread.steps(order):
                yield tuple(self._sent(drawing, pictures, targets, draws, samples) for samples in share)

    def _sent(self, drawing: Renderer, pictures: Pictures, targets: Targets, draws: Draws, samples: Indices) -> Sent:
        data = self.config.data
        flipped = (draws.uniform(samples, FLIP_DRAW) < 0.5) & data.flip
        images = drawing.images(pictures, samples, flipped, size=len(samples), pinned=self._transfer.pinned)
        boxes, labels = targets.batch(samples)
        if data.mirror_boxes:
            boxes = torch.where(torch.from_numpy(flipped)[:, None, None], mirrored(boxes, data.size), boxes)
        return self._transfer.send((images, boxes, labels))


@dataclass
class EvalBatches:
    """Evaluation batches of this rank: all ranks together see every sample once. Iterate after the door is open."""

    store: Store
    config: RetinaNetConfig
    world: World

    def __post_init__(self) -> None:
        self._transfer = Transfer(self.world.device)
        self._pictures: Pictures | None = None

    def pictures(self) -> Pictures:
        """The evaluation part, opened on first use."""
        if self._pictures is None:
            self._pictures = Pictures(Shards(self.store, "eval"), self.config.data)
        return self._pictures

    def own(self) -> Indices:
        """The samples of this rank."""
        return rank_slice(len(self.pictures()), self.world.size, self.world.rank)

    def __iter__(self) -> Iterator[EvalBatch]:
        with closing(prefetched(self._batches, AHEAD)) as batches:
            for sent, samples in batches:
                (images,) = self._transfer.receive(sent)
                yield EvalBatch(images, samples)

    def _batches(self) -> Iterator[tuple[Sent, Indices]]:
        pictures, own, size = self.pictures(), self.own(), self.config.data.eval_batch_size
        with renderer(decoding_threads(self.config.parallel, self.world)) as drawing:
            for start in range(0, len(own), size):
                samples = own[start:start + size]
                images = drawing.images(pictures, samples, np.zeros(len(samples), bool), size=size,
                                        pinned=self._transfer.pinned)
                yield self._transfer.send((images,)), samples


def synthetic_batches(config: RetinaNetConfig, world: World, most: int) -> Iterator[Batch[Micro]]:
    """Training batches of the real dtypes and memory layout without data, one for each length that boxes are padded
    to where an image has at most `most` of them, for warm-up."""
    spread, rows = _spread(config, world), padded_length(0)
    while rows <= padded_length(most):
        micro = tuple(_synthetic(config, spread.micro_batch_size, rows, world) for _ in range(spread.accumulation))
        yield Batch(micro, config.global_batch_size)
        rows *= 2


def synthetic_images(config: RetinaNetConfig, count: int, world: World) -> torch.Tensor:
    """Images of the real shape and memory layout without data."""
    images = empty_images(config.data, count).normal_(generator=Seeds(0).torch("synthetic"))
    return images.to(world.device)


def _synthetic(config: RetinaNetConfig, count: int, rows: int, world: World) -> Micro:
    generator = Seeds(0).torch("synthetic boxes")
    corner = torch.rand(count, rows, 2, generator=generator) * 0.7 * config.data.size
    sides = (0.1 + 0.2 * torch.rand(count, rows, 2, generator=generator)) * config.data.size
    labels = torch.randint(config.model.classes, (count, rows), generator=generator)
    labels[:, SYNTHETIC_BOXES:] = -1
    boxes = torch.cat([corner, corner + sides], -1)
    return Micro(synthetic_images(config, count, world), boxes.to(world.device), labels.to(world.device))


def decoding_threads(parallel: Parallel, world: World) -> int:
    """Threads that decode: as configured; else this process's share of the cores, or one where the CPU also trains."""
    if parallel.data_workers >= 0:
        return max(1, parallel.data_workers)
    if world.device.type == "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // world.size)


def _spread(config: RetinaNetConfig, world: World) -> Spread:
    return Spread(config.global_batch_size, world.size, world.rank, config.parallel.accumulation_steps)
