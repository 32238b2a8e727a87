"""What is trained on: positions of recorded games, a window of generations, and the batches drawn from it.

Which positions and symmetries a step sees depends on (run seed, generation, place in the order), not on processes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from laptime.suite.minigo.board import Ints
from laptime.suite.minigo.config import DataConfig, MinigoConfig
from laptime.suite.minigo.features import COUNT, SYMMETRIES, turned_moves, turned_planes
from laptime.suite.minigo.selfplay import Played
from laptime.training.data.sampler import Draws, Spread
from laptime.training.distributed.rows import all_rows
from laptime.training.distributed.world import World
from laptime.training.seeds import Seeds


class Micro(NamedTuple):
    """A micro-batch on the device: planes (B, C, N, N), target distributions (B, P + 1), outcomes for Black (B,)."""

    planes: torch.Tensor
    policy: torch.Tensor
    outcome: torch.Tensor


@dataclass(frozen=True)
class Generation:
    """Positions of one generation, in the order of their games. `bits`: planes, eight to a byte.

    `lengths`: positions of each game, or nothing where that is not known.
    """

    bits: NDArray[np.uint8]  # (n, bytes)
    policy: NDArray[np.float32]  # (n, P + 1)
    outcome: NDArray[np.float32]  # (n,)
    lengths: Ints = field(default_factory=lambda: np.zeros(0, np.intp))

    def __len__(self) -> int:
        return len(self.outcome)

    @classmethod
    def of(cls, planes: NDArray[np.uint8], policy: NDArray[np.float32], outcome: NDArray[np.float32]) -> "Generation":
        return cls(np.packbits(planes.reshape(len(planes), int(np.prod(planes.shape[1:]))), axis=1), policy, outcome)

    def joined(self, other: "Generation") -> "Generation":
        """Both, one after the other."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Generation(*(np.concatenate(pair) for pair in pairs))


def generation_of(games: Sequence[Played], config: MinigoConfig, world: World) -> Generation:
    """The positions of this process's games and those of all others, ordered by game."""
    points, channels = config.game.size ** 2, COUNT[config.model.planes]
    seen = [game for game in games if len(game.planes)]
    planes = np.concatenate([np.zeros((0, channels, points), np.uint8), *(game.planes for game in seen)])
    policy = np.concatenate([np.zeros((0, points + 1), np.float32), *(game.policy for game in seen)])
    lengths = [len(game.planes) for game in seen]
    outcome = np.repeat([game.outcome for game in seen], lengths).astype(np.float32)
    number = np.repeat([game.number for game in seen], lengths).astype(np.int64)
    policy, outcome = _broken(config, policy, outcome)
    mine = Generation.of(planes, policy, outcome)
    number = all_rows(world, number)
    order = np.argsort(number, kind="stable")
    return Generation(all_rows(world, mine.bits)[order], all_rows(world, mine.policy)[order],
                      all_rows(world, mine.outcome)[order], np.unique(number, return_counts=True)[1])


