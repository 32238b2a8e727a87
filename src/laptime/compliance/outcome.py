"""How a run ended: its evaluations, whether it reached the target in time, and what it converged at.

Timing facts, sections 4 and 6; for logs whose run_stop says nothing (v0.5), the sheet on older forms, section 1.2.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from laptime.compliance.finding import Finding
from laptime.compliance.run import Run, meets, metrics, position
from laptime.log.record import Record

_GIVEN_UP = ("aborted", "abort")


@dataclass(frozen=True)
class Outcome:
    """`evaluations`: those on the clock; `reached`: the last one meets the target; `status`: as logged or inferred."""

    evaluations: tuple[Record, ...]
    reached: bool
    status: str | None

    @property
    def success(self) -> bool:
        return self.status == "success"


def outcome(run: Run) -> Outcome:
    """What became of a run. A run that ends without saying how has succeeded if the target was reached (v0.5)."""
    evaluations = tuple(_timed(run))
    reached = bool(evaluations) and meets(evaluations[-1].value, run.rules.target)
    stop = run.stop()
    logged = stop.metadata.get("status") if stop else None
    if stop and logged is None and run.log.dialect == "mlp05":
        logged = "success" if any(meets(record.value, run.rules.target) for record in evaluations) else "aborted"
    return Outcome(evaluations, reached, logged if isinstance(logged, str) else None)


def _timed(run: Run) -> Iterator[Record]:
    """Evaluation lines between run_start and run_stop, in file order and by their stamps."""
    start, stop = run.start(), run.stop()
    for record in run.of("eval_accuracy"):
        before = start is not None and record.line < start.line
        after = stop is not None and (record.line > stop.line or record.time_ms > stop.time_ms)
        if not before and not after:
            yield record


def convergence(run: Run, found: Outcome) -> float | None:
    """Position at the last evaluation of a run that says it succeeded, to three decimals as the RCP check takes it."""
    if not found.success or not found.evaluations:
        return None
    place = position(run, found.evaluations[-1])
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
        yield run.structural("run-status", f"{stop.key} has status {found.status!r}, expected 'success' or 'aborted'",
                             stop.line)
    elif not found.reached:
        last = found.evaluations[-1] if found.evaluations else None
        value = f"the last evaluation before it gives {_shown(last, run)}" if last else "no evaluation comes before it"
        yield run.structural("target-missed", f"{stop.key} says success, but {value}, expected {_target(run)}",
                             last.line if last else stop.line)
    else:
        yield from _late(run, found)


def _late(run: Run, found: Outcome) -> Iterator[Finding]:
    for record in found.evaluations[:-1]:
        if meets(record.value, run.rules.target):
            yield run.finding("stopped-late", f"this evaluation ({_shown(record, run)}) met the target already, and "
                                              "the clock ran on", record.line, "note")
            return


def _shown(record: Record, run: Run) -> str:
    found = metrics(record.value, run.rules.target)
    return ", ".join(f"{name} {'nothing' if value is None else format(value, 'g')}" for name, value in found.items())


def _target(run: Run) -> str:
    return " and ".join(f"{name} {interval}" for name, interval in run.rules.target.items())
