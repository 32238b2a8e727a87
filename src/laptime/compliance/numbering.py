"""Numbers of epochs, blocks and evaluations, and how often a run evaluates.

Timing facts, sections 4 and 5. Extra evaluations are legal unless used to stop, so they are warnings.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise

from laptime.compliance.finding import Finding
from laptime.compliance.outcome import outcome
from laptime.compliance.run import Run, distinct, number, position
from laptime.log.record import Record
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
    """A block begins where the one before it ended."""
    expected: float | None = float(run.round.first_epoch)
    for record in distinct(run.of("block_start")):
        first, count = number(record.metadata.get("first_epoch_num")), number(record.metadata.get("epoch_count"))
        if first is None:
            continue
        if expected is not None and first != expected:
            yield run.structural("block-numbers", f"{record.key} begins with epoch {first:g}, expected {expected:g}",
                                 record.line)
        expected = None if count is None else first + count


def check_evaluations(run: Run) -> Iterator[Finding]:
    """Evaluations go forward and come at the prescribed points."""
    placed = [(place, record) for record in distinct(outcome(run).evaluations)
              if (place := position(run, record)) is not None]
    for (before, _), (place, record) in pairwise(placed):
        if place < before:
            yield run.structural("eval-position", f"{record.key} is at {place:g} after one at {before:g}", record.line)
    if run.rules.evaluations.unit == "epochs" and run.rules.position.key in _EPOCH_KEYS:
        yield from _cadence(run, {place - run.round.first_epoch + 1: record for place, record in placed})


def _cadence(run: Run, found: dict[float, Record]) -> Iterator[Finding]:
    """`found`: evaluations by the number of finished epochs."""
    prescribed = _prescribed(run, min(found), max(found)) if found else None
    if prescribed is None:
        return
    text, key = run.rules.evaluations.text, next(iter(found.values())).key
    for point in sorted(prescribed - found.keys()):
        after = next(record for place, record in found.items() if place > point)
        yield run.structural("eval-missing", f"no {key} after epoch {point:g}, expected {text}", after.line)
    extra = sorted(found.keys() - prescribed)
    if extra:
        shown = ", ".join(f"{place:g}" for place in extra[:5]) + (", ..." if len(extra) > 5 else "")
        yield run.finding("eval-extra", f"{len(extra)} {key} beside the prescribed points (after epoch {shown}), "
                                        f"expected {text}", found[extra[0]].line, "warning")


def _prescribed(run: Run, first: float, last: float) -> set[float] | None:
    """Prescribed points up to `last`; where the first depends on an unlogged choice, the first found stands for it."""
    names = {rule.name: run.names[rule.key] for rule in run.rules.keys if rule.key in run.names}
    step = _value(run.rules.evaluations.step, names)
    points = [_value(point, names) for point in run.rules.evaluations.points]
    if any(point is None for point in points):
        points = [first if not step or first <= step else step]
    listed = [point for point in points if point is not None]
    if not listed or (step and (last - listed[-1]) / step > _MOST_POINTS):
        return None
    while step and listed[-1] + step <= last:
        listed.append(listed[-1] + step)
    return {point for point in listed if point <= last}


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
