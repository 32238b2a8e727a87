"""A process that plays games while the learner learns: its handle, and its program.

    python -m laptime.suite.minigo.beside READING WRITING      (numbers of open pipes; started by `Companion`)

It reads a `Task`, then networks; from the first one on it plays, with the newest one it has, games in progress
included, and writes finished games. It sees no data set and has no window, loss or clock. It ends when the pipe from
the learner does, so it outlives neither a closed session nor a killed process. Weights travel as arrays.
"""

import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection
from threading import Condition, Thread

import numpy as np
import torch
from numpy.typing import NDArray

from laptime.config import Json, from_json, to_json
from laptime.errors import RunFailed
from laptime.suite.minigo.config import MinigoConfig
from laptime.suite.minigo.model import DualNetwork
from laptime.suite.minigo.player import Player
from laptime.suite.minigo.selfplay import Played, SelfPlay
from laptime.training.distributed.world import World
from laptime.training.seeds import Seeds
from laptime.training.speed import Precision, apply_tf32, resolve

MODULE = "laptime.suite.minigo.beside"
PATIENCE_S = 5.0  # for the process to end when it was asked to


@dataclass(frozen=True)
class Task:
    """What is to be played: games `first`, `first` + `step`, ... of a run with this seed, for ever."""

    config: Json
    seed: int
    first: int
    step: int
    device: str


@dataclass(frozen=True)
class Weights:
    """A network and its number."""

    tensors: Mapping[str, NDArray]
    number: int


class Companion:
    """The other process. It waits until it is given a network. `close` ends it; so does losing this handle."""

    def __init__(self, config: MinigoConfig, seeds: Seeds, world: World) -> None:
        reading, writing = _pipe(), _pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", MODULE, str(reading[0].fileno()), str(writing[1].fileno())],
            pass_fds=(reading[0].fileno(), writing[1].fileno()), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        reading[0].close()
        writing[1].close()
        self._to, self._inbox = reading[1], _Inbox(writing[0])
        self._end = weakref.finalize(self, _ended, self._process, self._to, self._inbox)
        self._send(Task(to_json(config), seeds.run, world.rank, world.size, str(world.device)))

    def hand_over(self, model: DualNetwork, number: int) -> None:
        """Give it a copy of a network, which it uses from its next round on."""
        tensors = {name: tensor.detach().cpu().numpy() for name, tensor in model.state_dict().items()}
        self._send(Weights(tensors, number))

    def ready(self) -> None:
        """Wait until it has nothing left to do but to play. Raises RunFailed without the process."""
        if not self._inbox.ready():
            self._gone()

    def finished(self, patience_s: float = 0.0) -> list[Played]:
        """Games that ended since the last call; waits so long for a first one. Raises RunFailed without the process."""
        games = self._inbox.take(patience_s)
        if not games and self._inbox.over:
            self._gone()
        return games

    def close(self) -> None:
        """End the process. Waits for it; its unfinished games are lost."""
        self._end()

    def _send(self, message: Task | Weights) -> None:
        try:
            self._to.send(message)
        except OSError:
            self._gone()

    def _gone(self) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE_S)
        raise RunFailed(f"expected the process that plays games beside training to go on, found it ended with code "
                        f"{self._process.returncode}", hint="What it said stands with what the run wrote to stderr.")


class _Inbox:
    """What comes out of a pipe, read by a thread so that the other side never waits for the learner."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe, self.over, self._spoken = pipe, False, False
        self._games, self._news = list[Played](), Condition()
        self._thread = Thread(target=self._read, name="finished games", daemon=True)
        self._thread.start()

    def ready(self) -> bool:
        """Wait for the first message, which holds no game; whether it came."""
        with self._news:
            self._news.wait_for(lambda: self._spoken or self.over)
        return self._spoken

    def take(self, patience_s: float) -> list[Played]:
        with self._news:
            self._news.wait_for(lambda: self._games or self.over, patience_s)
            taken, self._games = self._games, []
        return taken

    def close(self) -> None:
        """To be called when the other side is closed."""
        self._thread.join()
        self.pipe.close()

    def _read(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                games = self.pipe.recv()
                with self._news:
                    self._games += games
                    self._spoken = True
                    self._news.notify_all()
        with self._news:
            self.over = True
            self._news.notify_all()


def _ended(process: "subprocess.Popen[bytes]", pipe: Connection, inbox: _Inbox) -> None:
    pipe.close()
    process.terminate()  # it has nothing to put in order
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    inbox.close()


def _pipe() -> tuple[Connection, Connection]:
    """(to read from, to write to)"""
    reading, writing = os.pipe()
    return Connection(reading, writable=False), Connection(writing, readable=False)


# --- the program ---

def main(reading: int, writing: int) -> None:
    """Play until the learner is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupted run ends it by itself
    torch.set_num_threads(1)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        _play(Connection(reading, writable=False), Connection(writing, readable=False))


def _play(source: Connection, target: Connection) -> None:
    task: Task = source.recv()
    config, seeds = from_json(MinigoConfig, task.config), Seeds(task.seed)
    device = torch.device(task.device)
    speed = resolve(config.speed, device)
    apply_tf32(speed)
    model = DualNetwork(config.model, config.game.size, config.norm_span, World(0, 1, device))
    model.to(device, Precision.of(speed).parameters)
    target.send([])
    first: Weights = source.recv()
    games = SelfPlay(config, _player(config, model, first), lambda number: seeds.numpy("continuous game", number))
    games.network = first.number
    for ended in games.rounds(count(task.first, task.step), config.data.slots):
        if ended:
            target.send(ended)
        while source.poll():
            weights: Weights = source.recv()
            games.use(_player(config, model, weights), weights.number)


def _player(config: MinigoConfig, model: DualNetwork, weights: Weights) -> Player:
    model.load_state_dict({name: torch.from_numpy(np.array(values)) for name, values in weights.tensors.items()})
    return Player(model, config.game.size, config.search.batch)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
