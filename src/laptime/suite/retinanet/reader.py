"""From prepared shards to network input: decoded images resized to one size, and boxes scaled and padded alike.

Images are float32 (n, 3, size, size) in channels_last memory, normalised; resized bilinearly without keeping the aspect
(corners not aligned, no anti-aliasing), as the reference does inside its model.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from laptime.errors import DataProblem
from laptime.suite.retinanet.config import DataConfig
from laptime.suite.retinanet.published import BOX, Boxes, boxes_name
from laptime.training.data.jpeg import decode
from laptime.training.data.sampler import Indices
from laptime.training.data.shards import Shards
from laptime.training.data.store import Store

AGAIN = "Make the data again: `laptime prepare --force`."
LEAST_BOXES = 8  # rows that a batch of boxes has at least


def read_boxes(store: Store, part: str, images: int) -> Boxes:
    """The annotations of a part, through the data door. Raises DataTouchedTooEarly, and DataProblem for damage."""
    path = store.data(boxes_name(part))
    try:
        boxes = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataProblem(f"{path} is missing or damaged ({error})", hint=AGAIN) from None
    if boxes.dtype != BOX:
        raise DataProblem(f"{path} has rows of another format", hint=AGAIN)
    order = boxes["image"]
    if len(boxes) and (order[-1] >= images or (np.diff(order.astype(np.int64)) < 0).any()):
        raise DataProblem(f"expected boxes of {images} images in their order in {path}, found others", hint=AGAIN)
    return boxes


@dataclass
class Pictures:
    """Images of one part at network size; kept in memory from first use where the part fits into `cache_bytes`."""

    shards: Shards
    config: DataConfig
    _kept: dict[int, NDArray[np.float32]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        rows = self.shards.rows
        self.heights, self.widths = rows["height"].astype(np.int64), rows["width"].astype(np.int64)
        self._keep = len(rows) * self.config.size**2 * 3 * 4 <= self.config.cache_bytes
        scale = 1.0 / (255.0 * np.array(self.config.std, np.float64))
        self._scale = scale.astype(np.float32)
        self._shift = (-255.0 * np.array(self.config.mean) * scale).astype(np.float32)

    def __len__(self) -> int:
        return len(self.heights)

    def __getitem__(self, sample: int) -> NDArray[np.float32]:
        """(size, size, 3) float32. Raises DataProblem for bytes that do not decode to the size in the index."""
        if sample in self._kept:
            return self._kept[sample]
        image = resized(self.decoded(sample), self.config.size) * self._scale + self._shift
        if self._keep:
            self._kept[sample] = image
        return image

    def decoded(self, sample: int) -> NDArray[np.uint8]:
        """(height, width, 3) as stored."""
        try:
            image = decode(self.shards[sample])
        except ValueError as error:
            raise self._damaged(sample, str(error)) from None
        if image.shape[:2] != (self.heights[sample], self.widths[sample]):
            raise self._damaged(sample, f"found {image.shape[0]} x {image.shape[1]} pixels")
        return image

    def _damaged(self, sample: int, why: str) -> DataProblem:
        size = f"{self.heights[sample]} x {self.widths[sample]}"
        return DataProblem(f"expected a JPEG of {size} pixels as {self.shards.where(sample)}: {why}", hint=AGAIN)


def resized(image: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """(H, W, 3) uint8 -> (size, size, 3) float32 in 0..255."""
    source = torch.from_numpy(image).permute(2, 0, 1)[None].float()  # channels_last, as `image` lies in memory
    made = F.interpolate(source, (size, size), mode="bilinear", align_corners=False)
    pixels: NDArray[np.float32] = made[0].permute(1, 2, 0).contiguous().numpy()
    return pixels


@dataclass(frozen=True)
class Renderer:
    """Draws samples into a batch on `workers` threads (decoder and resize release the interpreter)."""

    workers: int
    pool: ThreadPoolExecutor | None

    def images(self, pictures: Pictures, samples: Indices, flipped: NDArray[np.bool_], *, size: int,
               pinned: bool) -> torch.Tensor:
        """(size, 3, S, S) float32 in channels_last memory; rows beyond the samples are 0."""
        batch = empty_images(pictures.config, size, pinned=pinned)
        target = batch.permute(0, 2, 3, 1).numpy()
        target[len(samples):] = 0.0

        def fill(first: int) -> None:
            for i in range(first, len(samples), self.workers):
                image = pictures[int(samples[i])]
                target[i] = image[:, ::-1] if flipped[i] else image

        if self.pool is None:
            fill(0)
        else:
            list(self.pool.map(fill, range(self.workers)))
        return batch


@contextmanager
def renderer(workers: int) -> Iterator[Renderer]:
    """A renderer whose threads end with the context; one worker is the caller's own thread."""
    if workers <= 1:
        yield Renderer(1, None)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        yield Renderer(workers, pool)


def empty_images(config: DataConfig, size: int, *, pinned: bool = False) -> torch.Tensor:
    """An unfilled (size, 3, S, S) float32 batch in channels_last memory."""
    return torch.empty(size, config.size, config.size, 3, pin_memory=pinned).permute(0, 3, 1, 2)


@dataclass
class Targets:
    """Training boxes of all images at network size: corners cut at the image's edges; those without area left out."""

    boxes: Boxes
    heights: Indices
    widths: Indices
    size: int

    def __post_init__(self) -> None:
        image = self.boxes["image"].astype(np.int64)
        high, wide = self.heights[image].astype(np.float64), self.widths[image].astype(np.float64)
        x, y = (np.clip(self.boxes[name], 0, limit) for name, limit in (("x", wide), ("y", high)))
        right = np.clip(self.boxes["x"] + self.boxes["width"], 0, wide)
        bottom = np.clip(self.boxes["y"] + self.boxes["height"], 0, high)
        real = (right > x) & (bottom > y)
        corners = np.stack([x / wide, y / high, right / wide, bottom / high], 1) * self.size
        self.corners = corners[real].astype(np.float32)
        self.labels = self.boxes["label"][real].astype(np.int64)
        self.first = np.searchsorted(image[real], np.arange(len(self.heights) + 1))

    def batch(self, samples: Indices) -> tuple[torch.Tensor, torch.Tensor]:
        """Boxes (n, G, 4) and labels (n, G), padded with 0 and -1 to one of few lengths G."""
        counts = self.first[samples + 1] - self.first[samples]
        rows = padded_length(int(counts.max()))
        steps = np.arange(rows)
        real = steps < counts[:, None]
        index = (self.first[samples][:, None] + steps)[real]
        corners, labels = np.zeros((len(samples), rows, 4), np.float32), np.full((len(samples), rows), -1, np.int64)
        corners[real], labels[real] = self.corners[index], self.labels[index]
        return torch.from_numpy(corners), torch.from_numpy(labels)


def padded_length(boxes: int) -> int:
    """The power of two, at least `LEAST_BOXES`, that holds so many."""
    return max(LEAST_BOXES, 1 << max(0, boxes - 1).bit_length())
