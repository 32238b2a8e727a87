"""What can be had without learning: players that no honest target may lie within reach of.

Each takes an unlocked store and returns its win rate against the opponent, over the games of an evaluation. Those
without a network get the same tree search with uniform priors; the others move by one rule.
"""

from collections.abc import Callable

import numpy as np

from laptime.suite.minigo import published
from laptime.suite.minigo.board import BLACK
from laptime.suite.minigo.config import MinigoConfig
from laptime.suite.minigo.features import Planes
from laptime.suite.minigo.model import initialise
from laptime.suite.minigo.player import Judged, Player
from laptime.suite.minigo.published import OPPONENT, START, blank, load_network
from laptime.suite.minigo.selfplay import match
from laptime.training.data.store import Store
from laptime.training.seeds import Seeds

SEED, CAPTURES = 0, 12  # CAPTURES: the plane of points that capture (planes of kind "mlperf07")


class Rule(Player):
    """A player whose priors and values are a function of the planes."""

    def __init__(self, size: int, rule: Callable[[Planes], Judged]) -> None:
        self.size, self.rule = size, rule

    def __call__(self, planes: Planes) -> Judged:
        return self.rule(planes)


def uniform(planes: Planes) -> Judged:
    """Every move alike, every position even: the search alone, which still sees the ends of games."""
    moves = planes.shape[2] + 1
    return np.full((len(planes), moves), 1 / moves, np.float32), np.zeros(len(planes), np.float32)


def random_priors(planes: Planes) -> Judged:
    """One move drawn at random for each position is all that the search looks at."""
    draw = np.random.default_rng(SEED + int(planes.sum()))
    return _certain(draw.random((len(planes), planes.shape[2] + 1)).argmax(axis=1), planes), _even(planes)


def greedy_capture(planes: Planes) -> Judged:
    """Capture where something can be captured, else one move of all at random."""
    draw = np.random.default_rng(SEED + int(planes.sum()))
    wish = draw.random((len(planes), planes.shape[2] + 1))
    wish[:, :-1] += planes[:, CAPTURES]
    return _certain(wish.argmax(axis=1), planes), _even(planes)


def stones_count(planes: Planes) -> Judged:
    """Every move alike; a position is worth the difference of stones on it."""
    own, other = planes[:, 0].sum(axis=1).astype(np.float32), planes[:, 1].sum(axis=1).astype(np.float32)
    black = np.where(planes[:, 8, 0] == BLACK, own - other, other - own)
    return uniform(planes)[0], np.tanh(black / planes.shape[2] * 4).astype(np.float32)


def _certain(moves: np.ndarray, planes: Planes) -> np.ndarray:
    found = np.full((len(planes), planes.shape[2] + 1), 1e-6, np.float32)
    found[np.arange(len(planes)), moves] = 1.0
    return found


def _even(planes: Planes) -> np.ndarray:
    return np.zeros(len(planes), np.float32)


def untrained_network(config: MinigoConfig, store: Store) -> float:
    """Random weights."""
    model = blank(config)
    initialise(model, Seeds(SEED).torch("init"))
    return _rate(config, store, Player(model, config.game.size, config.search.batch))


def starting_network(config: MinigoConfig, store: Store) -> float:
    """The network that every run starts from."""
    model = blank(config)
    load_network(model, store.weights(START))
    return _rate(config, store, Player(model, config.game.size, config.search.batch))


def _ruled(rule: Callable[[Planes], Judged]) -> Callable[[MinigoConfig, Store], float]:
    return lambda config, store: _rate(config, store, Rule(config.game.size, rule))


def _rate(config: MinigoConfig, store: Store, player: Player) -> float:
    opponent = published.blank(config)
    load_network(opponent, store.weights(OPPONENT))
    seeds, settings = Seeds(SEED), config.match
    won = match(config, (player, Player(opponent, config.game.size, config.search.batch)),
                lambda number: seeds.numpy("match", number), list(range(settings.games)), settings.readouts)
    return sum(won) / settings.games


SHORTCUTS: dict[str, Callable[[MinigoConfig, Store], float]] = {
    "random player": _ruled(random_priors),
    "search with even priors": _ruled(uniform),
    "search that counts stones": _ruled(stones_count),
    "greedy capture player": _ruled(greedy_capture),
    "untrained network": untrained_network,
    "starting network": starting_network,
}
