"""The generated data set of the mini round: scenes of a few shapes, in the files and tables of Open Images.

Class = shape; size, place, tilt, colours, background and noise are nuisance, which `hardness` scales. Some boxes stand
for a group of small shapes ("group of"), some images are empty, and the later a class comes the rarer it is. Written as
coloured JPEGs of varied size with hexadecimal names, then converted and reformatted as real data is.
"""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from laptime.suite.retinanet.config import DataConfig, RetinaNetConfig
from laptime.suite.retinanet.convert import CLASSES, DETECTIONS, IMAGE_IDS, MACHINE_NAMES
from laptime.suite.retinanet.published import PARTS
from laptime.training.data.jpeg import Image, encode
from laptime.training.data.synth.draw import SHAPES, Field, Frame, Picture, Stream, blend, clouds, finished, noisy

GENERATOR = "retinanet-scenes 1"
QUALITY = 90
REACH = 1.9  # furthest point of any shape from its centre, in half sides of the square, and a margin
EMPTY = 0.03  # share of images without objects
GROUPS = 0.05  # share of boxes around a group
TRIES = 20  # to find a place for one object
FREE = 0.1  # overlap allowed between the boxes of one image, of the smaller one
RARER = 0.9  # frequency of a class against the one before it
CONTRAST = 240  # of an object's colour to what it lies on, summed over red, green and blue
TILT = 6  # degrees to either side
HEADING = ("ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,"
           "IsInside\n")


def diamond(frame: Frame) -> Field:
    """Signed distance of a square of area 4 on its corner."""
    return (np.abs(frame.u) + np.abs(frame.v) - 1.4142135) * np.float32(0.70710678)


KINDS: dict[str, Callable[[Frame], Field]] = {**SHAPES, "diamond": diamond}
NAMES = list(KINDS)


@dataclass(frozen=True)
class Object:
    """One annotated box: corners in pixels."""

    label: int
    left: int
    top: int
    right: int
    bottom: int
    group: bool


@dataclass(frozen=True)
class Scene:
    """One generated picture and what is on it."""

    image: Image
    objects: tuple[Object, ...]


def scene(config: DataConfig, classes: int, seed: int, index: int) -> Scene:
    """Picture `index`: training pictures first, then validation. A function of its arguments only."""
    stream = Stream(seed, index)
    height, width = (stream.integer(config.image_low, config.image_high) for _ in range(2))
    canvas = _background(stream, height, width, config.hardness)
    count = 0 if stream.fraction() < EMPTY and config.objects > 1 else stream.integer(1, config.objects)
    objects: list[Object] = []
    for _ in range(count):
        placed = _placed(canvas, stream, config, _label(stream, classes), objects)
        objects += [placed] if placed else []
    return Scene(finished(noisy(canvas, stream, 10.0 + 30.0 * config.hardness)), tuple(objects))


def single(config: DataConfig, classes: int, size: int, seed: int, index: int) -> tuple[Image, int]:
    """A size x size picture that one object nearly fills, and its class: what the backbone is pre-trained on."""
    stream = Stream(seed, index)
    canvas = _background(stream, size, size, config.hardness)
    label = index % classes
    half = size * stream.between(0.2, 0.4) / 1.128  # of the disc: diameters of 0.4 to 0.8 of the picture
    frame = _frame(stream, (size, size), size * stream.between(0.4, 0.6), size * stream.between(0.4, 0.6), half)
    _paint(canvas, stream, frame, label)
    return finished(noisy(canvas, stream, 10.0 + 30.0 * config.hardness)), label


def _background(stream: Stream, height: int, width: int, hardness: float) -> Picture:
    """Clouds over a flat colour."""
    canvas = np.empty((3, height, width), np.float32)
    canvas[:] = np.array(stream.colour(40, 215), np.float32)[:, None, None]
    amount = np.full((height, width), min(1.0, 0.1 + 0.5 * hardness), np.float32)
    blend(canvas, clouds(stream, height, width, stream.integer(1, 3)), amount)
    return canvas


def _label(stream: Stream, classes: int) -> int:
    """A class, the later the rarer."""
    weights = [RARER**i for i in range(classes)]
    point = stream.fraction() * sum(weights)
    for label, weight in enumerate(weights):
        point -= weight
        if point < 0:
            return label
    return classes - 1


def _frame(stream: Stream, size: tuple[int, int], y: float, x: float, half: float) -> Frame:
    height, width = size
    return Frame.at(height, width, y=y, x=x, size=half, degrees=stream.integer(-TILT, TILT), reach=REACH)


