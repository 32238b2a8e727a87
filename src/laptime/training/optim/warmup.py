"""A constant learning rate after a warm-up that begins at a fraction of it (the published detectors' form).

Step i of W warm-up steps has rate base (factor (1 - i / W) + i / W): it starts at base factor and would reach base at
step W.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Warmed:
    """A `schedules.Schedule`: `base` from step `warmup_steps` on."""

    base: float
    factor: float
    warmup_steps: int

    def value(self, step: int) -> float:
        if step >= self.warmup_steps:
            return self.base
        done = step / self.warmup_steps
        return self.base * (self.factor * (1.0 - done) + done)
