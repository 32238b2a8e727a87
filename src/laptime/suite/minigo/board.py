"""Go positions of many games at once: legality, captures, ko, scores, in numpy without a loop over games.

Rules: area scoring, suicide forbidden, positional superko or simple ko (Tromp & Taylor; fact of the reference). Arrays
have points first and games last, so that a neighbour is a row: shape (P + 1, B), where row P is beyond the edge and all
moves P are passes. A chain is named by one of its stones.
"""

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

EMPTY, BLACK, WHITE, EDGE = 0, 1, -1, 3
Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]
Hashes = NDArray[np.uint64]
SEED = 361  # of the numbers that positions are hashed with: any


@dataclass(frozen=True)
class Geometry:
    """A board of `size` x `size`. `neighbours`: (P + 1, 4) points, P where there is none; `keys`: (3, P + 1) random
    numbers by colour (index -1: white) and point, whose sum names a position."""

    size: int
    neighbours: Ints
    keys: Hashes

    @property
    def points(self) -> int:
        return self.size * self.size


@lru_cache
def geometry(size: int) -> Geometry:
    points = size * size
    neighbours = np.full((points + 1, 4), points, np.intp)
    for point in range(points):
        row, column = divmod(point, size)
        for side, (down, right) in enumerate(((-1, 0), (1, 0), (0, -1), (0, 1))):
            if 0 <= row + down < size and 0 <= column + right < size:
                neighbours[point, side] = (row + down) * size + column + right
    keys = np.random.Generator(np.random.PCG64(SEED)).integers(0, 2**64, (3, points + 1), np.uint64)
    keys[EMPTY] = keys[:, points] = 0
    return Geometry(size, neighbours, keys)


