"""Numbers of epochs, blocks and evaluations, and how often a run evaluates.

Timing facts, sections 4 and 5. Extra evaluations are legal unless used to stop, so they are warnings.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from laptime.compliance.finding import Finding
from laptime.compliance.outcome import outcome
from laptime.compliance.run import Run, number, position
from laptime.log.record import Record, distinct
from laptime.rules.formula import Formula, FormulaError

_EPOCH_KEYS = ("epoch_num", "epoch")
_DECIMALS = 0.01  # fractions of an epoch are written with two decimals
_UNSURE = 0.05  # of an interval, where positions are known only roughly


def check_epochs(run: Run) -> Iterator[Finding]:
    """Whole epochs are numbered from the round's first number without gaps, or by position."""
    if run.rules.position.everywhere:
        return
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
    expected: float | None = None if run.rules.position.everywhere else float(run.round.first_epoch)
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
    offline = run.rules.evaluate_offline  # checkpoints are evaluated in any order
    for (before, _), (place, record) in pairwise(placed):
        if place < before and not offline:
            yield run.structural("eval-position", f"{record.key} is at {place:g} after one at {before:g}", record.line)
    if run.division != "closed" or len(placed) != len(evaluations):  # the open one evaluates as it likes
        return
    cadence = _cadence(run)
    if cadence and placed:
        yield from _missing(run, cadence, dict(placed))
        if not offline:
            yield from _extra(run, cadence, dict(placed))


@dataclass(frozen=True)
class _Cadence:
    """When a run evaluates, in the unit that its lines count in.

    `start`: what a line at the start of training would say; `points`: the prescribed points, None where the first is
    the submitter's choice; `step`: from the last of them on, 0 for none; `batch`: how far a point may be rounded up;
    `slack`: for positions that are rounded or that a run knows only roughly.
    """

    start: float
    points: tuple[float | None, ...]
    step: float
    batch: float
    slack: float

    def rounded_up(self, distance: float) -> float:
        """A distance as whole batches."""
        return math.ceil(distance / self.batch - 1e-6) * self.batch if self.batch else distance

    def latest(self, point: float) -> float:
        """A prescribed point, rounded up to the next batch."""
        return self.start + self.rounded_up(point - self.start) + self.slack


def _cadence(run: Run) -> _Cadence | None:
    """The prescribed points by the values of the log; None where it lacks one that they need."""
    names = {rule.name: run.names[rule.key] for rule in run.rules.keys if rule.key in run.names} | dict(run.names)
    start, batch = _place(run, names, 0), _number(names.get("global_batch_size"))
    prescribed = run.rules.evaluations
    step = _distance(run, names, _value(prescribed.step, names)) if prescribed.step else 0.0
    if start is None or step is None or (prescribed.unit == "samples" and not batch):
        return None
    found = [_value(point, names) for point in prescribed.points]
    points = tuple(None if point is None else _place(run, names, point) for point in found)
    if None in points and not step:
        return None
    rounding = _distance(run, names, batch) if prescribed.unit == "samples" else 0.0
    slack = _UNSURE * step if prescribed.lenient else _DECIMALS if 0 < step < 1 else 1e-6 * step
    return _Cadence(start, points, step, rounding or 0.0, slack)


def _place(run: Run, names: Mapping[str, object], point: float) -> float | None:
    """What a line says after `point` samples or epochs, whichever the rules count in."""
    batch, size = _number(names.get("global_batch_size")), _number(run.names.get(_key(run, "train_samples")))
    if batch and size:
        size = size // batch * batch or size
    if run.rules.evaluations.unit == "epochs":
        at = {"epoch": point, **({"samples": point * size} if size else {})}
    else:
        at = {"samples": point, **({"step": point / batch} if batch else {}),
              **({"samples_per_epoch": size} if size else {})}
    return _value(run.rules.position.value, {**names, **at}, least=-math.inf)