def _paint(canvas: Picture, stream: Stream, frame: Frame, label: int) -> Field:
    """Draw a shape in a colour that stands off its surroundings; returns its coverage of the frame's window."""
    covered = frame.covered(KINDS[NAMES[label]](frame))
    under = canvas[:, frame.rows, frame.columns]
    mean = [float(under[channel, under.shape[1] // 2, under.shape[2] // 2]) for channel in range(3)]
    colour = stream.colour(0, 255)
    while sum(abs(a - b) for a, b in zip(colour, mean, strict=True)) < CONTRAST:
        colour = stream.colour(0, 255)
    frame.paint(canvas, colour, covered)
    return covered


def _placed(canvas: Picture, stream: Stream, config: DataConfig, label: int, others: list[Object]) -> Object | None:
    """Draw one object, or a group of three small ones, where there is room; None where there is not."""
    _, height, width = canvas.shape
    half = min(height, width) * stream.between(config.object_low, config.object_high) / 2.256
    group = stream.fraction() < GROUPS
    for _ in range(TRIES):
        y, x = (stream.between(1.3 * half, side - 1.3 * half) for side in (height, width))
        if not _taken(y, x, 1.3 * half, others):
            return _drawn(canvas, stream, (y, x, half), label, group=group)
    return None


def _taken(y: float, x: float, half: float, others: list[Object]) -> bool:
    """A box of this half side would cover too much of one of the others, or of itself."""
    for other in others:
        down = min(y + half, other.bottom) - max(y - half, other.top)
        across = min(x + half, other.right) - max(x - half, other.left)
        smaller = min(4 * half * half, (other.bottom - other.top) * (other.right - other.left))
        if max(0.0, down) * max(0.0, across) > FREE * smaller:
            return True
    return False


def _drawn(canvas: Picture, stream: Stream, place: tuple[float, float, float], label: int, *, group: bool) -> Object:
    y, x, half = place
    size = (canvas.shape[1], canvas.shape[2])
    if not group:
        frames = [_frame(stream, size, y, x, half)]
    else:
        spots = [(-0.55, -0.55), (-0.55, 0.55), (0.55, 0.0)]
        frames = [_frame(stream, size, y + a * half, x + b * half, half * 0.4) for a, b in spots]
    edges = [_edges(frame, _paint(canvas, stream, frame, label)) for frame in frames]
    left, top, right, bottom = zip(*edges, strict=True)
    return Object(label, min(left), min(top), max(right), max(bottom), group)


def _edges(frame: Frame, covered: Field) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the pixels that are at least half covered."""
    rows, columns = np.flatnonzero((covered >= 0.5).any(1)), np.flatnonzero((covered >= 0.5).any(0))
    return (frame.columns.start + int(columns[0]), frame.rows.start + int(rows[0]),
            frame.columns.start + int(columns[-1]) + 1, frame.rows.start + int(rows[-1]) + 1)


def image_name(seed: int, index: int) -> str:
    """Sixteen hexadecimal digits, as Open Images names its files."""
    return hashlib.blake2b(f"{seed} {index}".encode(), digest_size=8).hexdigest()


def machine_name(label: int) -> str:
    """A name of the kind of Open Images' knowledge graph."""
    return f"/m/0{label:04x}"


def write_published(config: RetinaNetConfig, target: Path, seed: int, threads: int = 2) -> str:
    """Write the data set in the published layout into the empty folder `target`; returns the hash of what was drawn."""
    classes, digest = config.model.classes, hashlib.blake2b(digest_size=16)
    (target / CLASSES).write_text("".join(f"{name}\n" for name in NAMES[:classes]))
    start = 0
    for folder, count in zip(PARTS.values(), (config.data.train_images, config.data.eval_images), strict=True):
        for made in _write_part(config, target / folder, seed, range(start, start + count), threads=threads):
            digest.update(f"{made.image.shape} {made.objects}\n".encode() + made.image.tobytes())
        start += count
    return digest.hexdigest()


def _write_part(config: RetinaNetConfig, folder: Path, seed: int, indices: range, *, threads: int) -> Iterator[Scene]:
    """Write one part, giving its scenes one by one."""
    for name in ("data", "labels", "metadata"):
        (folder / name).mkdir(parents=True)
    rows = [HEADING]
    for index, (made, data) in zip(indices, _all(config, seed, indices, threads), strict=True):
        name = image_name(seed, index)
        (folder / "data" / f"{name}.jpg").write_bytes(data)
        rows += [_row(name, made.image.shape, one) for one in made.objects]
        yield made
    (folder / DETECTIONS).write_text("".join(rows))
    (folder / IMAGE_IDS).write_text("ImageID\n" + "".join(f"{image_name(seed, index)}\n" for index in indices))
    (folder / MACHINE_NAMES).write_text("".join(f"{machine_name(i)},{name}\n" for i, name in enumerate(NAMES)))


def _row(name: str, shape: tuple[int, ...], one: Object) -> str:
    height, width = shape[:2]
    return (f"{name},xclick,{machine_name(one.label)},1,{one.left / width!r},{one.right / width!r},"
            f"{one.top / height!r},{one.bottom / height!r},0,0,{int(one.group)},0,0\n")


def _all(config: RetinaNetConfig, seed: int, indices: range, threads: int) -> Iterator[tuple[Scene, bytes]]:
    def make(index: int) -> tuple[Scene, bytes]:
        made = scene(config.data, config.model.classes, seed, index)
        return made, encode(made.image, QUALITY)

    with ThreadPoolExecutor(threads) as workers:
        yield from workers.map(make, indices)