@dataclass
class Boards:
    """B positions. `colour` (P + 1, B) int8; `chain` (P + 1, B) int16: the name of the chain at a point, P for none;
    by name of chain: `liberties` (P + 1, B) int16 and `hashes` (P + 1, B), the sum of the keys of its stones; `whole`
    (B,): the sum of all stones' keys; `ko` (B,): the point of a simple ko, P for none; `turn` (B,) int8."""

    geometry: Geometry
    colour: NDArray[np.int8]
    chain: NDArray[np.int16]
    liberties: NDArray[np.int16]
    hashes: Hashes
    whole: Hashes
    ko: NDArray[np.int16]
    turn: NDArray[np.int8]

    @classmethod
    def empty(cls, size: int, games: int) -> "Boards":
        board = geometry(size)
        rows = (board.points + 1, games)
        colour = np.zeros(rows, np.int8)
        colour[board.points] = EDGE
        return cls(board, colour, np.full(rows, board.points, np.int16), np.zeros(rows, np.int16),
                   np.zeros(rows, np.uint64), np.zeros(games, np.uint64), np.full(games, board.points, np.int16),
                   np.full(games, BLACK, np.int8))

    def __len__(self) -> int:
        return len(self.turn)

    def take(self, games: Ints) -> "Boards":
        """A copy of some positions, in the order given."""
        parts = (getattr(self, f.name) for f in fields(self)[1:])
        return Boards(self.geometry, *(np.ascontiguousarray(part[..., games]) for part in parts))

    def play(self, moves: Ints) -> None:
        """Make one legal move (P: pass) in every game, in place."""
        columns, points, turn = np.arange(len(self)), self.geometry.points, self.turn
        captured, taken, lone, hashed = self._join(moves, columns)
        self.colour[moves, columns] = turn
        self.colour[points] = EDGE
        self.chain[moves, columns] = moves
        self.chain[points] = points
        self.colour[captured] = EMPTY
        self.chain[captured] = points
        self.hashes[moves, columns] = hashed
        self.whole += self.geometry.keys[turn, moves] - taken
        only = captured.argmax(axis=0)
        self.ko[:] = np.where(lone & (captured.sum(axis=0) == 1), only, points)
        self.turn = -turn
        self._count_liberties(columns)

    def _join(self, moves: Ints, columns: Ints) -> tuple[Bools, Hashes, Bools, Hashes]:
        """Chains become one around each new stone. Returns which points are captured, the sum of their keys, whether
        the point was surrounded by the other colour, and the sum of the new chain's keys."""
        board, turn = self.geometry, self.turn
        captured = np.zeros(self.colour.shape, bool)
        taken, hashed = np.zeros(len(self), np.uint64), board.keys[turn, moves].copy()
        lone = moves < board.points
        for side in range(4):
            beside = board.neighbours[moves, side]
            colour, name = self.colour[beside, columns], self.chain[beside, columns]
            mine = (colour == turn) & (name != moves)
            lost = (colour == -turn) & (self.liberties[name, columns] == 1) & ~captured[beside, columns]
            hashed += np.where(mine, self.hashes[name, columns], 0)
            taken += np.where(lost, self.hashes[name, columns], 0)
            lone &= (colour == -turn) | (colour == EDGE)
            chain = self.chain == name
            captured |= chain & lost
            np.copyto(self.chain, moves.astype(np.int16), where=chain & mine)
        return captured, taken, lone, hashed

    def _count_liberties(self, columns: Ints) -> None:
        """Every empty point counts once for each chain beside it."""
        points, games = self.geometry.points, len(self)
        empty = self.colour[:points] == EMPTY
        names = [self.chain[self.geometry.neighbours[:points, side]] for side in range(4)]
        places = np.empty((4, points, games), np.intp)
        for side, name in enumerate(names):
            counts = empty.copy()
            for before in names[:side]:
                counts &= name != before
            np.multiply(np.where(counts, name, points), games, out=places[side], dtype=np.intp)
        places += columns
        counted = np.bincount(places.ravel(), minlength=(points + 1) * games)
        self.liberties[:] = counted.reshape(points + 1, games)
        self.liberties[points] = 0

    def _by_chain(self, *values: NDArray) -> list[NDArray]:
        """(P + 1, B) each: `values` (P + 1, B), indexed by name of chain, at every point."""
        places = np.multiply(self.chain, len(self), dtype=np.intp)
        places += np.arange(len(self))
        return [value.ravel().take(places) for value in values]

    def legal(self, *, simple_ko: bool = False) -> Bools:
        """(P, B): where a stone may be put, superko aside."""
        points, turn = self.geometry.points, self.turn
        (room,) = self._by_chain(self.liberties)
        alive = np.zeros((points, len(self)), bool)
        for side in range(4):
            beside = self.geometry.neighbours[:points, side]
            colour, free = self.colour[beside], room[beside]
            alive |= (colour == EMPTY) | ((colour == turn) & (free > 1)) | ((colour == -turn) & (free == 1))
        alive &= self.colour[:points] == EMPTY
        if simple_ko:
            games = np.flatnonzero(self.ko < points)
            alive[self.ko[games], games] = False
        return alive

    def after(self) -> Hashes:
        """(P, B): the hash of the position after a stone of the side to move at a point, where that is legal."""
        points, turn = self.geometry.points, self.turn
        room, sums = self._by_chain(self.liberties, self.hashes)
        sums = np.where((self.colour == -turn) & (room == 1), sums, 0)  # what a chain takes along when captured
        result = self.whole + self.geometry.keys[turn][:, :points].T
        seen: list[NDArray[np.int16]] = []
        for side in range(4):
            beside = self.geometry.neighbours[:points, side]
            name, taken = self.chain[beside], sums[beside]
            for before in seen:
                taken = np.where(name == before, 0, taken)
            result -= taken
            seen.append(name)
        return result

    def liberties_at(self) -> NDArray[np.int16]:
        """(P, B): liberties of the chain at each point, 0 where there is none."""
        (room,) = self._by_chain(self.liberties)
        return room[:-1]

    def black_lead(self) -> NDArray[np.float64]:
        """(B,): area of Black minus area of White, komi aside: stones and empty regions that reach one colour only."""
        return area(self.geometry, self.colour)


def area(board: Geometry, colour: NDArray[np.int8]) -> NDArray[np.float64]:
    """Black's area minus White's of positions (P + 1, B)."""
    black, white = _reach(board, colour, BLACK), _reach(board, colour, WHITE)
    return (black & ~white).sum(axis=0).astype(np.float64) - (white & ~black).sum(axis=0)


def _reach(board: Geometry, colour: NDArray[np.int8], of: int) -> Bools:
    """Stones of a colour and the empty points that empty points connect with them."""
    empty, reached = colour[:-1] == EMPTY, colour == of
    while True:
        beside = reached[board.neighbours[:-1, 0]]
        for side in range(1, 4):
            beside |= reached[board.neighbours[:-1, side]]
        grown = reached[:-1] | (beside & empty)
        if np.array_equal(grown, reached[:-1]):
            return grown
        reached[:-1] = grown
