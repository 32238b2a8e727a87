"""From a decoded image to network input: the reference's random crop, its resize, and the evaluation crop.

Sources: TensorFlow's kernels `sample_distorted_bounding_box_op.cc` and `resize_bilinear_op.cc` (corners not aligned,
pixel centres not shifted, no anti-aliasing), as the reference's `imagenet_preprocessing.py` calls them; here with the
whole image as the only bounding box. Geometry is sampled for many images at once from the index's sizes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from laptime.suite.resnet.config import DataConfig
from laptime.training.data.sampler import Draws, Indices

ATTEMPTS = 100  # reference imagenet_preprocessing.py, max_attempts
COVERED = 0.1  # the same, min_object_covered: of the whole image
DRAWS_PER_ATTEMPT = 4
FLIP_DRAW = ATTEMPTS * DRAWS_PER_ATTEMPT

Floats = NDArray[np.float32]
Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Boxes:
    """Crops of many images, in pixels; `flipped` ones are mirrored left to right."""

    y: Indices
    x: Indices
    height: Indices
    width: Indices
    flipped: NDArray[np.bool_]


@dataclass(frozen=True)
class Axis:
    """Linear interpolation along one axis: out[i] = in[lower[i]] + (in[upper[i]] - in[lower[i]]) * weight[i]."""

    lower: Indices
    upper: Indices
    weight: Floats

    def mirrored(self) -> "Axis":
        return Axis(self.lower[::-1], self.upper[::-1], self.weight[::-1])


def random_boxes(config: DataConfig, draws: Draws, samples: Indices, heights: Indices, widths: Indices) -> Boxes:
    """The training crop of each sample: a "distorted bounding box", the whole image after 100 rejected attempts."""
    y, x = np.zeros_like(samples), np.zeros_like(samples)
    h, w = heights.copy(), widths.copy()
    open_ = np.arange(len(samples))  # those without an accepted crop
    for attempt in range(ATTEMPTS):
        tried = _attempt(config, _Random(draws, attempt, samples[open_]), heights[open_], widths[open_])
        accepted = tried.accepted
        done = open_[accepted]
        y[done], x[done], h[done], w[done] = (part[accepted] for part in (tried.y, tried.x, tried.height, tried.width))
        open_ = open_[~accepted]
        if not len(open_):
            break
    flipped = draws.uniform(samples, FLIP_DRAW) < 0.5 if config.flip else np.zeros(len(samples), bool)
    return Boxes(y, x, h, w, flipped)


@dataclass(frozen=True)
class _Tried:
    y: Indices
    x: Indices
    height: Indices
    width: Indices
    accepted: NDArray[np.bool_]


@dataclass(frozen=True)
class _Random:
    """The random numbers of one attempt: 0 aspect, 1 height, 2 y, 3 x."""

    draws: Draws
    number: int
    samples: Indices

    def uniform(self, which: int) -> Reals:
        return self.draws.uniform(self.samples, self.number * DRAWS_PER_ATTEMPT + which)

    def below(self, which: int, bound: Indices) -> Indices:
        return self.draws.below(self.samples, self.number * DRAWS_PER_ATTEMPT + which, bound)


def _attempt(config: DataConfig, random: _Random, heights: Indices, widths: Indices) -> _Tried:
    """One attempt per sample: aspect ratio, then height (uniform), then position. Rounding is half to even (lrintf)."""
    ratio = config.aspect_low + (config.aspect_high - config.aspect_low) * random.uniform(0)
    area = (heights * widths).astype(np.float64)
    least, most = config.area_low * area, config.area_high * area
    highest = _highest(ratio, most, heights, widths)
    lowest = np.minimum(_whole(np.sqrt(least / ratio)), highest)
    h = lowest + random.below(1, highest - lowest + 1)
    h = np.where(h * _whole(h * ratio) < least, h + 1, h)
    h = np.where(h * _whole(h * ratio) > most, h - 1, h)
    w = _whole(h * ratio)
    size = h * w
    fits = (size >= least) & (size <= most) & (w <= widths) & (h <= heights) & (w > 0) & (h > 0)
    y = random.below(2, np.maximum(heights - h, 0))  # in 0..H-h-1, as the kernel draws it
    x = random.below(3, np.maximum(widths - w, 0))
    return _Tried(y, x, h, w, fits & (size >= COVERED * area))


def _highest(ratio: Reals, most: Reals, heights: Indices, widths: Indices) -> Indices:
    """The largest crop height within the area limit whose rounded width, and itself, fit into the image."""
    highest = _whole(np.sqrt(most / ratio))
    fitting = np.floor((widths + 0.5 - 1e-7) / ratio).astype(np.int64)  # kernel: keeps the rounded width inside
    highest = np.where(_whole(highest * ratio) > widths, fitting, highest)
    highest = np.where(_whole(highest * ratio) > widths, highest - 1, highest)
    return np.minimum(highest, heights)


def _whole(values: Reals) -> Indices:
    return np.rint(values).astype(np.int64)


def crop_axes(y: int, x: int, height: int, width: int, *, out: int, flipped: bool) -> tuple[Axis, Axis]:
    """Rows and columns of a crop resized to out x out without keeping its aspect."""
    columns = _axis(x, width, out, width / out, 0)
    return _axis(y, height, out, height / out, 0), columns.mirrored() if flipped else columns


def centre_axes(height: int, width: int, *, resize: int, out: int) -> tuple[Axis, Axis]:
    """Rows and columns of an image resized so that its shorter side is `resize`, then cropped centrally to out x out.

    The longer side is truncated to whole pixels (integers here: no float can make it one less).
    """
    short = min(height, width)
    tall, wide = height * resize // short, width * resize // short
    return (_axis(0, height, out, height / tall, (tall - out) // 2),
            _axis(0, width, out, width / wide, (wide - out) // 2))


def _axis(start: int, length: int, out: int, scale: float, first: int) -> Axis:
    """Output pixel i samples the source at start + (first + i) * scale, clamped to its last pixel."""
    position = np.arange(first, first + out) * scale
    lower = np.minimum(position.astype(np.int64), length - 1)
    upper = np.minimum(lower + 1, length - 1)
    return Axis(lower + start, upper + start, (position - lower).astype(np.float32))


def resample(image: NDArray[np.uint8], rows: Axis, columns: Axis) -> Floats:
    """(H, W, 3) uint8 -> (len(rows), len(columns), 3) float32 in 0..255, bilinear."""
    left, right = int(columns.lower.min()), int(columns.upper.max()) + 1
    top, bottom = int(rows.lower.min()), int(rows.upper.max()) + 1
    part = image[top:bottom, left:right].reshape(bottom - top, -1)
    lines = _between(part.take(rows.lower - top, 0), part.take(rows.upper - top, 0), rows.weight[:, None])
    pixels = lines.reshape(len(rows.lower), right - left, 3)
    weight = columns.weight.repeat(3)  # flat: several times faster than a broadcast over channels
    low, high = (pixels.take(side - left, 1).reshape(len(lines), -1) for side in (columns.lower, columns.upper))
    return _between(low, high, weight).reshape(len(lines), -1, 3)


def _between(low: NDArray, high: NDArray, weight: Floats) -> Floats:
    """low + (high - low) * weight, in float32."""
    result, change = low.astype(np.float32, copy=False), high.astype(np.float32, copy=False)
    change -= result
    change *= weight
    result += change
    return result
