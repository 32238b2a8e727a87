"""Captioned pictures for generated data: one or two coloured shapes on a grey ground, and a sentence that says so.

A picture is a function of (seed, number) alone and equal on every machine (`synth/draw.py`). The words of the captions
and the byte-pair merges learnt from them are equal everywhere too.
"""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from laptime.training.data.synth import draw

GENERATOR = "pictures 1"
COLOURS: dict[str, draw.Colour] = {
    "red": (215.0, 40.0, 40.0), "green": (40.0, 180.0, 60.0), "blue": (45.0, 70.0, 220.0),
    "yellow": (230.0, 215.0, 40.0), "purple": (160.0, 50.0, 190.0), "white": (245.0, 245.0, 245.0)}
SHAPES = {"circle": draw.disc, "square": draw.square, "triangle": draw.triangle, "cross": draw.cross}
RELATIONS = ("left of", "right of", "above", "below")
ALONE = 0.3  # share of pictures with a single shape
NONE = "none"  # label of what is not there

Image = NDArray[np.uint8]  # (H, W, 3)


@dataclass(frozen=True)
class Thing:
    """A shape in a picture; centre and half size as shares of the side."""

    colour: str
    shape: str
    y: float
    x: float
    size: float


@dataclass(frozen=True)
class Scene:
    """What a picture shows: one thing, or two with the relation of the first to the second."""

    things: tuple[Thing, ...]
    relation: str = ""

    @property
    def caption(self) -> str:
        names = [f"a {thing.colour} {thing.shape}" for thing in self.things]
        return f" {self.relation} ".join(names)

    def labels(self) -> tuple[int, ...]:
        """(shape, colour, other shape, other colour, direction) as numbers.

        Two things are in the order left to right or top to bottom: the picture does not tell which is named first.
        """
        things = self.things[::-1] if self.relation in ("right of", "below") else self.things
        shapes, colours = [*SHAPES, NONE], [*COLOURS, NONE]
        other = (shapes.index(things[1].shape), colours.index(things[1].colour)) if len(things) > 1 else (
            len(SHAPES), len(COLOURS))
        direction = 0 if not self.relation else 1 if self.relation in RELATIONS[:2] else 2
        return (shapes.index(things[0].shape), colours.index(things[0].colour), *other, direction)


LABEL_COUNTS = (len(SHAPES), len(COLOURS), len(SHAPES) + 1, len(COLOURS) + 1, 3)


def scene(stream: draw.Stream) -> Scene:
    """A scene drawn from `stream`."""
    if stream.fraction() < ALONE:
        return Scene((_thing(stream, stream.between(0.35, 0.65), stream.between(0.35, 0.65)),))
    relation = RELATIONS[stream.integer(0, len(RELATIONS) - 1)]
    near, far, free = stream.between(0.22, 0.3), stream.between(0.7, 0.78), stream.between(0.4, 0.6)
    first, second = (far, near) if relation in ("right of", "below") else (near, far)
    across = relation in RELATIONS[:2]
    return Scene(tuple(_thing(stream, *((free, place) if across else (place, free))) for place in (first, second)),
                 relation)


def _thing(stream: draw.Stream, y: float, x: float) -> Thing:
    colours, shapes = list(COLOURS), list(SHAPES)
    return Thing(colours[stream.integer(0, len(colours) - 1)], shapes[stream.integer(0, len(shapes) - 1)], y, x,
                 stream.between(0.14, 0.2))


def picture(side: int, seed: int, number: int) -> tuple[Image, Scene]:
    """Picture `number` of a seed, (side, side, 3)."""
    stream = draw.Stream(seed, number)
    made = scene(stream)
    ground, degrees, reach = stream.between(60, 130), stream.integer(0, 359), stream.between(0, 40)
    shade = draw.slope(side, side, degrees) * np.float32(reach / side)
    canvas = np.repeat((shade + np.float32(ground))[None], 3, axis=0)
    for thing in made.things:
        frame = draw.Frame.at(side, side, y=thing.y * side, x=thing.x * side, size=thing.size * side, degrees=0,
                              reach=1.6)
        frame.paint(canvas, COLOURS[thing.colour], frame.covered(SHAPES[thing.shape](frame)))
    return draw.finished(draw.noisy(canvas, stream, 8.0)), made


def words() -> list[str]:
    """Every word of the captions."""
    return sorted({"a", *COLOURS, *SHAPES, *(word for relation in RELATIONS for word in relation.split())})


def learnt_merges() -> list[tuple[str, str]]:
    """Byte-pair merges that make each word one piece, the most frequent pair first (ties: alphabetical)."""
    split = [[*word[:-1], word[-1] + "</w>"] for word in words()]
    merges: list[tuple[str, str]] = []
    while counts := Counter(pair for pieces in split for pair in pairwise(pieces)):
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        split = [_merged(pieces, best) for pieces in split]
    return merges


def _merged(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    made: list[str] = []
    for piece in pieces:
        if made and (made[-1], piece) == pair:
            made[-1] += piece
        else:
            made.append(piece)
    return made
