"""Numbers of epochs, blocks and evaluations, and how often a run evaluates.

Timing facts, sections 4 and 5. Extra evaluations are legal unless used to stop, so they are warnings.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from laptime.compliance.finding import Finding
from laptime.compliance.outcome import outcome
from laptime.compliance.run import Run, number, position
from laptime.log.record import Record, distinct
from laptime.rules.formula import Formula, FormulaError

_EPOCH_KEYS = ("epoch_num", "epoch")
_MOST_POINTS = 100_000


def check_epochs(run: Run) -> Iterator[Finding]:
    """Whole epochs are numbered from the round's first number without gaps."""
    expected = float(run.round.first_epoch)
    for record in distinct(run.of("epoch_start")):
        found = _epoch(record)
        if found is None or not found.is_integer():
            return
        if found != expected:
            yield run.structural("epoch-numbers", f"{record.key} has number {found:g}, expected {expected:g}",
                                 record.line)
        expected = found + 1


def check_blocks(run: Run) -> Iterator[Finding]:
    """A block begins where the one before it ended. A warning: nothing is computed from these numbers."""
    expected: float | None = float(run.round.first_epoch)
    for record in distinct(run.of("block_start")):
        first, count = number(record.metadata.get("first_epoch_num")), number(record.metadata.get("epoch_count"))
        if first is None:
            continue
        if expected is not None and first != expected:
            yield run.finding("block-numbers", f"{record.key} begins with epoch {first:g}, expected {expected:g}",
                              record.line, "warning")
        expected = None if count is None else first + count


def check_evaluations(run: Run) -> Iterator[Finding]:
    """Evaluations go forward and come at the prescribed points."""
    evaluations = distinct(outcome(run).evaluations)
    placed = [(place, record) for record in evaluations if (place := position(run, record)) is not None]
    for (before, _), (place, record) in pairwise(placed):
        if place < before:
            yield run.structural("eval-position", f"{record.key} is at {place:g} after one at {before:g}", record.line)
    in_epochs = run.rules.evaluations.unit == "epochs" and run.rules.position.key in _EPOCH_KEYS
    if in_epochs and run.division == "closed" and len(placed) == len(evaluations):  # the open one evaluates as it likes
        yield from _cadence(run, {place - run.round.first_epoch + 1: record for place, record in placed})


def _cadence(run: Run, found: dict[float, Record]) -> Iterator[Finding]:
    """`found`: evaluations by the number of finished epochs."""
    names = {rule.name: run.names[rule.key] for rule in run.rules.keys if rule.key in run.names}
    step = _value(run.rules.evaluations.step, names) or 0.0
    points = [_value(point, names) for point in run.rules.evaluations.points]
    if not found or (step and max(found) / step > _MOST_POINTS):
        return
    if any(point is None for point in points):  # the first point is a choice that is not logged
        missing, prescribed = _stretches(sorted(found), step), _grid(found, step)
    else:
        prescribed = _listed([point for point in points if point is not None], step, max(found))
        missing = sorted(prescribed - found.keys())
    text, key = run.rules.evaluations.text, next(iter(found.values())).key
    for point in missing:
        after = next(record for place, record in sorted(found.items()) if place > point)
        yield run.structural("eval-missing", f"no {key} after epoch {point:g}, expected {text}", after.line)
    if extra := sorted(found.keys() - prescribed):
        shown = ", ".join(f"{place:g}" for place in extra[:5]) + (", ..." if len(extra) > 5 else "")
        yield run.finding("eval-extra", f"{len(extra)} {key} beside the prescribed points (after epoch {shown}), "
                                        f"expected {text}", found[extra[0]].line, "warning")


def _stretches(places: Sequence[float], step: float) -> list[float]:
    """Where an evaluation should have come at the latest: stretches longer than `step`, from the start of training."""
    return [before + step for before, after in pairwise([0.0, *places]) if step and after - before > step]


def _grid(found: Mapping[float, Record], step: float) -> set[float]:
    """The evaluations that lie on the most frequent of the grids of width `step`."""
    if not step:
        return set(found)
    offset = Counter(place % step for place in found).most_common(1)[0][0]
    return {place for place in found if place % step == offset}


def _listed(points: list[float], step: float, last: float) -> set[float]:
    while step and points and points[-1] + step <= last:
        points.append(points[-1] + step)
    return {point for point in points if point <= last}


def _value(formula: Formula | None, names: Mapping[str, object]) -> float | None:
    if formula is None:
        return None
    try:
        value = formula.value(names)
    except FormulaError:
        return None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None


def _epoch(record: Record) -> float | None:
    return next((found for key in _EPOCH_KEYS if (found := number(record.metadata.get(key))) is not None), None)
