"""Which points are settled for good: chains that cannot be captured even if their side always passes (Benson 1976).

Of many positions at once. A region is a connected set of points without stones of one colour. It is vital to a chain if
all its empty points are liberties of the chain; a chain with two vital regions whose other chains live too, lives.
"""

import numpy as np
from numpy.typing import NDArray

from laptime.suite.minigo.board import BLACK, EMPTY, WHITE, Boards, Bools, Geometry, Ints


def settled(boards: Boards) -> tuple[Bools, Bools]:
    """(P, B) twice: points that belong to Black, and to White, whatever is played."""
    games = len(boards)
    twice = boards.take(np.tile(np.arange(games), 2))  # both colours at once
    colours = np.repeat(np.array([BLACK, WHITE], np.int8), games)
    found = _of(twice, twice.colour[:-1] == colours)
    return found[:, :games], found[:, games:]


def all_settled(boards: Boards) -> Bools:
    """(B,): every point of the board is settled."""
    points = boards.geometry.points
    stones = boards.colour[:points] != EMPTY
    result: Bools = (stones | _beside(boards, stones)).all(axis=0)  # a point far from all stones is not
    close = np.flatnonzero(result)
    if len(close):
        black, white = settled(boards.take(close))
        result[close] = (black | white).all(axis=0)
    return result


def _of(boards: Boards, mine: Bools) -> Bools:
    """(P, B): points that belong for good to the side whose stones are `mine` (P, B)."""
    points, games = boards.geometry.points, len(boards)
    chains = np.where(mine, boards.chain[:points], points).T.astype(np.intp)  # (B, P) from here on
    regions = np.where(mine, points, connected(boards.geometry, ~mine)).T.astype(np.intp)
    empty = (boards.colour[:points] == EMPTY).T
    free, touches = _relations(boards, chains, regions, empty)
    holes = _counted(regions, empty, points)
    vital = (free == holes[:, :, None]) & (holes > 0)[:, :, None]
    living = _counted(chains, np.ones_like(empty), points) > 0
    whole = _counted(regions, np.ones_like(empty), points) > 0
    while True:
        kept = living & ((vital & whole[:, :, None]).sum(axis=1) >= 2)
        sound = whole & ~(touches & ~kept[:, None, :]).any(axis=2)
        if np.array_equal(kept, living) and np.array_equal(sound, whole):
            break
        living, whole = kept, sound
    small = _counted(regions, empty & _beside(boards, mine).T, points) == holes
    rows = np.arange(games)[:, None]
    kept, closed = _bordered(living, False), _bordered(whole & small & touches.any(axis=2), False)
    return (kept[rows, chains] | closed[rows, regions]).T


def _bordered(values: NDArray, beyond: int) -> NDArray:
    """(B, P) -> (B, P + 1): with a value for the point beyond the edge."""
    result = np.full((len(values), values.shape[1] + 1), beyond, values.dtype)
    result[:, :-1] = values
    return result


def connected(board: Geometry, members: Bools) -> Ints:
    """(P, B): the smallest point of the connected set of `members` (P, B) around each; P for others."""
    points = board.points
    names = np.full((points + 1, members.shape[1]), points, np.intp)
    names[:points] = np.where(members, np.arange(points)[:, None], points)
    while True:
        least = names[:points].copy()
        for side in range(4):
            np.minimum(least, names[board.neighbours[:points, side]], out=least)
        least = np.where(members, least, points)
        names_next = np.concatenate([least, names[points:]])
        names_next = np.take_along_axis(names_next, names_next, axis=0)
        if np.array_equal(names_next, names):
            return names[:points]
        names = names_next


def _relations(boards: Boards, chains: Ints, regions: Ints, empty: Bools) -> tuple[Ints, Bools]:
    """(B, P, P) by region and chain: empty points of the region beside the chain; whether they touch at all."""
    points, games = boards.geometry.points, len(boards)
    beside = _bordered(chains, points).take(boards.geometry.neighbours[:points], axis=1)
    beside.sort(axis=2)
    beside[:, :, 1:][beside[:, :, 1:] == beside[:, :, :-1]] = points  # each chain once per point
    valid = (beside < points) & (regions < points)[:, :, None]
    where = (np.arange(games)[:, None, None] * points + regions[:, :, None]) * points + beside
    size = games * points * points
    touching = np.bincount(where[valid], minlength=size).reshape(games, points, points)
    free = np.bincount(where[valid & empty[:, :, None]], minlength=size).reshape(games, points, points)
    return free, touching > 0


def _counted(names: Ints, which: Bools, points: int) -> Ints:
    """(B, P): how many of the points `which` carry each name."""
    games = len(names)
    where = np.arange(games)[:, None] * points + names
    return np.bincount(where[which & (names < points)], minlength=games * points).reshape(games, points)


def _beside(boards: Boards, mine: Bools) -> Bools:
    stones = _bordered(mine.T, False).T
    found = np.zeros_like(mine)
    for side in range(4):
        found |= stones[boards.geometry.neighbours[:-1, side]]
    return found
