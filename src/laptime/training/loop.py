"""The supervised training loop, once for all benchmarks: it reads top to bottom and yields events.

It formats no log line, reads no clock and compares with no target.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import torch

from laptime.config import Json, Speed
from laptime.errors import DataProblem, InvalidConfiguration
from laptime.events import At, Epoch, Evaluated, Evaluating, Event, Note, Plan, Progress
from laptime.training.distributed.replicate import gradient_exchange, replicate
from laptime.training.distributed.world import World
from laptime.training.speed import Precision
from laptime.training.state import Count, State, state_of

M = TypeVar("M")


@dataclass(frozen=True)
class Batch(Generic[M]):
    """What one optimizer step consumes on this rank: one or more micro-batches, already on the device.

    `global_size`: samples of this step over all ranks, padding counted as the benchmark's rules say.
    """

    micro: tuple[M, ...]
    global_size: int


class Schedule(Protocol):
    """Writes the learning rate (and friends) of `step` (0-based) into the optimizer, in place."""

    def apply(self, step: int) -> None: ...


class Evaluation(Protocol):
    """Measures the model; metrics are equal on every rank."""

    def __call__(self) -> Mapping[str, float]: ...

    def warm_up(self) -> None:
        """Run every shape of an evaluation on synthetic input."""


def nothing() -> None:
    """The default `after_backward` and `after_step`."""


@dataclass
class Supervised(Generic[M]):
    """A session for everything trained on labelled batches (`benchmark.Session`).

    loss:       (model, micro-batch) -> 0-D tensor, normalised so that the sum over micro-batches and ranks is the loss
    batches:    epoch (1-based) -> this rank's batches; called after the data door is open
    synthetic:  batches of every shape that training meets, without data
    after_backward: runs between the backward pass and the optimizer (batch-norm statistics, clipping)
    after_step: runs after the optimizer (an average of weights)
    companions: modules beside the model whose tensors steps change; part of the state
    """

    world: World
    plan: Plan
    speed: Speed
    model: torch.nn.Module
    loss: Callable[[torch.nn.Module, M], torch.Tensor]
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    batches: Callable[[int], Iterator[Batch[M]]]
    evaluation: Evaluation
    synthetic: Callable[[], Iterator[Batch[M]]]
    hyperparameters: Mapping[str, Json]
    initialised: Sequence[str]
    after_backward: Callable[[], None] = nothing
    after_step: Callable[[], None] = nothing
    companions: Mapping[str, torch.nn.Module] = field(default_factory=dict)
    progress_every: int = 8
    _steps: Count = field(default_factory=Count)

    def __post_init__(self) -> None:
        self._precision = Precision.of(self.speed)
        self._replica = replicate(self.model, self.world)
        self._loss = torch.compile(self.loss) if self.speed.compile == "step" else self.loss

    def state(self) -> State:
        return state_of(modules={"model": self.model, **self.companions}, optimizers={"optimizer": self.optimizer},
                        counters={"steps": self._steps})

    def warm_up(self) -> None:
        for batch in self.synthetic():
            self.step(batch)
        self.evaluation.warm_up()

    def train(self) -> Iterator[Event]:
        at, plan = At(), self.plan
        for epoch in count(1):
            yield Epoch(at := at.in_epoch(epoch))
            begun = at
            for batch in self.batches(epoch):
                loss = self.step(batch)
                before, at = at, at.after(batch.global_size)
                if plan.due(before, at):
                    yield from self._evaluated(at, loss)
                elif at.step % self.progress_every == 0:
                    yield Progress(at)
                if plan.exhausted(at):
                    return
            if at is begun:
                raise DataProblem(f"expected training batches in epoch {epoch}, found none",
                                  hint="Is the batch larger than the data set?")
            if plan.due_at_end(epoch):
                yield from self._evaluated(at, loss)
            if plan.exhausted_after(epoch):
                return

    def step(self, batch: Batch[M]) -> torch.Tensor:
        """One optimizer step; returns this rank's share of the loss, on the device."""
        self.schedule.apply(self._steps.value)
        total = torch.zeros((), device=self.world.device, dtype=self._precision.parameters)
        for i, micro in enumerate(batch.micro):
            with gradient_exchange(self._replica, exchange=i == len(batch.micro) - 1):
                with self._autocast():
                    loss = self._loss(self._replica, micro)
                (loss * self.world.size).backward()  # the replica averages over ranks; the loss is a sum over them
            total += loss.detach()
        self.after_backward()
        self.optimizer.step()
        self.after_step()
        self.optimizer.zero_grad(set_to_none=True)
        self._steps.value += 1
        return total

    def evaluate(self, checkpoint: Path) -> Mapping[str, float]:
        """Not for benchmarks that evaluate on the clock."""
        raise InvalidConfiguration(f"this benchmark evaluates while it trains; asked to evaluate {checkpoint}")

    def _evaluated(self, at: At, loss: torch.Tensor) -> Iterator[Event]:
        yield Evaluating(at)
        metrics = self.evaluation()
        yield Note(at, {"train_loss": float(self.world.sum(loss.double()))})
        yield Evaluated(at, metrics)

    def _autocast(self) -> torch.autocast:
        dtype = self._precision.autocast
        return torch.autocast(self.world.device.type, dtype=dtype, enabled=dtype is not None)
