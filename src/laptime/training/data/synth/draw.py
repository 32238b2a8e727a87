"""Drawing for generated data sets: anti-aliased shapes, stripes, textures, blur and noise, equal on every machine.

Only element-wise additions, products, quotients, square roots, rounding and comparisons of float32 are used: IEEE 754
defines them to the last bit, so neither the vector unit nor the compiler can change a pixel. No sine, exponential or
sum over an axis of array values; angles come from a table of rounded integers. Randomness is Philox's raw stream,
which numpy promises never to change (its derived distributions it may).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating]  # (H, W) float32
Picture = NDArray[np.floating]  # (3, H, W) float32, 0..255
Colour = tuple[float, float, float]

TURN = 1 << 14
COSINES = [round(math.cos(math.radians(degree)) * TURN) / TURN for degree in range(360)]  # exact in float32


class Stream:
    """Random numbers for one picture, a function of the key alone."""

    def __init__(self, *key: int) -> None:
        first, second = (*key, 0)[:2]
        self._bits = np.random.Philox(key=np.array([first, second], np.uint64))

    def fraction(self) -> float:
        """In [0, 1)."""
        return (int(self._bits.random_raw()) >> 11) * 2.0**-53

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.fraction()

    def integer(self, low: int, high: int) -> int:
        """In low..high, both included."""
        return low + int(self.fraction() * (high - low + 1))

    def colour(self, low: int, high: int) -> Colour:
        r, g, b = (float(self.integer(low, high)) for _ in range(3))
        return r, g, b

    def bytes(self, *shape: int) -> NDArray[np.uint8]:
        """An array of random bytes."""
        count = math.prod(shape)
        words = self._bits.random_raw(-(-count // 8))
        return words.astype("<u8", copy=False).view(np.uint8)[:count].reshape(shape)


@dataclass(frozen=True)
class Frame:
    """Turned coordinates (in units of `size` pixels, from a centre) of the pixels in a window of `rows` x `columns`."""

    u: Field
    v: Field
    size: float
    rows: slice
    columns: slice

    @classmethod
    def at(cls, height: int, width: int, *, y: float, x: float, size: float, degrees: int, reach: float) -> "Frame":
        """The part of a height x width picture within `reach` units of (y, x) along each axis; perhaps empty."""
        rows, columns = _window(y, size * reach, height), _window(x, size * reach, width)
        down = ((np.arange(rows.start, rows.stop, dtype=np.float32) - y) / size)[:, None]
        right = ((np.arange(columns.start, columns.stop, dtype=np.float32) - x) / size)[None, :]
        cosine, sine = COSINES[degrees % 360], COSINES[(degrees - 90) % 360]
        return cls(right * cosine + down * sine, down * cosine - right * sine, size, rows, columns)

    def covered(self, distance: Field) -> Field:
        """How much of each pixel lies inside (distance < 0), 0..1: anti-aliasing over one pixel."""
        return _unit(0.5 - distance * self.size)

    def paint(self, picture: Picture, over: "Picture | Colour", amount: Field) -> None:
        """Blend `over` (a picture of the window, or one colour) into the window of `picture`, in place."""
        blend(picture[:, self.rows, self.columns], over, amount)


def _window(centre: float, reach: float, length: int) -> slice:
    low = min(length, max(0, math.floor(centre - reach)))
    return slice(low, max(low, min(length, math.floor(centre + reach) + 2)))


def _unit(values: Field) -> Field:
    """Clipped to 0..1, in place."""
    np.maximum(values, 0.0, out=values)
    return np.minimum(values, 1.0, out=values)


# Signed distances (negative inside) of shapes of equal area 4, that of the square of half side 1.
def disc(frame: Frame) -> Field:
    return np.sqrt(frame.u * frame.u + frame.v * frame.v) - 1.128


def ring(frame: Frame) -> Field:
    return np.abs(np.sqrt(frame.u * frame.u + frame.v * frame.v) - 1.047) - 0.304


def square(frame: Frame) -> Field:
    return np.maximum(np.abs(frame.u), np.abs(frame.v)) - 1.0


def triangle(frame: Frame) -> Field:
    return np.maximum(frame.v, np.abs(frame.u) * 0.8660254 - frame.v * 0.5) - 0.8774


def cross(frame: Frame) -> Field:
    across, along = np.abs(frame.u), np.abs(frame.v)
    return np.minimum(np.maximum(across - 1.3015, along - 0.4685), np.maximum(across - 0.4685, along - 1.3015))


SHAPES: dict[str, Callable[[Frame], Field]] = {
    "disc": disc, "ring": ring, "triangle": triangle, "square": square, "cross": cross,
}


def bar(frame: Frame, length: float, width: float) -> Field:
    """Signed distance of a rectangle, half sides in units of the frame."""
    return np.maximum(np.abs(frame.u) - length, np.abs(frame.v) - width)


def stripes(position: Field, period_px: float, phase: float) -> Field:
    """0..1 stripes along a coordinate in pixels, half on and half off, with edges of one pixel."""
    wave = position / period_px
    wave += phase
    wave -= np.floor(wave)
    wave -= 0.5
    np.abs(wave, out=wave)
    wave *= period_px
    wave += 0.5 - 0.25 * period_px
    return _unit(wave)


def slope(height: int, width: int, degrees: int) -> Field:
    """Distance in pixels along a direction, from the corner."""
    down, right = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None, :]
    return right * COSINES[degrees % 360] + down * COSINES[(degrees - 90) % 360]


def blend(under: Picture, over: Picture | Colour, amount: Field) -> None:
    """Lay `over` on `under` in place, 0..1 per pixel."""
    top = over if isinstance(over, np.ndarray) else flat(over)
    change = top - under
    change *= amount
    under += change


def flat(colour: Colour) -> Picture:
    """A colour as a picture of one pixel."""
    return np.array(colour, np.float32)[:, None, None]


def clouds(stream: Stream, height: int, width: int, cells: int) -> Picture:
    """Smooth random colour: a lattice of `cells` x `cells` random colours, interpolated; 0..255."""
    lattice = stream.bytes(3, cells + 1, cells + 1).astype(np.float32)
    low, weight = _positions(cells, width)
    columns = _mixed(lattice, low, weight, axis=2)
    low, weight = _positions(cells, height)
    return _mixed(columns, low, weight[:, None], axis=1)


def _mixed(values: Picture, low: NDArray[np.int64], weight: Field, *, axis: int) -> Picture:
    one = values.take(low, axis)  # unlike values[low], contiguous
    change = values.take(low + 1, axis)
    change -= one
    change *= weight
    change += one
    return change


def _positions(cells: int, length: int) -> tuple[NDArray[np.int64], Field]:
    position = np.arange(length, dtype=np.float32) * np.float32(cells / length)
    low = position.astype(np.int64)
    return low, position - low.astype(np.float32)


def blurred(picture: Picture, radius: int) -> Picture:
    """A box blur of (2 radius + 1) pixels squared; edges repeat."""
    if not radius:
        return picture
    padded = np.pad(picture, ((0, 0), (radius, radius), (radius, radius)), mode="edge")
    height, width = picture.shape[1:]
    rows = padded[:, :height].copy()
    for shift in range(1, 2 * radius + 1):
        rows += padded[:, shift:shift + height]
    total = rows[:, :, :width].copy()
    for shift in range(1, 2 * radius + 1):
        total += rows[:, :, shift:shift + width]
    total /= np.float32((2 * radius + 1) ** 2)
    return total


def noisy(picture: Picture, stream: Stream, amplitude: float) -> Picture:
    """Independent triangular noise of -amplitude..amplitude per value."""
    one, other = stream.bytes(2, *picture.shape)
    noise = one.astype(np.float32)
    noise -= other
    noise *= np.float32(amplitude / 255.0)
    noise += picture
    return noise


def finished(picture: Picture) -> NDArray[np.uint8]:
    """Rounded and clipped to bytes, (H, W, 3)."""
    whole = np.rint(picture)
    np.maximum(whole, 0.0, out=whole)
    np.minimum(whole, 255.0, out=whole)
    return np.ascontiguousarray(whole.astype(np.uint8).transpose(1, 2, 0))
