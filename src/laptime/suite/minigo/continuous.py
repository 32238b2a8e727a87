"""Self-play that never stops: which of its games make a generation.

As in the reference of v0.7 and later: games are played all the time with the newest network, games in progress go on
with it, and a generation is trained as soon as enough games were ended by the newest network. Those that the one before
ended meanwhile come late: they join the generation that it belongs to, of which later trainings draw as many games as
are asked for. Each process of a run plays games of its own numbers in a process beside it; how many there are is
counted over all of them, so all see the same generations. When games end depends on time: no two runs are alike.
"""

from dataclasses import replace

import numpy as np
import torch

from laptime.suite.minigo.beside import Companion
from laptime.suite.minigo.board import Ints
from laptime.suite.minigo.config import MinigoConfig
from laptime.suite.minigo.examples import Window, generation_of, held_games
from laptime.suite.minigo.model import DualNetwork
from laptime.suite.minigo.selfplay import Played
from laptime.training.distributed.world import World
from laptime.training.seeds import Seeds

WAIT_S = 0.02  # for a game, between two counts over all processes


class Continuous:
    """The games of a run, generation after generation."""

    def __init__(self, config: MinigoConfig, seeds: Seeds, world: World) -> None:
        self.config, self.seeds, self.world = config, seeds, world
        self.network, self._waiting = 0, list[Played]()
        self._companion: Companion | None = None

    def start(self) -> Companion:
        """The process beside this one, which plays nothing before it has a network."""
        if self._companion is None:
            self._companion = Companion(self.config, self.seeds, self.world)
        return self._companion

    def use(self, model: DualNetwork, network: int) -> None:
        """Play with `model` from now on, as network number `network`; the same number again changes nothing."""
        if network != self.network:
            self.start().hand_over(model, network)
            self.network = network

    def collect(self, window: Window) -> tuple[list[Played], dict[str, float]]:
        """Wait for enough games that the newest network ended; they and the late ones go into the window.

        Returns this process's games of the generation, and what is told of those of all processes.
        """
        late, fresh = self._enough()
        window.extend(generation_of(self._kept(late), self.config, self.world))
        window.add(generation_of(self._kept(fresh), self.config, self.world))
        ages, oldest = np.concatenate([np.zeros(0, np.intp), *map(_ages, late + fresh)]), self.config.data.max_age
        return fresh, {"actual_selfplay_games_per_generation": self._sum(len(fresh)),
                       "late_games": self._sum(len(late)),
                       "positions_of_older_networks": self._sum(int((ages > 0).sum())),
                       "positions_too_old": self._sum(int((ages > oldest).sum()))}

    def close(self) -> None:
        """End the process; what it has played and nobody has collected is forgotten."""
        if self._companion is not None:
            self._companion.close()
        self.network, self._companion = 0, None
        self._waiting.clear()

    def _enough(self) -> tuple[list[Played], list[Played]]:
        """(games that an earlier network ended, games of the newest). Every process takes part in every count."""
        companion = self.start()
        while True:
            fresh = [game for game in self._waiting if game.network == self.network]
            if self._sum(len(fresh)) >= self.config.data.games:
                break
            self._waiting += companion.finished(WAIT_S)
        late = [game for game in self._waiting if game.network != self.network]
        self._waiting = []
        return late, fresh

    def _sum(self, number: int) -> int:
        return int(self.world.sum(torch.tensor(number, device=self.world.device)))

    def _kept(self, games: list[Played]) -> list[Played]:
        """What is trained on: games that are not held out, without positions by networks that are too old."""
        data = self.config.data
        return [self._young(game) for game in games if game.number % data.games >= held_games(data)]

    def _young(self, game: Played) -> Played:
        young = _ages(game) <= self.config.data.max_age
        return replace(game, planes=game.planes[young], policy=game.policy[young], networks=game.networks[young])


def _ages(game: Played) -> Ints:
    """(n,) for each recorded position, how many networks later the game ended."""
    return game.network - game.networks
