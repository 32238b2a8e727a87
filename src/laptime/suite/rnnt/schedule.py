"""The reference's learning rate: linear warm-up, hold, then a fall by `gamma` per epoch, in stairs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class WarmupHoldDecay:
    """A `schedules.Schedule` in epochs of `epoch_steps` steps; step 0 is the first update, epochs count from 1.

    step < warmup:  base (step + 1) / (warmup steps + 1);  then base for `hold_epochs`;
    then max(minimum, base gamma^(epoch - warmup_epochs - hold_epochs)).
    """

    base: float
    warmup_epochs: int
    hold_epochs: int
    gamma: float
    minimum: float
    epoch_steps: int

    def value(self, step: int) -> float:
        warmup = self.warmup_epochs * self.epoch_steps
        if step < warmup:
            return max(self.minimum, self.base * (step + 1) / (warmup + 1))
        beyond = step // self.epoch_steps + 1 - self.warmup_epochs - self.hold_epochs
        return max(self.minimum, self.base * self.gamma ** max(0, beyond))
