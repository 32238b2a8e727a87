"""What a watcher is told while a run goes on: rates, metric against target, time left. Nothing here is judged."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

import orjson

from laptime.events import At, Plan
from laptime.harness.clock import Stopwatch
from laptime.rules.model import BenchmarkRules

Kind = Literal["phase", "epoch", "evaluated", "progress", "warning", "end"]
MARK = b"@laptime "  # begins a progress line on a worker's stdout
PROGRESS_SECONDS = 0.5  # at most one progress event in this time


@dataclass(frozen=True)
class RunEvent:
    """`elapsed_s` since the clock started; `remaining_s`: an estimate until the typical run reaches the target."""

    kind: Kind
    text: str = ""
    elapsed_s: float = 0.0
    samples: int = 0
    epoch: int = 0
    samples_per_second: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)
    target: str = ""
    remaining_s: float | None = None

    def to_line(self) -> bytes:
        return MARK + orjson.dumps(asdict(self)) + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "RunEvent | None":
        """The event of a worker's output line, None for ordinary output."""
        if not line.startswith(MARK):
            return None
        try:
            return cls(**orjson.loads(line[len(MARK):]))
        except (orjson.JSONDecodeError, TypeError):
            return None


Emit = Callable[[RunEvent], None]


def typical_samples(rules: BenchmarkRules, plan: Plan) -> float | None:
    """Samples to the target of the reference with the nearest batch size; None without reference points in epochs."""
    points = [p for p in rules.references if p.unit == "epochs"]
    if not points or not plan.sizes.samples_per_epoch:
        return None
    nearest = min(points, key=lambda p: abs(p.batch_size - plan.global_batch_size))
    return statistics.fmean(nearest.values) * plan.sizes.samples_per_epoch


@dataclass(frozen=True)
class Begun:
    """Where a run that goes on after an interruption was: `seconds` on its clock, `samples` seen."""

    seconds: float = 0.0
    samples: int = 0


BEGUN = Begun()


class Meter:
    """Turns positions into `RunEvent`s with rates and estimates."""

    def __init__(self, rules: BenchmarkRules, plan: Plan, emit: Emit, begun: Begun = BEGUN) -> None:
        self._target, self._emit = rules.target_text, emit
        self._typical = typical_samples(rules, plan)
        scale = plan.sizes.samples_per_epoch or 0 if plan.limit.unit == "epochs" else 1
        self._limit = plan.limit.value * scale
        self._watch, self._begun = Stopwatch(), begun
        self._last_emitted = 0.0

    def tell(self, kind: Kind, at: At, metrics: Mapping[str, float] | None = None, text: str = "") -> None:
        elapsed = self._watch.seconds()
        if kind == "progress" and elapsed - self._last_emitted < PROGRESS_SECONDS:
            return
        self._last_emitted = elapsed
        rate = max(0, at.samples - self._begun.samples) / elapsed if elapsed else 0.0
        self._emit(RunEvent(kind, text, self._begun.seconds + elapsed, at.samples, at.epoch, rate, metrics or {},
                            self._target, self._remaining(at.samples, rate)))

    def _remaining(self, samples: int, rate: float) -> float | None:
        goal = self._typical if self._typical and samples < self._typical else self._limit
        return max(0.0, goal - samples) / rate if goal and rate else None
