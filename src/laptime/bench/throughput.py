"""Training steps of ours and of an independent implementation at its best: same device, same run, turn by turn."""

import gc
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from laptime.bench.estimate import geometric_mean, ratio
from laptime.bench.pairs import OutOfTime, Step, at_most, calls_for, interleaved, timed
from laptime.bench.row import Budget, Row, measured, skipped
from laptime.bench.subject import Subject, built, step_of, synthetic_store
from laptime.config import Config, Json
from laptime.errors import UnknownName, UserError
from laptime.training.distributed.world import World

BUDGET = Budget(1.2, ">=")  # times the samples/s of the best public implementation (docs/bench.md)
SHORTEST_STEP_S = 0.020  # below this a step measures Python, and the budget does not hold (docs/bench.md)
PAIRS_LIMIT_S = 180.0  # that a comparison takes; steps that last long make fewer pairs, ...
LEAST_PAIRS = 5  # ... but these, so that there is an interval
WARM_LIMIT_S = 10.0  # of steps that only tell how long one takes
PEER_LIMIT_S = 180.0  # to build and compile one form of a peer; one that takes longer is left out
MARKS = "marks.toml"
UNIT = "samples/s"
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Effort:
    """How long to measure. `block_s`: least seconds of one timed block; `cases`, forms of the peer: None for all."""

    pairs: int
    block_s: float
    cases: int | None
    forms: int | None

    def pairs_of(self, seconds: float) -> int:
        """How many pairs that take `seconds` each: as many as asked for while time allows."""
        return min(self.pairs, max(LEAST_PAIRS, int(PAIRS_LIMIT_S / max(seconds, 1e-9))))


THOROUGH = Effort(pairs=12, block_s=0.5, cases=None, forms=None)
QUICK = Effort(pairs=2, block_s=0.0, cases=1, forms=1)


def measure(subject: Subject, world: World, folder: Path, effort: Effort, tell: Tell,
            *, only: Sequence[str] = ()) -> list[Row]:
    """Ours, the peer and their ratio for every case, or those named in `only`. Raises UnknownName."""
    known = subject.comparison.CASES
    for name in only:
        if name not in known:
            raise UnknownName(f"benchmark '{subject.name}' has no case '{name}'",
                              hint="Its cases: " + ", ".join(f"'{one}'" for one in known) + ".")
    bench = Bench(subject, world, folder, effort, tell)
    names = only or list(known)[:effort.cases]
    return [row for name in names for row in _case(bench, name, known[name](world.device))]


@dataclass(frozen=True)
class Bench:
    """What is the same for all cases."""

    subject: Subject
    world: World
    folder: Path
    effort: Effort
    tell: Tell


def _case(bench: Bench, name: str, config: Config) -> Iterator[Row]:
    subject, world, folder, effort = bench.subject, bench.world, bench.folder, bench.effort
    bench.tell(f"training steps of {subject.name} {name}")
    session = built(subject, config, world, synthetic_store(subject, config, folder), folder)
    step = step_of(session)
    shared: dict[str, Json] = {"batch": config.global_batch_size, "device": str(world.device),
                               "threads": torch.get_num_threads(), "dtype": session.speed.dtype}
    details = {**shared, **vars(session.speed)}
    what = f"{subject.name} {name}, batch {config.global_batch_size}"
    if session.speed.compile != "off":
        torch._dynamo.reset()  # or the shapes of the case before would make this one's dynamic, as in no real run
    mine = _warm(step, world)
    best = _best_peer(bench, config)
    mark = mark_of(subject.folder, name, world.device)
    if isinstance(best, str):
        blocks, calls = effort.pairs_of(max(mine, effort.block_s)), calls_for(mine, effort.block_s)
        times = [timed(step, calls, world.synchronise) for _ in range(blocks)]
        yield _rate(what, config, times, details, mark)
        yield skipped("train", f"{what}: ratio to a peer", "x", best)
        return
    both = (calls_for(mine, effort.block_s), calls_for(best.seconds, effort.block_s))
    pairs = effort.pairs_of(both[0] * mine + both[1] * best.seconds)
    found = interleaved(step, best.step, pairs, calls=both, synchronise=world.synchronise)
    yield _rate(what, config, found.first, details, mark)
    yield _rate(f"{what}: {best.name}", config, found.second, {**shared, "tried": best.tried}, "")
    judged = min(found.first) >= SHORTEST_STEP_S
    yield measured("train", f"{what}: ratio to that", "x", ratio(found.second, found.first), BUDGET if judged else None,
                   note="" if judged else f"steps under {SHORTEST_STEP_S * 1000:.0f} ms: not judged",
                   details={"pairs": pairs, "calls": list(both)})


def _rate(what: str, config: Config, seconds: list[float], details: dict[str, Json], mark: str) -> Row:
    rates = geometric_mean([config.global_batch_size / one for one in seconds])
    return measured("train", what, UNIT, rates, mark=mark,
                    details={**details, "step_ms": 1000 * config.global_batch_size / rates.value})


@dataclass(frozen=True)
class Peer:
    """An independent implementation ready to step. `tried`: seconds per step of every form that was."""

    name: str
    step: Step
    seconds: float
    tried: dict[str, Json]


def _best_peer(bench: Bench, config: Config) -> Peer | str:
    """The fastest form, or in words why there is none."""
    best, tried, why = None, dict[str, Json](), "no peer"
    world = bench.world
    for name, build in list(bench.subject.comparison.PEERS.items())[:bench.effort.forms]:
        try:
            with at_most(PEER_LIMIT_S):
                step = build(config, world.device)
                seconds = _warm(step, world)
        except UserError as error:
            why = str(error)
            tried[name] = why
        except OutOfTime:
            tried[name] = f"left out: not ready after {PEER_LIMIT_S:.0f} s"
        except RuntimeError as error:  # a compiler that fails on this machine in one of its many ways
            tried[name] = f"left out: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        else:
            tried[name] = seconds
            best = Peer(name, step, seconds, tried) if best is None or seconds < best.seconds else best
            del step
        gc.collect()
        bench.tell(f"  {name}: {tried[name] if isinstance(tried[name], str) else f'{tried[name]:.4g} s per step'}")
    return best or why


def _warm(step: Step, world: World) -> float:
    """Seconds of the fastest of three steps (one where they last long) after two that compile and allocate."""
    timed(step, 2, world.synchronise)
    fastest = timed(step, 1, world.synchronise)
    more = 2 if fastest < WARM_LIMIT_S / 3 else 0
    return min([fastest, *(timed(step, 1, world.synchronise) for _ in range(more))])


def mark_of(folder: Path, case: str, device: torch.device) -> str:
    """What a plain implementation reaches on such a device, by the benchmark's `marks.toml`; "" where none is known."""
    path = folder / MARKS
    if device.type != "cuda" or not path.is_file():
        return ""
    hardware = torch.cuda.get_device_name(device)
    for mark in tomllib.loads(path.read_text())["marks"]:
        if mark["case"] == case and any(name in hardware for name in mark["hardware"]):
            return f"{mark['samples_per_second']:g}"
    return ""
