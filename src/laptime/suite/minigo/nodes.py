"""The nodes of many search trees as arrays: one row per node, so many rows per slot, compacted or grown when full."""

import numpy as np
from numpy.typing import NDArray

from laptime.suite.minigo.board import Boards, Bools, Geometry, Hashes, Ints

Floats = NDArray[np.float64]
STATE = ("colour", "chain", "liberties", "hashes", "whole", "ko")  # of a position, as in `Boards`


class Nodes:
    """Rows of nodes in slots. Node 0 of each slot is the empty board before the beginning.

    By row: the position (as in `Boards`), `parent` (a node of the slot), `via` (the move that led here), `turn`,
    `number` of moves before, `passes` at the end, `over`, `expanded`, `made` (its position is known), `total` visits;
    by row and move: `visits`, `sums` of values, `prior`, `child` (a node, -1 for none), `legal`.
    """

    colour: NDArray[np.int8]
    chain: NDArray[np.int16]
    liberties: NDArray[np.int16]
    hashes: Hashes
    whole: Hashes
    ko: NDArray[np.int16]
    parent: Ints
    via: NDArray[np.int16]
    turn: NDArray[np.int8]
    number: NDArray[np.int32]
    passes: NDArray[np.int8]
    over: Bools
    expanded: Bools
    made: Bools
    total: Floats
    visits: Floats
    sums: Floats
    prior: Floats
    child: Ints
    legal: Bools

    def __init__(self, board: Geometry, slots: int, history: int) -> None:
        self.geometry, self.slots, self.history, self.capacity = board, slots, history, 0
        self.points, self.moves = board.points, board.points + 1
        self.root, self.used = np.zeros(slots, np.intp), np.zeros(slots, np.intp)

    def rows(self, slots: Ints) -> Ints:
        """The rows of the roots."""
        return slots * self.capacity + self.root[slots]

    def _parents(self, rows: Ints) -> Ints:
        return rows - rows % self.capacity + self.parent[rows]

    def _load(self, rows: Ints) -> Boards:
        colour, chain, liberties, hashes, whole, ko = (
            np.ascontiguousarray(getattr(self, name).take(rows, axis=0).T) for name in STATE)
        return Boards(self.geometry, colour, chain, liberties, hashes, whole, ko, self.turn[rows].copy())

    def _store(self, rows: Ints, boards: Boards) -> None:
        for name in STATE:
            getattr(self, name)[rows] = getattr(boards, name).T
        self.made[rows] = True

    def _blank(self, rows: Ints) -> None:
        self.expanded[rows], self.made[rows], self.total[rows], self.child[rows] = False, False, 0.0, -1

    def _reserve(self, slots: Ints, more: int) -> None:
        """Make room for `more` nodes in each slot: drop what the roots have left behind, or else grow."""
        for slot in slots[self.used[slots] + more > self.capacity].tolist():
            self._compact(slot)
        if (self.used[slots] + more > self.capacity).any():
            self._resize(2 * self.capacity)

    def _compact(self, slot: int) -> None:
        """Keep the subtree of the root and the positions that the network sees before it."""
        base, used = slot * self.capacity, int(self.used[slot])
        parent = self.parent[base:base + used]
        keep = np.zeros(used, bool)
        keep[0] = True
        at = int(self.root[slot])
        for node in range(at, used):
            keep[node] = node == at or (keep[parent[node]] and parent[node] >= at)
        for _ in range(self.history - 1):
            at = int(parent[at])
            keep[at] = True
        old = np.flatnonzero(keep)
        renamed = np.full(used + 1, -1, np.intp)
        renamed[old] = np.arange(len(old))
        renamed[used] = -1
        target = base + np.arange(len(old))
        for name in self._arrays():
            array = getattr(self, name)
            array[target] = array[base + old]
        self.parent[target] = np.maximum(renamed[self.parent[target]], 0)
        self.child[target] = renamed[self.child[target]]
        self.root[slot], self.used[slot] = renamed[self.root[slot]], len(old)

    def _arrays(self) -> tuple[str, ...]:
        return (*STATE, "parent", "via", "turn", "number", "passes", "over", "expanded", "made", "total",
                "visits", "sums", "prior", "child", "legal")

    def _resize(self, capacity: int) -> None:
        """Rows for `capacity` nodes per slot; node 0 of each is the empty board before the beginning."""
        points, moves, before = self.points + 1, self.moves, self.capacity
        shapes: dict[str, tuple[type, tuple[int, ...]]] = {
            "colour": (np.int8, (points,)), "chain": (np.int16, (points,)), "liberties": (np.int16, (points,)),
            "hashes": (np.uint64, (points,)), "whole": (np.uint64, ()), "ko": (np.int16, ()), "parent": (np.intp, ()),
            "via": (np.int16, ()), "turn": (np.int8, ()), "number": (np.int32, ()), "passes": (np.int8, ()),
            "over": (bool, ()), "expanded": (bool, ()), "made": (bool, ()), "total": (np.float64, ()),
            "visits": (np.float64, (moves,)), "sums": (np.float64, (moves,)), "prior": (np.float64, (moves,)),
            "child": (np.intp, (moves,)), "legal": (bool, (moves,))}
        for name, (kind, shape) in shapes.items():
            array: NDArray[np.generic] = np.zeros((self.slots, capacity, *shape), kind)
            if before:
                array[:, :before] = getattr(self, name).reshape(self.slots, before, *shape)
            setattr(self, name, array.reshape(self.slots * capacity, *shape))
        self.capacity = capacity
