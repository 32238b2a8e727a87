"""One player that improves by its own games: network, optimizer, window of generations. Needs no data set."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from laptime.config import Speed
from laptime.suite.minigo.config import MinigoConfig, OptimizerConfig
from laptime.suite.minigo.examples import Destination, Micro, Window, generation_of, held_games, micro_batches
from laptime.suite.minigo.model import DualNetwork
from laptime.suite.minigo.player import Player
from laptime.suite.minigo.selfplay import Played, SelfPlay, match
from laptime.training.data.sampler import Spread
from laptime.training.distributed.replicate import gradient_exchange, replicate
from laptime.training.distributed.world import World
from laptime.training.loop import Batch
from laptime.training.nn.batch_norm import RunningStatistics
from laptime.training.optim.schedules import Applied
from laptime.training.optim.sgd import SGD
from laptime.training.seeds import Seeds
from laptime.training.speed import Precision
from laptime.training.state import Count

FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}  # of a resolved `Speed`


@dataclass(frozen=True)
class Piecewise:
    """`rates[i]` up to and including step `boundaries[i]` (as TensorFlow does), the last one afterwards."""

    rates: tuple[float, ...]
    boundaries: tuple[int, ...]

    def value(self, step: int) -> float:
        return self.rates[sum(1 for boundary in self.boundaries if step > boundary)]


@dataclass(frozen=True)
class Loss:
    """Cross entropy of the moves plus `value_cost` squared errors of the value, over `total` examples.

    Micro-batches and ranks add up to the mean over the global batch. The L2 term acts in the optimizer.
    """

    total: int
    value_cost: float

    def __call__(self, model: torch.nn.Module, micro: Micro) -> torch.Tensor:
        scores, values = model(micro.planes)
        wide = torch.promote_types(scores.dtype, torch.float32)
        moves = -(micro.policy.to(wide) * scores.to(wide).log_softmax(1)).sum()
        return (moves + self.value_cost * (values.to(wide) - micro.outcome.to(wide)).square().sum()) / self.total


def build_optimizer(config: OptimizerConfig, model: DualNetwork, *, compiled: bool = False) -> SGD:
    """SGD; the L2 term is that of kernels and the scale of batch norm (v0.5: its shift too), not of biases."""
    shifts = {id(layer.norm.bias) for layer in model.layers()}
    decayed, free = list[torch.nn.Parameter](), list[torch.nn.Parameter]()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_bias = name.endswith("bias") and not (config.decay_beta and id(parameter) in shifts)
            (free if is_bias else decayed).append(parameter)
    groups: list[dict] = [{"params": decayed}, {"params": free, "weight_decay": 0.0}]
    return SGD(groups, momentum=config.momentum, weight_decay=config.weight_decay, form="outside", compiled=compiled)


class Learner:
    """Plays, remembers and trains. `batches(generation)` plays the games of a generation first."""

    def __init__(self, config: MinigoConfig, seeds: Seeds, world: World, model: DualNetwork, speed: Speed) -> None:
        self.config, self.seeds, self.world, self.model, self.speed = config, seeds, world, model, speed
        self.precision, self.steps, self.window = Precision.of(speed), Count(), Window(config)
        self.to = Destination(world, self.precision.parameters, FORMATS[speed.memory_format])
        model.to(memory_format=self.to.memory_format)  # type: ignore[call-overload]
        self.optimizer = build_optimizer(config.optimizer, model,
                                         compiled=speed.fused == "on" and speed.compile != "off")
        self.schedule = Piecewise(config.optimizer.rates, config.optimizer.boundaries)
        self.loss = Loss(config.global_batch_size, config.optimizer.value_cost)
        self.spread = Spread(config.global_batch_size, world.size, world.rank, config.parallel.accumulation_steps)
        self._applied, self._statistics = Applied(self.schedule, self.optimizer), RunningStatistics(model, world)
        self._replica = replicate(model, world)
        self._loss = torch.compile(self.loss) if speed.compile == "step" else self.loss

    def player(self, model: DualNetwork | None = None) -> Player:
        """A frozen copy of a network (this one's), for play."""
        return Player(model or self.model, self.config.game.size, self.config.search.batch)

    def play(self, generation: int, model: DualNetwork | None = None) -> list[Played]:
        """Play the games of a generation, this rank's share; all of them go into the window. Returns this rank's."""
        held = held_games(self.config.data)
        numbers = range(self.world.rank, self.config.data.games, self.world.size)
        games = SelfPlay(self.config, self.player(model),
                         lambda number: self.seeds.numpy("game", generation, number)).play(list(numbers))
        kept = [game for game in games if game.number >= held]
        self.window.add(generation_of(kept, self.config, self.world))
        return games

    def batches(self, generation: int) -> Iterator[Batch[Micro]]:
        """What a generation trains on, drawn from the window."""
        for micro in micro_batches(self.window, self.seeds, generation, spread=self.spread, to=self.to):
            yield Batch(micro, self.config.global_batch_size)

    def step(self, batch: Batch[Micro]) -> torch.Tensor:
        """One optimizer step; returns this rank's share of the loss, on the device."""
        self._applied.apply(self.steps.value)
        total = torch.zeros((), device=self.world.device, dtype=self.precision.parameters)
        for i, micro in enumerate(batch.micro):
            with gradient_exchange(self._replica, exchange=i == len(batch.micro) - 1):
                with self._autocast():
                    loss = self._loss(self._replica, micro)
                (loss * self.world.size).backward()  # the replica averages over ranks; the loss is a sum over them
            total += loss.detach()
        self._statistics.commit()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.steps.value += 1
        return total

    def win_rate(self, pair: tuple[Player, Player], purpose: str, index: int, games: int, readouts: int) -> float:
        """Share of games that the first of two players wins; every rank plays its pairs of games."""
        pairs = range(self.world.rank, -(-games // 2), self.world.size)
        numbers = [number for pair_ in pairs for number in (2 * pair_, 2 * pair_ + 1) if number < games]
        won = match(self.config, pair, lambda number: self.seeds.numpy(purpose, index, number), numbers, readouts)
        total = torch.tensor(float(sum(won)), device=self.world.device, dtype=torch.float64)
        return float(self.world.sum(total)) / games

    def _autocast(self) -> torch.autocast:
        dtype = self.precision.autocast
        return torch.autocast(self.world.device.type, dtype=dtype, enabled=dtype is not None)


def summary(games: Sequence[Played]) -> dict[str, float]:
    """What a generation's games were like, for the log."""
    count = max(1, len(games))
    return {"mean_moves": sum(len(game.moves) for game in games) / count,
            "black_share": sum(game.outcome > 0 for game in games) / count,
            "resigned_share": sum(game.resigned for game in games) / count}
