"""The supervised training loop, once for all benchmarks: it reads top to bottom and yields events.

It formats no log line, reads no clock and compares with no target.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import torch

from laptime.config import Json, Speed
from laptime.errors import DataProblem, InvalidConfiguration
from laptime.events import At, Checkpoint, Epoch, Evaluated, Evaluating, Event, Note, Plan, Progress
from laptime.training.checkpoints import Checkpoints
from laptime.training.distributed.engine import Engine, Replicas
from laptime.training.distributed.world import World
from laptime.training.nn import float8
from laptime.training.speed import Precision
from laptime.training.state import Count, Counter, Rows, State, state_of

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
class Position:
    """Where training is, as counters of the state: samples and steps so far, the epoch in progress, its batches."""

    samples: Count = field(default_factory=Count)
    trained: Count = field(default_factory=Count)
    epoch: Count = field(default_factory=lambda: Count(1))
    batches: Count = field(default_factory=Count)

    @property
    def counters(self) -> dict[str, Counter]:
        return {"samples": self.samples, "trained": self.trained, "epoch": self.epoch, "batches": self.batches}

    @property
    def at(self) -> At:
        return At(self.samples.value, self.epoch.value, self.trained.value)

    def advance(self, at: At) -> None:
        self.samples.value, self.trained.value = at.samples, at.step
        self.batches.value += 1

    def begin(self, epoch: int) -> None:
        self.epoch.value, self.batches.value = epoch, 0


@dataclass
class Supervised(Generic[M]):
    """A session for everything trained on labelled batches (`benchmark.Session`).

    loss:       (model, micro-batch) -> 0-D tensor, normalised so that the sum over micro-batches and ranks is the loss
    batches:    epoch (1-based) -> this rank's batches; called after the data door is open
    synthetic:  batches of every shape that training meets, without data
    after_backward: runs between the backward pass and the optimizer (batch-norm statistics, clipping)
    after_step: runs after the optimizer (an average of weights)
    companions: modules beside the model whose tensors steps change; part of the state
    engine:     what `parallelize` made of the model; None: copies of it, one on each process
    checkpoints: where rounds evaluate off the clock: weights are kept there at the evaluation points
    touched:    tables of the model that may be too big to copy -> the rows (distinct) of them in `synthetic` batches
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
    checkpoints: Checkpoints | None = None
    touched: Mapping[str, Rows] = field(default_factory=dict)
    engine: Engine | None = None
    progress_every: int = 8
    _steps: Count = field(default_factory=Count)
    _position: Position = field(default_factory=Position)

    def __post_init__(self) -> None:
        self._precision = Precision.of(self.speed)
        float8.switch(self.model, on=self.speed.dtype == "float8")
        self._engine: Engine = self.engine or Replicas(self.model, self.world)
        whole = self.speed.compile == "step" and self._engine.whole
        self._compiled = torch.compile(self.loss) if whole else self.loss

    def state(self) -> State:
        frozen = [f"model.{name}" for name, one in self.model.named_parameters() if not one.requires_grad]
        return state_of(modules={"model": self.model, **self.companions}, optimizers={"optimizer": self.optimizer},
                        counters={"steps": self._steps, **self._position.counters}, frozen=frozen,
                        touched={f"model.{name}": rows for name, rows in self.touched.items()})

    def warm_up(self) -> None:
        for batch in self.synthetic():
            self.step(batch)
        self.evaluation.warm_up()

    def train(self) -> Iterator[Event]:
        """From where the state is: the start, or (restored at a `Progress`) in the middle of an epoch."""
        at, plan, position = self._position.at, self.plan, self._position
        loss: torch.Tensor | None = None
        for epoch in count(at.epoch):
            seen = position.batches.value
            if not seen:
                yield Epoch(at := at.in_epoch(epoch))
            begun = at
            for batch in islice(self.batches(epoch), seen, None):
                loss = self.step(batch)
                before, at = at, at.after(batch.global_size)
                position.advance(at)
                if plan.due(before, at):
                    yield from self._evaluated(at, loss)
                elif at.step % self.progress_every == 0:
                    yield Progress(at)
                if plan.exhausted(at):
                    return
            position.begin(epoch + 1)
            if at is begun and not seen:
                raise DataProblem(f"expected training batches in epoch {epoch}, found none",
                                  hint="Is the batch larger than the data set?")
            if plan.due_at_end(epoch):
                yield from self._evaluated(at, loss)
            if plan.exhausted_after(epoch):
                return

    def step(self, batch: Batch[M]) -> torch.Tensor:
        """One optimizer step; returns this replica's share of the loss, on the device."""
        self.schedule.apply(self._steps.value)
        total = self._engine.gradients(self._loss, batch.micro)
        self.after_backward()
        self.optimizer.step()
        self.after_step()
        self.optimizer.zero_grad(set_to_none=True)
        self._steps.value += 1
        return total

    def evaluate(self, checkpoint: Path) -> Mapping[str, float]:
        """Metrics of a checkpoint that `train` announced; the weights of now are put aside meanwhile.

        Raises InvalidConfiguration where the benchmark evaluates on the clock, DataProblem for a damaged checkpoint.
        """
        if self.checkpoints is None:
            raise InvalidConfiguration(f"this benchmark evaluates while it trains; asked to evaluate {checkpoint}")
        with self.checkpoints.loaded(checkpoint):
            return self.evaluation()

    def _noted(self, at: At, loss: torch.Tensor | None) -> Iterator[Event]:
        """The loss of the last step, unless that was before an interruption."""
        if loss is not None:
            yield Note(at, {"train_loss": float(self.world.replicas.sum(loss.double()))})

    def _evaluated(self, at: At, loss: torch.Tensor | None) -> Iterator[Event]:
        if self.checkpoints is not None:
            yield from self._noted(at, loss)
            yield Checkpoint(at, self.checkpoints.save(at))
            return
        yield Evaluating(at)
        metrics = self.evaluation()
        yield from self._noted(at, loss)
        yield Evaluated(at, metrics)

    def _loss(self, model: torch.nn.Module, micro: M) -> torch.Tensor:
        with self._autocast():
            return self._compiled(model, micro)

    def _autocast(self) -> torch.autocast:
        dtype = self._precision.autocast
        return torch.autocast(self.world.device.type, dtype=dtype, enabled=dtype is not None)
