"""What the harness costs: the shared loop per step, and journal, meter and agreement per event.

The loop is driven with an empty step. Events are those of a whole run at laptop scale, played by the real loop with an
empty step through the real harness into a real log file; the harness's time is what passes between a `yield` and the
next request.
"""

import gc
import os
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from io import FileIO
from itertools import repeat
from pathlib import Path
from time import perf_counter

import torch

from laptime.bench.estimate import Estimate, difference
from laptime.bench.pairs import interleaved, timed
from laptime.bench.row import Budget, Row, measured
from laptime.bench.subject import Subject, built, step_of, synthetic_store
from laptime.benchmark import Benchmark, Context, Session
from laptime.config import Config, RunRequest, Speed
from laptime.events import Cadence, Event, Plan, Point, Sizes
from laptime.harness.one_run import Job, Run
from laptime.harness.preflight import Preflight, resolve
from laptime.harness.progress import PROGRESS_SECONDS, RunEvent
from laptime.log.write import LogWriter
from laptime.rules.model import Interval
from laptime.training.distributed.world import World
from laptime.training.loop import Batch, Supervised
from laptime.training.state import State

LOOP_BUDGET = Budget(20.0, "<=")  # microseconds per step (docs/bench.md)
EVENT_BUDGET = Budget(0.5, "<=")  # percent of a run (docs/bench.md)
ROUND = "mini"  # the round whose run is played: laptop scale
ALONE = World(0, 1, torch.device("cpu"))


def measure(subject: Subject, folder: Path, *, quick: bool) -> list[Row]:
    """Both overheads. `folder`: for the log of the played run."""
    return [loop_cost(steps=500 if quick else 20_000, pairs=4 if quick else 30),
            event_cost(subject, folder, timed_steps=2 if quick else 10)]


class EmptyLoop(Supervised[None]):
    """The shared loop around a step that does nothing."""

    def step(self, batch: Batch[None]) -> torch.Tensor:
        return ZERO


ZERO = torch.zeros(())


class Misses:
    """Plays evaluations: every metric misses its target until the last one."""

    def __init__(self, target: Mapping[str, Interval], last: int) -> None:
        self._target, self._left = target, last

    def __call__(self) -> dict[str, float]:
        self._left -= 1
        return {name: (inside if self._left <= 0 else outside)(interval) for name, interval in self._target.items()}

    def warm_up(self) -> None:
        """Nothing to compile."""


def inside(interval: Interval) -> float:
    """A value that meets a target."""
    if interval.low is not None and interval.high is not None:
        return (interval.low + interval.high) / 2
    return outward(interval, 1.0)


def outside(interval: Interval) -> float:
    """A value that misses a target."""
    return outward(interval, -1.0) if interval.high is None or interval.low is None else interval.low - 1.0


def outward(interval: Interval, sign: float) -> float:
    """A little on the good (+1) or the bad (-1) side of the only end of an interval."""
    if interval.low is not None:
        return interval.low + sign * 0.01 * abs(interval.low or 1.0)
    end = interval.high or 0.0
    return end - sign * 0.01 * abs(end or 1.0)


def empty_loop(plan: Plan, steps_per_epoch: int, evaluation: Misses) -> EmptyLoop:
    """A loop over `steps_per_epoch` empty batches per epoch."""
    model = torch.nn.Linear(1, 1)
    batch: Batch[None] = Batch((None,), plan.global_batch_size)
    return EmptyLoop(world=ALONE, plan=plan, speed=Speed("float32", "contiguous", "off", "off", "off"), model=model,
                     loss=lambda model, micro: ZERO, optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
                     schedule=NoSchedule(), batches=lambda epoch: iter(repeat(batch, steps_per_epoch)),
                     evaluation=evaluation, synthetic=lambda: iter(()), hyperparameters={}, initialised=())


class NoSchedule:
    """A `loop.Schedule` of an empty step."""

    def apply(self, step: int) -> None:
        """Nothing to write."""


def loop_cost(*, steps: int, pairs: int) -> Row:
    """Microseconds per step that the loop adds to the bare loop over the same empty step."""
    sizes = Sizes(steps, 1, steps)
    plan = Plan(1, Point(1, "epochs"), Cadence("epochs", (2,)), sizes)
    loop = empty_loop(plan, steps, Misses({}, 1))

    def whole() -> None:
        for _ in loop.train():
            pass

    def bare() -> None:
        for batch in loop.batches(1):
            loop.step(batch)

    whole()
    bare()
    found = interleaved(whole, bare, pairs)
    microseconds = difference(found.first, found.second).times(1e6 / steps)
    return measured("overhead", "training loop per step, beyond a bare loop", "us", microseconds, LOOP_BUDGET,
                    details={"steps": steps, "pairs": pairs, "bare_us": statistics.median(found.second) / steps * 1e6})


