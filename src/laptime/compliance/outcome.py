"""How a run ended: its evaluations, whether it reached the target in time, what it converged at and how long it took.

Timing facts, sections 4 and 6; for logs whose run_stop says nothing (v0.5) or is missing (v0.6), the sheet on older
forms, sections 1.2 and 2. What counts as an evaluation of the run:

* usually those on the clock: after run_start and not after run_stop, by their place in the file and by their stamps;
* where a benchmark evaluates its checkpoints off the clock, all of them; the first passing position is the result;
* to the official tools, those before run_stop in the file whatever their stamps, and for the target any line at all.

A value computed in single precision may be the target itself and yet, written with all its digits, lie below it (BLEU
21.799999237060547 of a target 21.8 in v0.5): it meets the target, but to the official checker (v0.6 on) it does not.
"""

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from laptime.compliance.finding import Finding
from laptime.compliance.run import Run, meets, metrics, number, position
from laptime.config import Json
from laptime.log.record import Record
from laptime.scoring.olympic import run_minutes

_GIVEN_UP = ("aborted", "abort")
_SAME_MOMENT_MS = 100  # an evaluation written before run_stop may carry a stamp this much after it
_EVALUATED_LATER = "eval_result"  # v0.6 logs without run_stop end with it (sheet on older forms, section 2)


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    `evaluations`: those that count, in file order, the lines of several metrics at one position as one; `result`: the
    one that decided; `reached`: it meets the target; `status`: as logged or inferred.
    """

    evaluations: tuple[Record, ...]
    result: Record | None
    reached: bool
    status: str | None

    @property
    def success(self) -> bool:
        return self.status == "success"


@lru_cache(maxsize=1)  # several checks of one run ask
def outcome(run: Run) -> Outcome:
    """What became of a run. A run that ends without saying how has succeeded if the target was reached."""
    everything = merged(run.of("eval_accuracy"), run.rules.metric_key, run)
    counted = everything if run.rules.evaluate_offline else tuple(_on_the_clock(run, everything))
    result = _result(run, counted)
    passing = everything if run.level == "official" else (result,)
    reached = any(record is not None and passes(run, record) for record in passing)
    return Outcome(counted, result, reached, _status(run, everything))


def passes(run: Run, record: Record) -> bool:
    """Whether an evaluation meets the target."""
    if meets(record.value, run.rules.target):
        return True
    exact = run.level == "official" and run.log.dialect != "mlp05"
    return not exact and meets(_in_full(run, record.value), run.rules.target)


def _in_full(run: Run, value: Json) -> Json:
    """The metrics of a value, those that are a bound of the target in single precision as that bound."""
    found: dict[str, Json] = {}
    for name, logged in metrics(value, run.rules.target).items():
        bounds = (run.rules.target[name].low, run.rules.target[name].high)
        found[name] = next((bound for bound in bounds if bound is not None and logged == _single(bound)), logged)
    return found


def _single(value: float) -> float:
    """The nearest single-precision number."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


def merged(records: Sequence[Record], metric_key: str, run: Run) -> tuple[Record, ...]:
    """Evaluations with one value each: where every line holds one metric, named by its metadata `metric_key`, the lines
    of one position become a single one at the place of the last of them."""
    if not metric_key:
        return tuple(records)
    values: dict[float, dict[str, Json]] = {}
    last: dict[float, Record] = {}
    for record in records:
        name, place = record.metadata.get(metric_key), position(run, record)
        if isinstance(name, str) and place is not None:
            values.setdefault(place, {})[name] = record.value
            last[place] = record
    return tuple(sorted((replace(record, value=values[place]) for place, record in last.items()),
                        key=lambda record: record.line))


def _result(run: Run, evaluations: Sequence[Record]) -> Record | None:
    """The evaluation that decides: the last one; of checkpoints evaluated off the clock, in whatever order, the first
    position that meets the target (timing facts, section 4)."""
    if not run.rules.evaluate_offline:
        return evaluations[-1] if evaluations else None
    placed = [(place, record) for record in evaluations if (place := position(run, record)) is not None]
    passing = [(place, record) for place, record in placed if passes(run, record)]
    return min(passing or placed[-1:], key=lambda pair: pair[0], default=(0.0, None))[1]