def _key(run: Run, moment: str) -> str:
    return run.round.vocabulary.get(moment, moment)


def _distance(run: Run, names: Mapping[str, object], length: float | None) -> float | None:
    if length is None:
        return None
    end, start = _place(run, names, length), _place(run, names, 0)
    return None if end is None or start is None else end - start


def _missing(run: Run, cadence: _Cadence, found: Mapping[float, Record]) -> Iterator[Finding]:
    """Stretches without an evaluation that are longer than the prescribed ones."""
    for before, after in _stretches(run, cadence, sorted(found)):
        message = f"no {found[after].key} between {before:g} and {after:g}, expected {run.rules.evaluations.text}"
        if run.rules.evaluations.lenient:
            yield run.finding("eval-missing", message, found[after].line, "warning")
        else:
            yield run.demanded("eval-missing", message, found[after].line)


def _stretches(run: Run, cadence: _Cadence, places: Sequence[float]) -> Iterator[tuple[float, float]]:
    if run.rules.evaluate_offline:
        places = _around_result(run, cadence, places)
    elif len(cadence.points) > 1:
        for point in cadence.points:
            yield from _left_out(cadence, places, point)
        places = [place for place in places if place >= (cadence.points[-1] or 0.0)]
    elif (first := cadence.points[0]) is None:
        places = [cadence.start, *places]
    elif places[0] > cadence.latest(first):
        yield cadence.start, places[0]
    longest = cadence.rounded_up(cadence.step) + cadence.slack
    yield from ((before, after) for before, after in pairwise(places) if cadence.step and after - before > longest)


def _around_result(run: Run, cadence: _Cadence, places: Sequence[float]) -> Sequence[float]:
    """The result of a run and the checkpoint before it, which must be evaluated; others may be left out."""
    found = outcome(run)
    last = position(run, found.result) if found.success and found.result else None
    return [] if last is None else [cadence.start, *(place for place in places if place <= last)][-2:]


def _left_out(cadence: _Cadence, places: Sequence[float], point: float | None) -> Iterator[tuple[float, float]]:
    """The evaluations before and after a listed point that has none, if the run went on beyond it."""
    if point is None or any(point - cadence.slack <= place <= cadence.latest(point) for place in places):
        return
    after = [place for place in places if place > cadence.latest(point)]
    if after:
        yield max((place for place in places if place < point), default=cadence.start), after[0]


def _extra(run: Run, cadence: _Cadence, found: Mapping[float, Record]) -> Iterator[Finding]:
    """Evaluations that come sooner than prescribed after the one before."""
    known = [point for point in cadence.points if point is not None]
    extra, last, listed = [], -math.inf, len(known) > 1
    for place in sorted(found):
        early = place < max(last + cadence.step - cadence.batch, known[0] if known else -math.inf) - cadence.slack
        if early or (listed and place <= known[-1] and not _is_listed(cadence, known, place)):
            extra.append(place)
        else:
            last = place
    if extra:
        shown = ", ".join(f"{place:g}" for place in extra[:5]) + (", ..." if len(extra) > 5 else "")
        line = found[extra[0]]
        yield run.finding("eval-extra", f"{len(extra)} {line.key} beside the prescribed points (at {shown}), "
                                        f"expected {run.rules.evaluations.text}", line.line, "warning")


def _is_listed(cadence: _Cadence, points: Sequence[float], place: float) -> bool:
    return any(0 <= place - point < max(cadence.batch, 1) for point in points)


def _value(formula: Formula | None, names: Mapping[str, object], least: float = 0.0) -> float | None:
    """The value of a formula, if it is a number above `least`; None where a name is missing."""
    if formula is None:
        return None
    try:
        return _number(formula.value(names), least)
    except FormulaError:
        return None


def _number(value: object, least: float = 0.0) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if least < value < 1e18 else None


def _epoch(record: Record) -> float | None:
    return next((found for key in _EPOCH_KEYS if (found := number(record.metadata.get(key))) is not None), None)