@dataclass
class Played:
    """A session that trains an empty loop and notes what each event costs the harness."""

    real: Session
    loop: EmptyLoop
    costs: dict[str, list[float]]

    def __post_init__(self) -> None:
        self.hyperparameters, self.initialised = self.real.hyperparameters, self.real.initialised

    def state(self) -> State:
        return State()

    def warm_up(self) -> None:
        """Nothing to warm up."""

    def train(self) -> Iterator[Event]:
        for event in self.loop.train():
            start = perf_counter()
            try:
                yield event
            finally:  # the last event closes this generator
                self.costs[type(event).__name__].append(perf_counter() - start)

    def evaluate(self, checkpoint: Path) -> Mapping[str, float]:
        """As the loop: refused."""
        return self.loop.evaluate(checkpoint)


def event_cost(subject: Subject, folder: Path, *, timed_steps: int) -> Row:
    """The harness's time for the events of a whole run, in percent of that run's bare training steps."""
    costs, flight = played_run(subject, folder)
    run_seconds = bare_seconds(subject, flight.config, folder, timed_steps)
    percents = harness_seconds(costs, run_seconds).times(100 / run_seconds)
    typical = {kind: statistics.median(values) * 1e6 for kind, values in costs.items()}
    return measured("overhead", f"{subject.name} harness, of a run at laptop scale", "%", percents, EVENT_BUDGET,
                    details={"events": {kind: len(values) for kind, values in costs.items()}, "median_us": typical,
                             "run_seconds": run_seconds, "run": "training steps only; evaluation and data left out"})


def harness_seconds(costs: Mapping[str, list[float]], run_seconds: float) -> Estimate:
    """All events at what they took, and the progress lines that a run of real length shows beside them.

    Played runs are too short for more than one such line; each costs about what the line of an epoch does. The interval
    runs from all events at their median to all at their slowest twentieth.
    """
    lines = {"Progress lines": (costs["Epoch"], run_seconds / PROGRESS_SECONDS)}
    parts = {kind: (values, float(len(values))) for kind, values in costs.items()} | lines
    return Estimate(sum(statistics.fmean(values) * count for values, count in parts.values()),
                    sum(statistics.median(values) * count for values, count in parts.values()),
                    sum(sorted(values)[int(0.95 * (len(values) - 1))] * count for values, count in parts.values()))


def played_run(subject: Subject, folder: Path) -> tuple[dict[str, list[float]], Preflight]:
    """Seconds per event by kind, and what was run; writes `folder`/result_0.txt."""
    folder.mkdir(exist_ok=True)
    costs: dict[str, list[float]] = defaultdict(list)
    flight = resolve(RunRequest(subject.name, round=ROUND, out=folder, device="cpu", system="bench"))
    store = synthetic_store(subject, flight.config, folder)
    playing = replace(flight, benchmark=_playing(flight, costs))
    job = Job(flight.request, 0, 1, folder / "result_0.txt", folder / "record_0.json", folder)
    writer = LogWriter(job.log, flight.round.dialect, flight.rules.log_name)
    with writer as sink, Path(os.devnull).open("wb", 0) as pipe:
        Run(job, playing, ALONE, store, sink=sink, emit=partial(_tell, pipe)).execute()
    gc.unfreeze()
    return costs, flight


def _playing(flight: Preflight, costs: dict[str, list[float]]) -> Benchmark[Config]:
    """The benchmark with its training played."""
    real = flight.benchmark.build

    def build(config: Config, ctx: Context) -> Session:
        steps = (ctx.plan.sizes.samples_per_epoch or 0) // config.global_batch_size
        cadence = ctx.plan.evaluations
        last = cadence.passed(int(ctx.plan.limit.value)) if cadence.unit == ctx.plan.limit.unit else 1
        return Played(real(config, ctx), empty_loop(ctx.plan, steps, Misses(flight.rules.target, last)), costs)

    return replace(flight.benchmark, build=build)


def _tell(pipe: FileIO, event: RunEvent) -> None:
    pipe.write(event.to_line())


def bare_seconds(subject: Subject, config: Config, folder: Path, timed_steps: int) -> float:
    """Seconds of all training steps of a run, from a few of them on synthetic batches on the CPU."""
    session = built(subject, config, ALONE, synthetic_store(subject, config, folder), folder)
    step = step_of(session)
    step()
    seconds = timed(step, timed_steps)
    sizes = session.plan.sizes
    epochs = sizes.limit_epochs or 1.0
    return seconds * epochs * (sizes.samples_per_epoch or config.global_batch_size) / config.global_batch_size
