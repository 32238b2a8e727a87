"""What the network sees of a position, and the eight symmetries of the board.

Planes "agz" (17): own and other stones of the last 8 positions, then ones if Black is to play. Planes "mlperf07" (13):
own and other stones of the last 4 positions, the colour to play, chains of 1, 2, 3 or more liberties, points that
capture. A plane is (P,), positions come first: (B, planes, P).
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from laptime.suite.minigo.board import BLACK, EMPTY, Boards, Ints

Kind = Literal["agz", "mlperf07"]
Planes = NDArray[np.uint8]
HISTORY = {"agz": 8, "mlperf07": 4}
COUNT = {"agz": 17, "mlperf07": 13}
SYMMETRIES = 8


def planes(kind: Kind, boards: Boards, past: Sequence[NDArray[np.int8]]) -> Planes:
    """(B, planes, P) of `boards`; `past`: colours (P + 1, B) of the positions before them, the latest first, zeros
    before the beginning."""
    points, turn = boards.geometry.points, boards.turn
    seen = [boards.colour[:points], *(colour[:points] for colour in past)]
    result = np.zeros((COUNT[kind], points, len(boards)), np.uint8)
    for age, colour in enumerate(seen):
        np.equal(colour, turn, out=result[2 * age].view(bool))
        np.equal(colour, -turn, out=result[2 * age + 1].view(bool))
    result[2 * len(seen)] = turn == BLACK
    if kind == "mlperf07":
        free = boards.liberties_at()
        for count in (1, 2):
            result[8 + count] = free == count
        result[11] = free >= 3
        result[12] = captures(boards, free)
    return np.ascontiguousarray(result.transpose(2, 0, 1))


def captures(boards: Boards, free: NDArray[np.int16]) -> NDArray[np.bool_]:
    """(P, B): empty points beside a chain of the other side that has one liberty."""
    points = boards.geometry.points
    taken = np.zeros((points + 1, len(boards)), bool)
    taken[:points] = (boards.colour[:points] == -boards.turn) & (free == 1)
    found = np.zeros((points, len(boards)), bool)
    for side in range(4):
        found |= taken[boards.geometry.neighbours[:points, side]]
    return found & (boards.colour[:points] == EMPTY)


@lru_cache
def symmetries(size: int) -> Ints:
    """(8, P): where each point of a turned or mirrored board comes from; the first changes nothing."""
    grid = np.arange(size * size).reshape(size, size)
    turned = [np.rot90(one, quarter) for one in (grid, grid.T) for quarter in range(4)]
    return np.stack([one.ravel() for one in turned]).astype(np.intp)


@lru_cache
def inverses(size: int) -> Ints:
    """(8, P): the way back."""
    return np.argsort(symmetries(size), axis=1)


def turned_planes(size: int, values: Planes, which: Ints) -> Planes:
    """Planes (B, C, P), each sample under its symmetry `which` (B,)."""
    return np.take_along_axis(values, symmetries(size)[which][:, None, :], axis=2)


def turned_moves(size: int, values: NDArray[np.float32], which: Ints, *, back: bool = False) -> NDArray[np.float32]:
    """Numbers of moves (B, P + 1), each sample under its symmetry, or (`back`) its inverse; a pass stays a pass."""
    order = (inverses if back else symmetries)(size)[which]
    return np.concatenate([np.take_along_axis(values[:, :-1], order, axis=1), values[:, -1:]], axis=1)
