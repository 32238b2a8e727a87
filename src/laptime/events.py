"""What a benchmark says while it trains, and the plan it is given: plain values, no behaviour elsewhere.

Design decision 1: a run is a stream of events. The harness stamps, logs and judges them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

Unit = Literal["samples", "epochs"]


@dataclass(frozen=True, slots=True)
class At:
    """Where training is. `samples` seen by the whole job, `epoch` in progress (1-based), `step` finished."""

    samples: int = 0
    epoch: int = 1
    step: int = 0

    def in_epoch(self, epoch: int) -> "At":
        return replace(self, epoch=epoch)

    def after(self, samples: int) -> "At":
        """The position one optimizer step over `samples` (all ranks together) later."""
        return At(self.samples + samples, self.epoch, self.step + 1)


@dataclass(frozen=True, slots=True)
class Progress:
    """A sign of life every few steps; costs no device synchronisation and is not logged."""

    at: At


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch begins."""

    at: At


@dataclass(frozen=True, slots=True)
class Evaluating:
    """Training pauses for an evaluation of the weights at `at`."""

    at: At


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Metrics (equal on every rank) of the weights at `at`."""

    at: At
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint was written to `path`, to be evaluated off the clock."""

    at: At
    path: Path


@dataclass(frozen=True, slots=True)
class Note:
    """Numbers worth keeping in the log that no rule asks for (loss, throughput of a phase)."""

    at: At
    values: Mapping[str, float]


Event = Progress | Epoch | Evaluating | Evaluated | Checkpoint | Note


@dataclass(frozen=True, slots=True)
class Point:
    """A position in training, counted in `unit`."""

    value: float
    unit: Unit


@dataclass(frozen=True, slots=True)
class Cadence:
    """Evaluation points: an explicit increasing list, then every `step` after the last of them.

    Unit "epochs": at the real end of these (whole) epochs. Unit "samples": at the first batch boundary at or after
    each point. `step` 0 means that the list is all there is.
    """

    unit: Unit
    points: tuple[int, ...]
    step: int = 0

    def passed(self, value: int) -> int:
        """How many points lie in (-inf, value]."""
        listed = sum(1 for point in self.points if point <= value)
        if listed < len(self.points) or not self.step:
            return listed
        return listed + (value - self.points[-1]) // self.step

    def next_after(self, value: int) -> int | None:
        """The smallest point greater than `value`, None when there is no further one."""
        for point in self.points:
            if point > value:
                return point
        if not self.step:
            return None
        return self.points[-1] + self.step * ((value - self.points[-1]) // self.step + 1)


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a configuration makes of a data set, known before anything is built.

    `train_samples` and `eval_samples` are the sizes the log reports; `samples_per_epoch` is what one epoch really
    consumes (after dropping or padding); `limit_epochs` (or, where given, `limit_samples`) is
    where the configuration's own schedule ends.
    """

    train_samples: int | None
    eval_samples: int | None
    samples_per_epoch: int | None
    limit_epochs: float | None = None
    limit_samples: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """When to evaluate and when to give up: rule formulas x configuration x sizes."""

    global_batch_size: int
    limit: Point
    evaluations: Cadence
    sizes: Sizes = field(default_factory=lambda: Sizes(None, None, None))

    def due(self, before: At, after: At) -> bool:
        """An evaluation point in samples lies in the step from `before` to `after`."""
        cadence = self.evaluations
        return cadence.unit == "samples" and cadence.passed(after.samples) > cadence.passed(before.samples)

    def due_at_end(self, epoch: int) -> bool:
        """An evaluation belongs to the end of this epoch."""
        cadence = self.evaluations
        return cadence.unit == "epochs" and cadence.passed(epoch) > cadence.passed(epoch - 1)

    def exhausted(self, at: At) -> bool:
        """The limit in samples is reached."""
        return self.limit.unit == "samples" and at.samples >= self.limit.value

    def exhausted_after(self, epoch: int) -> bool:
        """The limit in epochs is reached with the end of this epoch."""
        return self.limit.unit == "epochs" and epoch >= self.limit.value