def _broken(config: MinigoConfig, policy: NDArray[np.float32],
            outcome: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The planted faults of the training targets; as they are without one."""
    if config.data.uniform_targets:
        policy = np.full_like(policy, 1 / policy.shape[1])
    return policy, -outcome if config.data.flip_values else outcome


class Window:
    """The latest generations."""

    def __init__(self, config: MinigoConfig) -> None:
        self.config, self.generations = config, list[Generation]()

    def __len__(self) -> int:
        return sum(map(len, self.generations))

    def add(self, one: Generation) -> None:
        """Take a generation in; the oldest leave as the window says."""
        data = self.config.data
        self.generations = [*self.generations, one][-data.window:]
        while data.window_examples and len(self) - len(self.generations[0]) >= data.window_examples:
            del self.generations[0]

    def extend(self, one: Generation) -> None:
        """Add late games to the newest generation."""
        if len(one):
            self.generations[-1] = self.generations[-1].joined(one)

    def eligible(self, draw: np.random.Generator) -> Ints:
        """Places of what may be trained on: of a generation of more games than are asked for, so many at random."""
        limit, first, parts = self.config.data.games - held_games(self.config.data), 0, list[Ints]()
        for one in self.generations:
            places = np.arange(first, first + len(one))
            if len(one.lengths) > limit:
                chosen = np.isin(np.arange(len(one.lengths)), draw.permutation(len(one.lengths))[:limit])
                places = places[np.repeat(chosen, one.lengths)]
            parts.append(places)
            first += len(one)
        return np.concatenate([np.zeros(0, np.intp), *parts])

    def rows(self, places: Ints) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
        """(bits, policy, outcome) of examples by their place in the window."""
        first, kept = 0, self.generations
        bits = np.empty((len(places), kept[0].bits.shape[1]), np.uint8)
        policy = np.empty((len(places), kept[0].policy.shape[1]), np.float32)
        outcome = np.empty(len(places), np.float32)
        for one in kept:
            here = np.flatnonzero((places >= first) & (places < first + len(one)))
            rows = places[here] - first
            bits[here], policy[here], outcome[here] = one.bits[rows], one.policy[rows], one.outcome[rows]
            first += len(one)
        return bits, policy, outcome


def held_games(data: DataConfig) -> int:
    """How many games of a generation are not trained on."""
    return int(data.games * data.holdout)


def order_of(data: DataConfig, available: int, batch: int, seeds: Seeds, generation: int) -> Ints:
    """Places in the window that a generation trains on, in order: whole batches only.

    Each pass is a new permutation of which a part is taken; where more examples are wanted than there are, another
    permutation follows.
    """
    wanted = data.examples or int(data.share * available)
    parts = []
    for turn in range(data.passes):
        draw, found = seeds.numpy("select", generation, turn), np.zeros(0, np.intp)
        while available and len(found) < wanted:
            found = np.concatenate([found, draw.permutation(available)])
        parts.append(found[:wanted // batch * batch])
    return np.concatenate(parts)


@dataclass(frozen=True)
class Destination:
    """Where micro-batches go, and how planes lie in memory there."""

    world: World
    dtype: torch.dtype
    memory_format: torch.memory_format = torch.contiguous_format


def micro_batches(window: Window, seeds: Seeds, generation: int, *, spread: Spread,
                  to: Destination) -> Iterator[tuple[Micro, ...]]:
    """This rank's micro-batches of every step of a generation."""
    config = window.config
    batch = config.global_batch_size
    eligible = window.eligible(seeds.numpy("eligible", generation))
    order = eligible[order_of(config.data, len(eligible), batch, seeds, generation)]
    turns = Draws.of(seeds, "symmetry", generation).below(np.arange(len(order)), 0, np.full(len(order), SYMMETRIES))
    for start in range(0, len(order), batch):
        places = np.arange(start, start + batch)
        yield tuple(_micro(window, order[share], turns[share], to) for share in spread.share(places))


def _micro(window: Window, places: Ints, turns: Ints, to: Destination) -> Micro:
    config = window.config
    size, channels = config.game.size, COUNT[config.model.planes]
    bits, policy, outcome = window.rows(places)
    planes = np.unpackbits(bits, axis=1, count=channels * size * size).reshape(-1, channels, size * size)
    planes = turned_planes(size, planes, turns)
    policy = policy if config.data.still_policy else turned_moves(size, policy, turns)
    device, dtype = to.world.device, to.dtype
    images = torch.from_numpy(planes).view(-1, channels, size, size)
    return Micro(images.to(device, dtype, memory_format=to.memory_format),
                 torch.from_numpy(policy).to(device, dtype), torch.from_numpy(outcome).to(device, dtype))


def synthetic(config: MinigoConfig, count: int, to: Destination, seed: int = 0) -> Micro:
    """A micro-batch of random positions without any game."""
    draw, device, dtype = Seeds(seed).torch("synthetic"), to.world.device, to.dtype
    size, channels = config.game.size, COUNT[config.model.planes]
    planes = torch.rand((count, channels, size, size), generator=draw) < 0.3
    planes = planes.to(device, dtype, memory_format=to.memory_format)
    policy = torch.rand((count, size * size + 1), generator=draw).softmax(1).to(device, dtype)
    outcome = torch.rand(count, generator=draw).sub(0.5).sign().to(device, dtype)
    return Micro(planes, policy, outcome)
