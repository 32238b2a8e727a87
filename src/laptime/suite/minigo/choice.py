"""From visits to training targets and moves, and when a game ends: the reference's rules, for many games at once."""

import numpy as np

from laptime.suite.minigo.board import Bools, Ints
from laptime.suite.minigo.config import GameConfig, SearchConfig
from laptime.suite.minigo.nodes import Floats
from laptime.suite.minigo.settled import all_settled, settled
from laptime.suite.minigo.tree import BASE, Forest


def pruned(forest: Forest, slots: Ints) -> Floats:
    """(n, P + 1) visits at the roots without those that only exploration explains (v0.7's target pruning).

    N' = max(0, min(N, -s P sqrt(N_parent) / (Q - best))) for all but the most visited move; a pass if nothing is left.
    """
    rows = forest.rows(slots)
    visits, total, turn = forest.visits[rows], forest.total[rows], forest.turn[rows]
    weight = 2.0 * (np.log((1.0 + total + BASE) / BASE) + 1.25)
    value = forest.sums[rows] / (1.0 + visits) * turn[:, None]
    games, best = np.arange(len(rows)), visits.argmax(axis=1)
    prior = forest.prior[rows]
    score = value[games, best] + weight * prior[games, best] * np.sqrt(1.0 + total) / (1.0 + visits[games, best])
    gap = value - score[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        limit = np.where(gap < 0, -weight[:, None] * prior * np.sqrt(total)[:, None] / gap, 0.0)
    kept = np.maximum(0.0, np.minimum(visits, np.floor(limit)))
    kept[games, best] = visits[games, best]
    kept[kept.sum(axis=1) == 0, -1] = 1.0
    return kept


def targets(search: SearchConfig, counts: Floats, numbers: Ints) -> Floats:
    """Distributions over moves; `numbers`: moves played before."""
    soft = (numbers < search.soft_moves)[:, None]
    raised = np.where(soft, counts**search.target_exponent, counts)
    total = raised.sum(axis=1, keepdims=True)
    return raised / np.where(total > 0, total, 1.0)


def most_visited(counts: Floats, scores: Floats) -> Ints:
    """The move of each row with most visits; ties go to the higher score."""
    top = counts == counts.max(axis=1, keepdims=True)
    best: Ints = np.where(top, scores, -np.inf).argmax(axis=1)
    return best


def drawn(search: SearchConfig, counts: Floats, uniform: float) -> int | None:
    """A move drawn by visits (P + 1,); None where no stone was visited."""
    weights = counts**search.soft_exponent
    if not search.soft_pass:
        weights[-1] = 0.0
    sums = weights.cumsum()
    return int(np.searchsorted(sums, uniform * sums[-1], side="right")) if sums[-1] > 0 else None


def restricted(forest: Forest, slots: Ints, counts: Floats, latched: Bools) -> Floats:
    """`counts` without moves into settled areas where the rule is in force (`latched`); a pass if none is left."""
    if not latched.any():
        return counts
    which = np.flatnonzero(latched)
    black, white = settled(forest.boards(slots[which]))
    counts = counts.copy()
    counts[which, :-1] *= ~(black | white).T
    counts[which[counts[which].sum(axis=1) == 0], -1] = 1.0
    return counts


def finished(game: GameConfig, forest: Forest, slots: Ints) -> Bools:
    """(n,): games that are over: two passes, the move limit, or every point settled (tested late in a game only)."""
    rows = forest.rows(slots)
    over: Bools = forest.over[rows].copy()
    first = game.size * ((game.size + 2) // 3)  # reference
    late = np.flatnonzero(~over & (forest.number[rows] >= first)) if game.pass_alive else np.zeros(0, np.intp)
    if len(late):
        over[late] = all_settled(forest.boards(slots[late]))
    return over


def winners(game: GameConfig, forest: Forest, slots: Ints) -> Floats:
    """(n,) 1 for Black, -1 for White, by area and komi."""
    return np.where(forest.boards(slots).black_lead() > game.komi, 1.0, -1.0)


class PassRows:
    """How often in a row each side of each slot has passed; latched once it was often enough."""

    def __init__(self, slots: int, enough: int) -> None:
        self.enough, self.row = enough, np.zeros((slots, 2), np.intp)
        self.latched = np.zeros((slots, 2), bool)

    def reset(self, slots: Ints) -> None:
        self.row[slots], self.latched[slots] = 0, False

    def played(self, slots: Ints, sides: Ints, passed: Bools) -> None:
        """`sides`: 0 Black, 1 White."""
        self.row[slots, sides] = np.where(passed, self.row[slots, sides] + 1, 0)
        if self.enough:
            self.latched[slots, sides] |= self.row[slots, sides] >= self.enough

    def against(self, slots: Ints, sides: Ints) -> Bools:
        """Whether the other side of `sides` has passed that often."""
        return self.latched[slots, 1 - sides].copy()


