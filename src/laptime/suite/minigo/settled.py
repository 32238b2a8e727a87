"""Which points are settled for good: chains that cannot be captured even if their side always passes (Benson 1976).

Of many positions at once. A region is a connected set of points without stones of one colour. It is vital to a chain if
all its empty points are liberties of the chain; a chain with two vital regions whose other chains live too, lives.
"""

import numpy as np

from laptime.suite.minigo.board import BLACK, EMPTY, WHITE, Boards, Bools, Geometry, Ints


def settled(boards: Boards) -> tuple[Bools, Bools]:
    """(P, B) twice: points that belong to Black, and to White, whatever is played."""
    return _of(boards, BLACK), _of(boards, WHITE)


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


def _of(boards: Boards, colour: int) -> Bools:
    points, games = boards.geometry.points, len(boards)
    mine = boards.colour[:points] == colour
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
    padded = [np.pad(one, ((0, 0), (0, 1))) for one in (living, whole & small & touches.any(axis=2))]
    return (padded[0][rows, chains] | padded[1][rows, regions]).T


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
    beside = np.pad(chains, ((0, 0), (0, 1)), constant_values=points)[:, boards.geometry.neighbours[:points]]
    beside = np.sort(beside, axis=2)
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
    stones = np.pad(mine, ((0, 1), (0, 0)))
    found = np.zeros_like(mine)
    for side in range(4):
        found |= stones[boards.geometry.neighbours[:-1, side]]
    return found
