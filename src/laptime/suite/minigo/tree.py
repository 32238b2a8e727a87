"""Search trees of many games, searched in lock-step: arrays indexed by game, node and move instead of objects.

PUCT after Silver et al. 2017, with the constants and details of the reference (v0.5: fixed constant, visits counted at
selection; later: growing constant, visits counted at backup). Values are Black's. A row is one node of one slot.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from laptime.suite.minigo.board import BLACK, Boards, Bools, Hashes, Ints, geometry
from laptime.suite.minigo.config import GameConfig, SearchConfig
from laptime.suite.minigo.features import HISTORY, Kind, Planes, planes
from laptime.suite.minigo.nodes import STATE, Floats, Nodes

Judge = Callable[[Planes, Hashes, Ints], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""(planes (B, C, P), hashes of the positions, slots) -> (probabilities (B, P + 1), values for Black (B,))."""

BARRED = -1000.0  # value of a move that is not allowed (reference)
BASE = 19652.0  # growth of the exploration constant (reference; Silver et al. 2018)
BUCKETS = 4096  # of the filter of earlier positions


@dataclass
class Path:
    """Descents from roots: leaf rows, and the edges on the way with the index of the leaf each belongs to."""

    leaves: Ints
    edges: Ints
    owners: Ints


class Forest(Nodes):
    """One tree per slot. A slot holds one game; `reset` begins it, `advance` plays it."""

    def __init__(self, game: GameConfig, search: SearchConfig, kind: Kind, slots: int) -> None:
        super().__init__(geometry(game.size), slots, HISTORY[kind])
        self.game, self.search, self.kind = game, search, kind
        self.root_sum = np.zeros(slots)
        self.filter = np.zeros((slots, BUCKETS), bool)
        self.record: list[list[int]] = [[] for _ in range(slots)]  # hashes of all positions of the game
        self._resize(HISTORY[kind] + 2 * search.leaves + 2 * search.readouts + 2)

    # --- games ---

    def reset(self, slots: Ints) -> None:
        """Begin a game on the empty board in each of `slots`."""
        board = Boards.empty(self.game.size, len(slots))
        rows = slots * self.capacity + 1
        self.used[slots], self.root[slots], self.root_sum[slots] = 2, 1, 0.0
        self._blank(rows)
        self.parent[rows], self.number[rows], self.passes[rows], self.via[rows] = 0, 0, 0, -1
        self.turn[rows], self.over[rows] = BLACK, False
        self._store(rows, board)
        self.filter[slots] = False
        self.filter[slots, 0] = True
        for slot in slots.tolist():
            self.record[slot] = [0]

    def advance(self, slots: Ints, moves: Ints) -> None:
        """Play one move in each slot; the subtree below it is kept."""
        self._reserve(slots, 1)
        rows = self.rows(slots)
        edges = rows * self.moves + moves
        child = self.child.ravel()[edges]
        self.root_sum[slots] = np.where(self.expanded[rows], self.sums.ravel()[edges], 0.0)
        fresh = np.flatnonzero(child < 0)
        child[fresh] = self._add(rows[fresh], moves[fresh])
        self.root[slots] = child
        rows = self.rows(slots)
        self._make(rows[~self.made[rows]])
        whole = self.whole[rows]
        self.filter[slots, (whole % np.uint64(BUCKETS)).astype(np.intp)] = True
        for slot, one in zip(slots.tolist(), whole.tolist(), strict=True):
            self.record[slot].append(one)

    def clear(self, slots: Ints) -> None:
        """Forget what was searched; positions that the network sees stay."""
        rows, chain = self.rows(slots), []
        for _ in range(HISTORY[self.kind]):
            chain.append(rows)
            rows = self._parents(rows)
        kept = [{name: getattr(self, name)[rows].copy() for name in (*STATE, "turn", "number", "passes", "via", "over")}
                for rows in chain]
        base = slots * self.capacity
        for place, values in enumerate(reversed(kept), 1):
            rows = base + place
            self._blank(rows)
            for name, value in values.items():
                getattr(self, name)[rows] = value
            self.parent[rows], self.made[rows] = place - 1, True
        self.used[slots], self.root[slots], self.root_sum[slots] = len(kept) + 1, len(kept), 0.0

    def boards(self, slots: Ints) -> Boards:
        """The positions at the roots."""
        return self._load(self.rows(slots))

    # --- search ---

    def round(self, slots: Ints, judge: Judge) -> None:
        """Choose leaves in every slot (one where the root is new), judge them together, hand the results back."""
        self._reserve(slots, self.search.leaves)
        new = ~self.expanded[self.rows(slots)]
        paths = []
        for turn in range(self.search.leaves):
            who = slots[~new] if turn else slots
            if not len(who):
                break
            path = self._descend(who)
            if self.search.count_at_selection:
                self._count(path, 1.0)
            paths.append(self._finished(path))
        path = _joined(paths)
        if len(path.leaves):
            self._lose(path, -1.0)
            self._expand(path, judge)

    def counts(self, slots: Ints) -> Floats:
        """(n, P + 1) visits of the moves at the roots."""
        return self.visits[self.rows(slots)].copy()

    def totals(self, slots: Ints) -> Floats:
        return self.total[self.rows(slots)].copy()

    def scores(self, slots: Ints) -> Floats:
        """(n, P + 1): what the next selection at the roots would maximise."""
        return self._scores(self.rows(slots))

    def values(self, slots: Ints) -> Floats:
        """(n,) mean value of the roots for Black; a first value counts as one visit."""
        return self.root_sum[slots] / (1.0 + self.totals(slots))

    def allowed(self, slots: Ints) -> Bools:
        """(n, P + 1): moves of the roots, which must be expanded."""
        return self.legal[self.rows(slots)].copy()

    def mix(self, slots: Ints, noise: Floats, share: float) -> None:
        """Blend `noise` (n, P + 1) into the priors at the roots."""
        rows = self.rows(slots)
        self.prior[rows] = (1.0 - share) * self.prior[rows] + share * noise

    # --- inside ---

    def _descend(self, slots: Ints) -> Path:
        """From every root to a node that is not expanded, or over. New nodes are made on the way."""
        leaves = self.rows(slots)
        live, rows = np.arange(len(slots)), leaves.copy()
        edges, owners = [], []
        while True:
            going = self.expanded[rows]
            if not going.all():
                live, rows = live[going], rows[going]
            if not len(live):
                break
            best = self._best(rows)
            edge = rows * self.moves + best
            child = self.child.ravel()[edge]
            fresh = np.flatnonzero(child < 0)
            if len(fresh):
                child[fresh] = self._add(rows[fresh], best[fresh])
            edges.append(edge)
            owners.append(live)
            rows = rows - rows % self.capacity + child
            leaves[live] = rows
        nothing = np.zeros(0, np.intp)
        return Path(leaves, np.concatenate([*edges, nothing]), np.concatenate([*owners, nothing]))

    def _best(self, rows: Ints) -> Ints:
        best: Ints = self._scores(rows).argmax(axis=1)
        if self.search.answer_pass:
            answered = (self.passes[rows] > 0) & (self.visits[rows, self.points] == 0)
            best = np.where(answered & self.legal[rows, self.points], self.points, best)
        return best

    def _scores(self, rows: Ints) -> Floats:
        total, visits = self.total.take(rows), self.visits.take(rows, axis=0)
        if self.search.exploration:
            weight = self.search.exploration * np.sqrt(1.0 + total)
        else:
            weight = 2.0 * (np.log((1.0 + total + BASE) / BASE) + 1.25) * np.sqrt(np.maximum(1.0, total - 1.0))
        gain = self.sums.take(rows, axis=0)
        gain *= self.turn.take(rows)[:, None]
        prior = self.prior.take(rows, axis=0)
        prior *= weight[:, None]
        gain += prior
        visits += 1.0
        gain /= visits
        return gain

    def _add(self, rows: Ints, moves: Ints) -> Ints:
        """A new node below each row (of different slots); returns their numbers in the slots."""
        slots = rows // self.capacity
        number = self.used[slots].copy()
        self.used[slots] += 1
        new = slots * self.capacity + number
        passed = moves == self.points
        self._blank(new)
        self.parent[new], self.via[new] = rows % self.capacity, moves
        self.turn[new], self.number[new] = -self.turn[rows], self.number[rows] + 1
        self.passes[new] = np.where(passed, self.passes[rows] + 1, 0)
        limit = self.game.move_limit
        self.over[new] = (self.passes[new] >= 2) | ((self.number[new] >= limit) if limit else False)
        known = self.expanded[rows]
        self.child.ravel()[(rows * self.moves + moves)[known]] = number[known]
        return number

    def _finished(self, path: Path) -> Path:
        """Back up the leaves where the game is over; the others lose a virtual game and are returned."""
        over = self.over[path.leaves]
        if over.any():
            self._make(path.leaves[over & ~self.made[path.leaves]])
            done = _chosen(path, over)
            self._back(done, self._winners(done.leaves))
            path = _chosen(path, ~over)
        self._lose(path, 1.0)
        return path

    def _winners(self, rows: Ints) -> Floats:
        return np.where(self._load(rows).black_lead() > self.game.komi, 1.0, -1.0)

    def _lose(self, path: Path, times: float) -> None:
        """A result in favour of the side to move after each edge (times -1: taken back)."""
        np.add.at(self.sums.reshape(-1), path.edges, -times * self.turn[path.edges // self.moves])

    def _count(self, path: Path, times: float) -> None:
        np.add.at(self.visits.reshape(-1), path.edges, times)
        np.add.at(self.total, path.edges // self.moves, times)
        np.add.at(self.total, path.leaves, times)

    def _back(self, path: Path, values: Floats) -> None:
        np.add.at(self.sums.reshape(-1), path.edges, values[path.owners])
        np.add.at(self.root_sum, path.leaves // self.capacity, values)
        if not self.search.count_at_selection:
            self._count(path, 1.0)

    def _expand(self, path: Path, judge: Judge) -> None:
        """Every leaf once, however often it was chosen; a repeated one counts for nothing."""
        first = np.zeros(len(path.leaves), bool)
        first[np.unique(path.leaves, return_index=True)[1]] = True
        if self.search.count_at_selection and not first.all():
            self._count(_chosen(path, ~first), -1.0)
        path = _chosen(path, first)
        rows = path.leaves
        self._make(rows[~self.made[rows]])
        boards = self._load(rows)
        priors, values = judge(planes(self.kind, boards, self.past(rows)), boards.whole, rows // self.capacity)
        self._open(rows, boards, priors.astype(np.float64), values.astype(np.float64))
        self._back(path, values.astype(np.float64))

    def _open(self, rows: Ints, boards: Boards, priors: Floats, values: Floats) -> None:
        legal = self._legal(rows, boards)
        if self.search.mask_priors:
            priors = priors * legal
            total = priors.sum(axis=1, keepdims=True)
            priors = np.where(total > 0, priors, legal) / np.where(total > 0, total, legal.sum(axis=1, keepdims=True))
        turn = self.turn[rows]
        start = np.clip(values - self.search.value_penalty * turn, -1.0, 1.0)
        self.legal[rows], self.prior[rows], self.visits[rows] = legal, priors, 0.0
        self.sums[rows] = np.where(legal, start[:, None], BARRED * turn[:, None])
        self.child[rows], self.expanded[rows] = -1, True

    def _legal(self, rows: Ints, boards: Boards) -> Bools:
        """(B, P + 1): moves that the rules allow; a pass before `pass_from` only where there is nothing else."""
        legal = np.ones((len(rows), self.moves), bool)
        stones = boards.legal(simple_ko=not self.game.superko)
        if self.game.superko:
            self._bar_repetitions(rows, boards, stones)
        legal[:, :-1] = stones.T
        early = self.number[rows] < self.game.pass_from
        legal[:, -1] = ~early | ~stones.any(axis=0)
        return legal

    def _bar_repetitions(self, rows: Ints, boards: Boards, stones: Bools) -> None:
        """Take moves out of `stones` (P, B) that lead to a position that has been on the board before."""
        after, slots = boards.after(), rows // self.capacity
        known = self.filter[slots, (after % np.uint64(BUCKETS)).astype(np.intp)] & stones
        for point, game in zip(*np.nonzero(known), strict=True):
            if int(after[point, game]) in self.record[slots[game]]:
                stones[point, game] = False
        roots, above = self.rows(slots), rows
        while (inside := above != roots).any():
            stones &= ~((after == self.whole[above]) & inside)
            above = np.where(inside, self._parents(above), above)

    def past(self, rows: Ints) -> list[NDArray[np.int8]]:
        found = []
        for _ in range(HISTORY[self.kind] - 1):
            rows = self._parents(rows)
            found.append(np.ascontiguousarray(self.colour[rows].T))
        return found

    def _make(self, rows: Ints) -> None:
        """Work out the positions of nodes from those above them."""
        if len(rows):
            boards = self._load(self._parents(rows))
            boards.play(self.via[rows].astype(np.intp))
            self._store(rows, boards)


def _chosen(path: Path, which: Bools) -> Path:
    """The descents for which `which` holds."""
    place = np.cumsum(which) - 1
    edges = which[path.owners]
    return Path(path.leaves[which], path.edges[edges], place[path.owners[edges]])


def _joined(paths: list[Path]) -> Path:
    starts = np.cumsum([0, *(len(path.leaves) for path in paths)])
    return Path(np.concatenate([path.leaves for path in paths]), np.concatenate([path.edges for path in paths]),
                np.concatenate([path.owners + start for path, start in zip(paths, starts, strict=False)]))
