"""From prepared shards to network input: decoding, where to read each image, and drawing it into a batch."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch

from laptime.errors import DataProblem
from laptime.suite.resnet.config import DataConfig
from laptime.suite.resnet.images import Axis, centre_axes, crop_axes, random_boxes, resample
from laptime.training.data.jpeg import Image, decode
from laptime.training.data.sampler import Draws, Indices
from laptime.training.data.shards import Shards

Axes = tuple[Axis, Axis]  # rows, columns


@dataclass
class Pictures:
    """Decoded images of one part; kept in memory from their first use where the whole part fits into `cache_bytes`."""

    shards: Shards
    cache_bytes: int
    _kept: dict[int, Image] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        rows = self.shards.rows
        self.heights, self.widths = rows["height"].astype(np.int64), rows["width"].astype(np.int64)
        self.labels = rows["label"].astype(np.int64)
        self._keep = int((self.heights * self.widths * 3).sum()) <= self.cache_bytes

    def __getitem__(self, sample: int) -> Image:
        """(height, width, 3) uint8. Raises DataProblem for bytes that do not decode to the size in the index."""
        if sample in self._kept:
            return self._kept[sample]
        try:
            image = decode(self.shards[sample])
        except ValueError as error:
            raise self._damaged(sample, str(error)) from None
        if image.shape[:2] != (self.heights[sample], self.widths[sample]):
            raise self._damaged(sample, f"found {image.shape[0]} x {image.shape[1]} pixels")
        if self._keep:
            self._kept[sample] = image
        return image

    def _damaged(self, sample: int, why: str) -> DataProblem:
        size = f"{self.heights[sample]} x {self.widths[sample]}"
        return DataProblem(f"expected a JPEG of {size} pixels as {self.shards.where(sample)}: {why}",
                           hint="Make the data again: `laptime prepare --force`.")


def train_axes(config: DataConfig, pictures: Pictures, draws: Draws, samples: Indices) -> list[Axes]:
    """Where each sample is read in this epoch: a random crop, or (planted fault) the evaluation crop."""
    heights, widths = pictures.heights[samples], pictures.widths[samples]
    if not config.augment:
        return eval_axes(config, pictures, samples)
    boxes = random_boxes(config, draws, samples, heights, widths)
    columns = (boxes.y, boxes.x, boxes.height, boxes.width, boxes.flipped)
    return [crop_axes(y, x, h, w, out=config.crop, flipped=flipped)
            for y, x, h, w, flipped in zip(*(column.tolist() for column in columns), strict=True)]


def eval_axes(config: DataConfig, pictures: Pictures, samples: Indices) -> list[Axes]:
    """The centre of each sample."""
    sizes = zip(pictures.heights[samples].tolist(), pictures.widths[samples].tolist(), strict=True)
    return [centre_axes(h, w, resize=config.eval_resize, out=config.crop) for h, w in sizes]


@dataclass(frozen=True)
class Renderer:
    """Draws samples into a batch on `workers` threads (the decoder and numpy release the interpreter)."""

    config: DataConfig
    workers: int
    pool: ThreadPoolExecutor | None

    def images(self, pictures: Pictures, samples: Indices, axes: Sequence[Axes], *,
               size: int, pinned: bool) -> torch.Tensor:
        """(size, 3, crop, crop) float32 in channels_last memory, mean subtracted; rows beyond the samples are 0."""
        batch = empty_images(self.config, size, pinned=pinned)
        target = batch.permute(0, 2, 3, 1).numpy()
        target[len(samples):] = 0.0
        mean = np.array(self.config.mean, np.float32)

        def fill(first: int) -> None:
            for i in range(first, len(samples), self.workers):
                np.subtract(resample(pictures[int(samples[i])], *axes[i]), mean, out=target[i])

        if self.pool is None:
            fill(0)
        else:
            list(self.pool.map(fill, range(self.workers)))
        return batch


@contextmanager
def renderer(config: DataConfig, workers: int) -> Iterator[Renderer]:
    """A renderer whose threads end with the context; one worker is the caller's own thread."""
    if workers <= 1:
        yield Renderer(config, 1, None)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        yield Renderer(config, workers, pool)


def empty_images(config: DataConfig, size: int, *, pinned: bool = False) -> torch.Tensor:
    """An unfilled (size, 3, crop, crop) float32 batch in channels_last memory."""
    return torch.empty(size, config.crop, config.crop, 3, pin_memory=pinned).permute(0, 3, 1, 2)
