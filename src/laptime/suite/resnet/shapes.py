"""The generated data set of the mini round: ten classes that neither colour nor edge orientation alone can tell apart.

Class = shape (five) x direction of the stripes on its surface (two, at right angles, both kept by a mirror image). All
shapes have the same area; colours of stripes and background come from one distribution whatever the class; background
stripes, bars across the picture, position, scale, rotation, blur and noise are nuisance, which `hardness` scales.
Written in the published layout, as coloured JPEGs of varied size, then reformatted as real data is.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from laptime.suite.resnet.config import DataConfig, ResNetConfig
from laptime.suite.resnet.published import GROUND_TRUTH, SYNSETS, validation_name
from laptime.training.data.jpeg import Image, encode
from laptime.training.data.synth.draw import (
    SHAPES,
    Colour,
    Frame,
    Picture,
    Stream,
    bar,
    blend,
    blurred,
    clouds,
    finished,
    flat,
    noisy,
    slope,
    stripes,
)

GENERATOR = "resnet-shapes 1"
CLASSES = [f"{shape}-{surface}" for shape in SHAPES for surface in ("across", "along")]
QUALITY = 90
WIDEST = 1.6  # half extent of the shapes against the square's half side, roughly
REACH = 1.9  # furthest point of any shape from its centre, in half sides of the square, and a margin
PERIODS = (0.5, 0.75)  # stripe period against the object's half side


@dataclass(frozen=True)
class Framing:
    """How a photographer stands to the object. `scales`: nominal diameter against the picture's shorter side; `middle`:
    where its centre may lie, as shares of height and width; `tilts`: degrees."""

    scales: tuple[float, float]
    middle: tuple[float, float]
    tilts: tuple[int, int]


# Training pictures show the whole object upright or tilted one way; validation pictures are taken from nearer, off the
# middle and tilted the other way: only who trains on crops and mirror images has seen such views.
TRAINING = Framing(scales=(0.8, 1.2), middle=(0.45, 0.55), tilts=(0, 25))
VALIDATION = Framing(scales=(1.0, 1.5), middle=(0.35, 0.65), tilts=(-25, 0))


@dataclass(frozen=True)
class Drawn:
    """One generated picture; `label` is what the data set says, `truth` what was drawn."""

    image: Image
    label: int
    truth: int


def synset(label: int) -> str:
    """A class name of the published kind."""
    return f"n{label + 1:08d}"


def drawn(config: DataConfig, classes: int, seed: int, index: int) -> Drawn:
    """Picture `index` of the data set: training pictures first, then validation. A function of its arguments only."""
    stream = Stream(seed, index)
    truth = index % classes
    wrong = stream.fraction() < config.label_noise, stream.integer(1, classes - 1)
    label = (truth + wrong[1]) % classes if wrong[0] and index < config.train_images else truth
    framing = TRAINING if index < config.train_images else VALIDATION
    return Drawn(_picture(config, truth, stream, framing), label, truth)


def _picture(config: DataConfig, truth: int, stream: Stream, framing: Framing) -> Image:
    height, width = (stream.integer(config.image_low, config.image_high) for _ in range(2))
    canvas = _background(stream, height, width, config.hardness)
    _object(canvas, truth, stream, framing, hardness=config.hardness)
    _clutter(canvas, stream, config.hardness)
    canvas = blurred(canvas, stream.integer(0, 1) if config.hardness > 0 else 0)
    return finished(noisy(canvas, stream, stream.between(10.0, 60.0) * config.hardness))


def _background(stream: Stream, height: int, width: int, hardness: float) -> Picture:
    """Clouds under stripes of any direction."""
    canvas = clouds(stream, height, width, stream.integer(1, 4))
    lines = stripes(slope(height, width, stream.integer(0, 359)), stream.between(4.0, 16.0), stream.fraction())
    lines *= min(1.0, stream.between(0.0, 0.6) * hardness)
    blend(canvas, stream.colour(0, 255), lines)
    return canvas


def _object(canvas: Picture, truth: int, stream: Stream, framing: Framing, *, hardness: float) -> None:
    """The shape of the class with its stripes."""
    _, height, width = canvas.shape
    half = stream.between(*framing.scales) * min(height, width) / (2.0 * WIDEST)
    y, x = height * stream.between(*framing.middle), width * stream.between(*framing.middle)
    frame = Frame.at(height, width, y=y, x=x, size=half, degrees=stream.integer(*framing.tilts), reach=REACH)
    shape = list(SHAPES.values())[truth // 2]
    along = frame.v if truth % 2 else frame.u
    lines = stripes(along * half, half * stream.between(*PERIODS), stream.fraction())
    dark, light = _contrasting(stream, hardness)
    surface = flat(dark) + (flat(light) - flat(dark)) * lines
    frame.paint(canvas, surface, frame.covered(shape(frame)))


def _contrasting(stream: Stream, hardness: float) -> tuple[Colour, Colour]:
    """Two colours of any hue, one lighter than the other; the harder, the less."""
    one = stream.colour(0, 255)
    shift = stream.between(110.0, 220.0) / (1.0 + hardness)
    if sum(one) > 3 * 127.5:
        shift = -shift
    r, g, b = (min(255.0, max(0.0, part + shift + stream.between(-30.0, 30.0))) for part in one)
    return one, (r, g, b)


def _clutter(canvas: Picture, stream: Stream, hardness: float) -> None:
    """Thin bars of any colour and direction across the picture."""
    _, height, width = canvas.shape
    for _ in range(stream.integer(1, 3)):
        frame = Frame.at(height, width, y=height * stream.fraction(), x=width * stream.fraction(),
                         size=min(height, width) * stream.between(0.1, 0.4), degrees=stream.integer(0, 359), reach=1.1)
        amount = frame.covered(bar(frame, 1.0, 0.12))
        amount *= min(1.0, 0.8 * hardness)
        frame.paint(canvas, stream.colour(0, 255), amount)


def write_published(config: ResNetConfig, target: Path, seed: int, threads: int = 2) -> str:
    """Write the data set in the published layout into the empty folder `target`; returns the hash of what was drawn."""
    classes = config.model.classes
    _folders(target, classes)
    digest, truths = hashlib.blake2b(digest_size=16), []
    for index, made in enumerate(_all(config.data, classes, seed, threads)):
        image, label, data = made
        digest.update(f"{image.shape} {label}\n".encode() + image.tobytes())
        name = _name(config.data, index, label)
        (target / name).write_bytes(data)
        if index >= config.data.train_images:
            truths.append(label + 1)
    (target / GROUND_TRUTH).write_text("".join(f"{truth}\n" for truth in truths))
    return digest.hexdigest()


def _folders(target: Path, classes: int) -> None:
    (target / "val").mkdir(parents=True)
    for label in range(classes):
        (target / "train" / synset(label)).mkdir(parents=True)
    (target / SYNSETS).write_text("".join(f"{synset(label)}\n" for label in range(classes)))


def _name(config: DataConfig, index: int, label: int) -> str:
    if index < config.train_images:
        return f"train/{synset(label)}/{synset(label)}_{index}.JPEG"
    return f"val/{validation_name(index - config.train_images + 1)}"


def _all(config: DataConfig, classes: int, seed: int, threads: int) -> Iterator[tuple[Image, int, bytes]]:
    def make(index: int) -> tuple[Image, int, bytes]:
        made = drawn(config, classes, seed, index)
        return made.image, made.label, encode(made.image, QUALITY)

    with ThreadPoolExecutor(threads) as workers:
        yield from workers.map(make, range(config.train_images + config.eval_images))