def _status(run: Run, evaluations: Sequence[Record]) -> str | None:
    stop = run.stop()
    logged = stop.metadata.get("status") if stop else None
    if logged is None and (run.log.dialect == "mlp05" if stop else _seconds_later(run) is not None):
        logged = "success" if any(passes(run, record) for record in evaluations) else "aborted"
    return logged if isinstance(logged, str) else None


def _on_the_clock(run: Run, evaluations: Sequence[Record]) -> Iterator[Record]:
    """Evaluations between run_start and run_stop, in file order and (but for the official tools) by their stamps."""
    start, stop = run.start(), run.stop()
    latest = math.inf if stop is None or run.level == "official" else stop.time_ms + _SAME_MOMENT_MS
    for record in evaluations:
        before = start is not None and record.line < start.line
        after = stop is not None and record.line > stop.line
        if not before and not after and record.time_ms <= latest:
            yield record


def minutes(run: Run) -> float | None:
    """From run_start to run_stop; where models were evaluated after training and no run_stop follows, to the moment
    that the closing line of the evaluation gives. None where the log does not tell."""
    start, stop = run.start(), run.stop()
    if start and stop:
        return run_minutes(start.time_ms, stop.time_ms)
    seconds = _seconds_later(run)
    return None if start is None or seconds is None else seconds / 60


def _seconds_later(run: Run) -> float | None:
    """Seconds from run_start to the model that won, in logs that have a line for it instead of run_stop."""
    lines = () if run.stop() else run.by_key.get(_EVALUATED_LATER, ())
    seconds = number(lines[-1].metadata.get("timestamp")) if lines else None
    return seconds if seconds is not None and math.isfinite(seconds) else None


def convergence(run: Run, found: Outcome) -> float | None:
    """Position of the evaluation that decided a run that succeeded, to three decimals (RCP facts, section 1)."""
    if not found.success or found.result is None:
        return None
    place = position(run, found.result)
    return round(place, 3) if place is not None and math.isfinite(place) else None


def curve(run: Run, found: Outcome) -> tuple[tuple[float, float], ...]:
    """(position, value of the target's first metric) of every evaluation that has both."""
    first = next(iter(run.rules.target))
    points = ((position(run, record), metrics(record.value, run.rules.target)[first]) for record in found.evaluations)
    return tuple((x, y) for x, y in points if x is not None and y is not None)


def check_outcome(run: Run) -> Iterator[Finding]:
    """The run says how it ended, and a success is one."""
    found, stop = outcome(run), run.stop()
    if stop is None:
        return
    if found.status in _GIVEN_UP:
        yield run.finding("run-status", "the run was given up: it counts as one that did not converge", stop.line,
                          "warning")
    elif not found.success:
        yield run.demanded("run-status", f"{stop.key} has status {found.status!r}, expected 'success' or 'aborted'",
                             stop.line)
    elif not found.reached:
        last = found.result
        value = f"{_which(run)} gives {_shown(last, run)}" if last else "no evaluation comes before it"
        yield run.demanded("target-missed", f"{stop.key} says success, but {value}, expected {_target(run)}",
                             last.line if last else stop.line)
    elif not run.rules.evaluate_offline:
        yield from _late(run, found)


def _which(run: Run) -> str:
    return "the last checkpoint" if run.rules.evaluate_offline else "the last evaluation before it"


def _late(run: Run, found: Outcome) -> Iterator[Finding]:
    for record in found.evaluations[:-1]:
        if passes(run, record):
            yield run.finding("stopped-late", f"this evaluation ({_shown(record, run)}) met the target already, and "
                                              "the clock ran on", record.line, "note")
            return


def _shown(record: Record, run: Run) -> str:
    found = metrics(record.value, run.rules.target)
    return ", ".join(f"{name} {'nothing' if value is None else format(value, 'g')}" for name, value in found.items())


def _target(run: Run) -> str:
    return " and ".join(f"{name} {interval}" for name, interval in run.rules.target.items())
