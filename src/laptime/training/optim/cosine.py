"""Linear warm-up from 0, then half a cosine down to an end rate: the schedule of the large language models.

Follows Megatron-LM's `OptimizerParamScheduler` with decay style "cosine": after n steps the rate is base n / W up to
n = W, end + (base - end) (1 + cos(pi (n - W) / (D - W))) / 2 up to n = D, and `end` from there on. n counts the steps
of all training: a run that goes on from a checkpoint begins at `start`.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class WarmedCosine:
    """A `schedules.Schedule`. Steps: `warmup_steps` is W, `decay_steps` is D, `start` is where step 0 of a run lies."""

    base: float
    end: float
    warmup_steps: int
    decay_steps: int
    start: int = 0

    def value(self, step: int) -> float:
        done = self.start + step
        if done <= self.warmup_steps and self.warmup_steps:
            return self.base * done / self.warmup_steps
        if done >= self.decay_steps:
            return self.end
        share = (done - self.warmup_steps) / (self.decay_steps - self.warmup_steps)
        return self.end + (self.base - self.end) * (1.0 + math.cos(math.pi * share)) / 2.0
