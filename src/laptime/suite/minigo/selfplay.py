"""Games for training and for matches, many in lock-step, each with random numbers of its own.

What happens in a game depends on its number and the networks, not on the games beside it: it may be played in any slot
of any process. Values and outcomes are Black's.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from laptime.suite.minigo import choice
from laptime.suite.minigo.board import BLACK, Bools, Ints
from laptime.suite.minigo.config import MinigoConfig
from laptime.suite.minigo.features import Planes, planes
from laptime.suite.minigo.nodes import Floats
from laptime.suite.minigo.player import Player, Table
from laptime.suite.minigo.tree import Forest, Judge

Generators = Callable[[int], np.random.Generator]  # number of a game -> its random numbers


@dataclass
class Played:
    """A finished game: what is trained on, and what is told of it. `resigned` games end before the board does.

    `network`: the number of the network that ended it; `networks` (n,): of those that chose at its positions.
    """

    number: int
    planes: Planes  # (n, C, P) of recorded positions
    policy: NDArray[np.float32]  # (n, P + 1)
    outcome: float
    moves: list[int]
    resigned: bool
    network: int = 0
    networks: Ints = field(default_factory=lambda: np.zeros(0, np.intp))


class Searches:
    """Searches in the slots of a forest, each at its own point: opened when the root is known, done at its target."""

    def __init__(self, forest: Forest, judge: Judge, opened: Callable[[Ints], None]) -> None:
        self.forest, self.judge, self.opened = forest, judge, opened
        self.readouts, self.target = np.zeros(forest.slots), np.full(forest.slots, -1.0)

    def begin(self, slots: Ints, readouts: Floats | int) -> None:
        self.readouts[slots], self.target[slots] = readouts, -1.0

    def round(self, slots: Ints) -> Ints:
        """One round in every slot; returns those whose search is done."""
        waiting = slots[self.target[slots] < 0]
        known = waiting[self.forest.expanded[self.forest.rows(waiting)]]
        if len(known):
            self.opened(known)
            self.target[known] = self.forest.totals(known) + self.readouts[known]
        self.forest.round(slots, self.judge)
        done = (self.target[slots] >= 0) & (self.forest.totals(slots) >= self.target[slots])
        return slots[done]


class SelfPlay:
    """Games of one network against itself. `use` puts another one in its place, games in progress included."""

    def __init__(self, config: MinigoConfig, player: Player, generators: Generators) -> None:
        self.config, self.generators, self.players, self.network = config, generators, [player], 0

    def use(self, player: Player, network: int) -> None:
        """From the next round on, `player` judges all positions; `network` is its number."""
        self.players[0], self.network = player, network

    def play(self, numbers: Sequence[int]) -> list[Played]:
        """The games of these numbers, in their order."""
        slots = min(self.config.data.slots, len(numbers))
        done = {game.number: game for ended in self.rounds(iter(numbers), slots) for game in ended}
        return [done[number] for number in numbers]

    def rounds(self, numbers: Iterator[int], slots: int) -> Iterator[list[Played]]:
        """Play games of these numbers, at most `slots` at a time; yields after every round those that ended in it."""
        if not slots:
            return
        config = self.config
        self._forest = Forest(config.game, config.search, config.model.planes, slots)
        self._salts = np.zeros(slots, np.uint64)
        table = Table(self.players, slots, self._salts if config.search.turned_inference else None)
        self._searches = Searches(self._forest, table, self._mix_noise)
        self._passes = choice.PassRows(slots, config.search.settle_after_passes)
        self._games: list[_Game | None] = [None] * slots
        self._full = np.zeros(slots, bool)
        while True:
            self._fill(numbers)
            active = np.array([slot for slot, game in enumerate(self._games) if game is not None], np.intp)
            if not len(active):
                return
            ready = self._searches.round(active)
            yield self._move(ready) if len(ready) else []

    def _fill(self, waiting: Iterator[int]) -> None:
        """Begin the next games in slots that are free."""
        free = [slot for slot, game in enumerate(self._games) if game is None]
        numbers = list(islice(waiting, len(free)))
        if not numbers:
            return
        slots = np.array(free[:len(numbers)], np.intp)
        self._forest.reset(slots)
        self._passes.reset(slots)
        for slot, number in zip(slots.tolist(), numbers, strict=True):
            game = self._games[slot] = _Game.begun(number, self.generators, self.config)
            self._salts[slot] = game.salt
        self._begin(slots)

    def _begin(self, slots: Ints) -> None:
        """Decide for each slot whether its next search is full or fast."""
        search = self.config.search
        games = [self._games[slot] for slot in slots.tolist()]
        full = np.array([not game.moves or game.draw.random() >= search.fast_share for game in games if game])
        self._full[slots] = full
        if search.clear and search.fast_share and full.any():
            self._forest.clear(slots[full])
        self._searches.begin(slots, np.where(full, search.readouts, search.fast_readouts))

    def _mix_noise(self, slots: Ints) -> None:
        slots, search = slots[self._full[slots]], self.config.search
        if not len(slots) or not search.noise_share:
            return
        legal = self._forest.allowed(slots)
        noise = np.zeros(legal.shape)
        for row, slot in enumerate(slots.tolist()):
            game = self._games[slot]
            assert game is not None
            noise[row] = game.draw.dirichlet([search.noise_alpha] * legal.shape[1])
        if search.noise_on_legal:
            noise *= legal
            noise /= np.maximum(noise.sum(axis=1, keepdims=True), 1e-300)
        self._forest.mix(slots, noise, search.noise_share)

    def _move(self, slots: Ints) -> list[Played]:
        """Choose a move in every slot whose search is done; returns the games that ended."""
        forest, search = self._forest, self.config.search
        rows, full = forest.rows(slots), self._full[slots]
        sides = (forest.turn[rows] != BLACK).astype(np.intp)
        latched = self._passes.against(slots, sides)
        counts = choice.restricted(forest, slots, forest.counts(slots), latched)
        targets = counts.copy()
        if search.prune_targets and full.any():
            targets[full] = choice.restricted(forest, slots[full], choice.pruned(forest, slots[full]), latched[full])
        gone = forest.values(slots) * forest.turn[rows] < self._thresholds(slots)
        self._record(slots[full & ~gone], targets[full & ~gone])
        moves = self._picked(slots, targets if search.draw_pruned else counts)
        ended = self._ended(slots[gone], -forest.turn[rows][gone].astype(np.float64), resigned=True)
        slots, moves, sides = slots[~gone], moves[~gone], sides[~gone]
        if not len(slots):
            return ended
        self._passes.played(slots, sides, moves == forest.points)
        forest.advance(slots, moves)
        for slot, move in zip(slots.tolist(), moves.tolist(), strict=True):
            self._game(slot).moves.append(move)
        over = choice.finished(self.config.game, forest, slots)
        if over.any():
            ended += self._ended(slots[over], choice.winners(self.config.game, forest, slots[over]), resigned=False)
        if not over.all():
            self._begin(slots[~over])
        return ended

    def _record(self, slots: Ints, counts: Floats) -> None:
        """Keep positions and targets of full searches."""
        if not len(slots):
            return
        forest, rows = self._forest, self._forest.rows(slots)
        seen = planes(self.config.model.planes, forest.boards(slots), forest.past(rows))
        policy = choice.targets(self.config.search, counts, forest.number[rows].astype(np.intp)).astype(np.float32)
        for slot, one, target in zip(slots.tolist(), seen, policy, strict=True):
            self._game(slot).keep(one, target, self.network)

    def _picked(self, slots: Ints, counts: Floats) -> Ints:
        search, forest = self.config.search, self._forest
        moves = choice.most_visited(counts, forest.scores(slots))
        soft = np.flatnonzero(forest.number[forest.rows(slots)] < search.soft_moves)
        for place in soft.tolist():
            drawn = choice.drawn(search, counts[place], self._game(int(slots[place])).draw.random())
            moves[place] = moves[place] if drawn is None else drawn
        return moves

    def _thresholds(self, slots: Ints) -> Floats:
        return np.array([self._game(slot).resigns for slot in slots.tolist()])

    def _ended(self, slots: Ints, outcomes: Floats, *, resigned: bool) -> list[Played]:
        ended = []
        for slot, outcome in zip(slots.tolist(), outcomes.tolist(), strict=True):
            game = self._game(slot)
            ended.append(game.finished(float(outcome), resigned, self._forest.points, self.network))
            self._games[slot] = None
        return ended

    def _game(self, slot: int) -> "_Game":
        game = self._games[slot]
        assert game is not None
        return game


@dataclass
class _Game:
    """A game in progress."""

    number: int
    draw: np.random.Generator
    salt: np.uint64
    resigns: float
    moves: list[int]
    record: list[tuple[NDArray[np.uint8], NDArray[np.float32]]]
    networks: list[int] = field(default_factory=list)

    @classmethod
    def begun(cls, number: int, generators: Generators, config: MinigoConfig) -> "_Game":
        draw, search = generators(number), config.search
        salt = draw.integers(0, 2**64, dtype=np.uint64)
        resigns = search.resign_low + (search.resign_high - search.resign_low) * draw.random()
        return cls(number, draw, salt, -np.inf if draw.random() < search.resign_never else resigns, [], [])

    def keep(self, planes: NDArray[np.uint8], policy: NDArray[np.float32], network: int) -> None:
        self.record.append((planes, policy))
        self.networks.append(network)

    def finished(self, outcome: float, resigned: bool, points: int, network: int) -> Played:
        seen = np.stack([one for one, _ in self.record]) if self.record else np.zeros((0, 1, points), np.uint8)
        policy = [target for _, target in self.record]
        return Played(self.number, seen, np.stack(policy) if policy else np.zeros((0, points + 1), np.float32), outcome,
                      self.moves, resigned, network, np.array(self.networks, np.intp))


def match(config: MinigoConfig, pair: tuple[Player, Player], generators: Generators, numbers: Sequence[int],
          readouts: int) -> list[bool]:
    """Whether the first of `pair` won each of the games `numbers`. It has Black in those with even numbers.

    Each player has a tree of its own, no noise, and plays the most visited move. Games 2 i and 2 i + 1 begin with the
    same random moves.
    """
    return Match(config, pair, generators, list(numbers), readouts).play()


class Match:
    """Games between two players, all at once: slot i is the first player's tree of a game, slot n + i the second's."""

    def __init__(self, config: MinigoConfig, pair: tuple[Player, Player], generators: Generators, numbers: list[int],
                 readouts: int) -> None:
        search = replace(config.search, readouts=readouts, noise_share=0.0, clear=False)
        self.config, self.numbers, self.count = config, np.array(numbers, np.intp), len(numbers)
        self.forest = Forest(config.game, search, config.model.planes, 2 * self.count)
        salts = np.array([generators(number).integers(0, 2**64, dtype=np.uint64) for number in numbers], np.uint64)
        table = Table(pair, self.count, np.tile(salts, 2) if search.turned_inference else None)
        self.searches = Searches(self.forest, table, lambda slots: None)
        self.passes = choice.PassRows(self.count, search.settle_after_passes)
        self.readouts = readouts
        self.openings = [_opening_draw(generators, number) for number in numbers]

    def play(self) -> list[bool]:
        if not self.count:
            return []
        outcomes = np.zeros(self.count)
        self.forest.reset(np.arange(2 * self.count))
        games = np.arange(self.count)
        self._open(games)
        self._begin(games)
        while len(games):
            ready = self.searches.round(self._slots(games))
            if not len(ready):
                continue
            over, moved = self._move(ready)
            if over.any():
                ended = moved[over]
                outcomes[ended] = choice.winners(self.config.game, self.forest, ended)
                games = games[~np.isin(games, ended)]
            self._begin(moved[~over])
        return [(outcome > 0) == (number % 2 == 0) for outcome, number in zip(outcomes, self.numbers, strict=True)]

    def _slots(self, games: Ints) -> Ints:
        """The tree of the side to move in each game."""
        black = self.forest.turn[self.forest.rows(games)] == BLACK
        first = black == (self.numbers[games] % 2 == 0)
        return np.where(first, games, games + self.count)

    def _begin(self, games: Ints) -> None:
        if len(games):
            self.searches.begin(self._slots(games), self.readouts)

    def _move(self, slots: Ints) -> tuple[Bools, Ints]:
        """Play in the games whose search is done; returns which of them are over, and the games."""
        games = slots % self.count
        sides = (self.forest.turn[self.forest.rows(slots)] != BLACK).astype(np.intp)
        counts = choice.restricted(self.forest, slots, self.forest.counts(slots), self.passes.against(games, sides))
        moves = choice.most_visited(counts, self.forest.scores(slots))
        self.passes.played(games, sides, moves == self.forest.points)
        self._advance(games, moves)
        return choice.finished(self.config.game, self.forest, games), games

    def _advance(self, games: Ints, moves: Ints) -> None:
        self.forest.advance(np.concatenate([games, games + self.count]), np.concatenate([moves, moves]))

    def _open(self, games: Ints) -> None:
        """Random stones before the first move, the same in both games of a pair."""
        for _ in range(self.config.match.opening_moves):
            legal = self.forest.boards(games).legal()
            moves = [int(draw.choice(np.flatnonzero(legal[:, game])))
                     for game, draw in enumerate(self.openings)]
            self._advance(games, np.array(moves, np.intp))


def _opening_draw(generators: Generators, number: int) -> np.random.Generator:
    return generators(-1 - number // 2)
