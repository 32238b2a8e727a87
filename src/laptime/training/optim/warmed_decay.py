"""A decay that runs from the first update on, beside a warm-up that may have begun before it (BERT reference)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class WarmedDecay:
    """Power decay from `base` at step 0 to 0 at `train_steps`, 0 from there on.

    While fewer than `warmup_steps` steps lie behind `start_warmup_step`, the rate is instead linear in their number
    and would reach `base`. A negative start shortens the warm-up or (beyond its length) switches it off.
    """

    base: float
    power: float
    train_steps: int
    warmup_steps: int
    start_warmup_step: int

    def value(self, step: int) -> float:
        warmed = step - self.start_warmup_step
        if warmed < self.warmup_steps:
            return self.base * warmed / self.warmup_steps
        return float(self.base * (1.0 - min(step, self.train_steps) / self.train_steps) ** self.power)
