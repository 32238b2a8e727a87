"""The metric of v0.5: how often a search from a position of a professional game finds the move that was played.

All positions are searched in lock-step: a fresh tree each, no noise, the most visited move.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from laptime.suite.minigo import choice
from laptime.suite.minigo.board import Ints
from laptime.suite.minigo.config import MinigoConfig
from laptime.suite.minigo.player import Player, Table
from laptime.suite.minigo.selfplay import Searches
from laptime.suite.minigo.tree import Forest


def right_moves(config: MinigoConfig, player: Player, games: Sequence[Sequence[int]], share: slice,
                draw: np.random.Generator) -> tuple[int, int]:
    """(found, asked) over the positions of `games` that `share` selects, each `moves.repeats` times."""
    moves, search = config.moves, config.search
    asked = [(game, place) for _ in range(moves.repeats) for game in games for place in range(len(game))][share]
    salts = draw.integers(0, 2**64, len(asked), dtype=np.uint64)
    found, step = 0, max(1, config.data.slots)
    quiet = replace(search, readouts=moves.readouts, leaves=moves.leaves, noise_share=0.0)
    for start in range(0, len(asked), step):
        part = asked[start:start + step]
        forest = Forest(config.game, quiet, config.model.planes, len(part))
        table = Table([player], len(part), salts[start:start + step] if search.turned_inference else None)
        best = _searched(forest, Searches(forest, table, lambda slots: None), part, moves.readouts)
        found += sum(int(move) == game[place] for move, (game, place) in zip(best, part, strict=True))
    return found, len(asked)


def _searched(forest: Forest, searches: Searches, part: Sequence[tuple[Sequence[int], int]], readouts: int) -> Ints:
    slots = np.arange(len(part))
    forest.reset(slots)
    for number in range(max(place for _, place in part)):
        going = np.array([slot for slot, (_, place) in enumerate(part) if number < place], np.intp)
        forest.advance(going, np.array([part[slot][0][number] for slot in going.tolist()], np.intp))
    searches.begin(slots, readouts)
    active = slots
    while len(active):
        active = np.setdiff1d(active, searches.round(active))
    return choice.most_visited(forest.counts(slots), forest.scores(slots))
