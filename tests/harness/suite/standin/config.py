"""Configuration of the stand-in: how its runs shall behave."""

from dataclasses import dataclass, field
from typing import Literal

from laptime.config import Parallel, Speed


@dataclass(frozen=True)
class StandInConfig:
    global_batch_size: int = 8
    evaluation_offset: int = 0
    reaches_at: int = 2  # epoch of the first passing evaluation; 0: never
    limit_epochs: int = 3
    pause: float = 0.0  # seconds per epoch
    behaviour: Literal["good", "together", "rank 1 is killed", "rank 1 hangs", "rank 1 stops", "rank 1 raises",
                       "rank 1 is deaf", "crash", "one rank crashes", "killed", "early data", "lazy state", "trace", "starts anew"] = "good"
    once: bool = False  # misbehave in the first attempt only
    opt_weight: float = 0.5
    parallel: Parallel = field(default_factory=Parallel)
    speed: Speed = field(default_factory=Speed)


def mini() -> StandInConfig:
    return StandInConfig()


PRESETS = {"mini": mini}
FAULTS: dict[str, tuple[str, ...]] = {}
