"""Learning-rate schedules as values: frozen dataclasses with `value(step)`; step 0 is the first update.

All have a linear warm-up from 0 that reaches the base rate at step `warmup_steps`; hence the first update of a run with
warm-up has rate 0, as in the ResNet references.
"""

from dataclasses import dataclass
from typing import Protocol

import torch


class Schedule(Protocol):
    """A learning rate for every step."""

    def value(self, step: int) -> float: ...


@dataclass(frozen=True)
class Polynomial:
    """Power decay from `base` after the warm-up to `end` at step warmup_steps + decay_steps, constant from there on."""

    base: float
    end: float
    power: float
    warmup_steps: int
    decay_steps: int

    def value(self, step: int) -> float:
        if step < self.warmup_steps:
            return self.base * step / self.warmup_steps
        progress = min(step - self.warmup_steps, self.decay_steps) / self.decay_steps
        return float((self.base - self.end) * (1.0 - progress) ** self.power + self.end)


@dataclass(frozen=True)
class Step:
    """`base` after the warm-up, base * factors[i] from step boundaries[i] on."""

    base: float
    warmup_steps: int
    boundaries: tuple[int, ...]
    factors: tuple[float, ...]

    def value(self, step: int) -> float:
        if step < self.warmup_steps:
            return self.base * step / self.warmup_steps
        passed = sum(1 for boundary in self.boundaries if step >= boundary)
        return self.base * (self.factors[passed - 1] if passed else 1.0)


class Rated(Protocol):
    """An optimizer whose learning rate is the 0-D tensor `rate`."""

    @property
    def rate(self) -> torch.Tensor: ...


@dataclass(frozen=True)
class Applied:
    """A `loop.Schedule`: writes the rate of a step into the optimizer, in place and without synchronisation."""

    schedule: Schedule
    optimizer: Rated

    def apply(self, step: int) -> None:
        self.optimizer.rate.fill_(self.schedule.value(step))
