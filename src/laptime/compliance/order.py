"""The order of a log: what the official checker tests of it, and what only the rules mean.

Timing facts, section 5 (structure of intervals); log format facts, section 5 (what the official checker leaves out).
"""

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise

from laptime.compliance.finding import Finding
from laptime.compliance.run import Run, position
from laptime.config import Json
from laptime.log.record import Record

_CLOCK = frozenset({"init_start", "init_stop", "run_start", "run_stop", "block_start"})
_EVENTS = {"start": "INTERVAL_START", "stop": "INTERVAL_END"}
_POSITIONS = ("epoch_num", "first_epoch_num", "samples_count", "step_num", "epoch")


def check_clock_order(run: Run) -> Iterator[Finding]:
    """The part of the order that the official checker tests, in file order."""
    seen: set[str] = set()
    moments = {key: moment for key, moment in run.moments.items() if moment in _CLOCK}
    initialised_apart = "init_start" in run.round.vocabulary
    for record in [record for record in run.log.records if record.key in moments]:
        moment = moments[record.key]
        if fault := _clock_fault(moment, seen, initialised_apart):
            yield run.finding("clock-order", f"{record.key} {fault}", record.line)
        seen.add(moment)


def _clock_fault(moment: str, seen: set[str], initialised_apart: bool) -> str | None:
    if moment == "init_start" and ("init_stop" in seen or "run_start" in seen):
        return "comes after " + ("init_stop" if "init_stop" in seen else "run_start")
    if moment == "init_stop":
        if "init_start" not in seen:
            return "comes without an init_start before it"
        return "comes after run_start" if "run_start" in seen else None
    if moment == "run_start" and initialised_apart and "init_stop" not in seen:
        return "comes without an init_stop before it"
    if moment in ("run_stop", "block_start") and "run_start" not in seen:
        return "comes without a run_start before it"
    return None


def check_event_types(run: Run) -> Iterator[Finding]:
    """Interval keys carry interval events; only this dialect has event types."""
    if run.log.dialect != "mllog":
        return
    ends = {key: moment.rpartition("_")[2] for key, moment in run.moments.items()}
    for record in run.structure:
        wanted = _EVENTS.get(ends[record.key], "POINT_IN_TIME")
        if record.event_type != wanted:  # a warning: nothing in the judgement depends on it
            yield run.finding("event-type", f"{record.key} is {record.event_type}, expected {wanted}", record.line,
                              "warning")


def check_time_order(run: Run) -> Iterator[Finding]:
    """Stamps of the moments that structure a run never decrease."""
    apart = {run.round.vocabulary.get("init_start")}  # one per process
    if run.rules.evaluate_offline:
        apart.add(run.round.vocabulary.get("run_stop"))  # stamped when the model was saved that was judged afterwards
    stamped = [record for record in run.structure if record.key not in apart]
    for before, after in pairwise(stamped):
        if after.time_ms < before.time_ms:
            yield run.structural("time-order", f"{after.key} is stamped {before.time_ms - after.time_ms:g} ms before "
                                               f"{before.key} (line {before.line}) above it", after.line)


def check_intervals(run: Run) -> Iterator[Finding]:
    """Pairs and nesting of run, blocks, epochs and evaluations, in file order."""
    opened: dict[str, Record] = {}
    evaluated = False  # whether the open evaluation has its accuracy
    moments = {key: moment for key, moment in run.moments.items() if not moment.startswith("init_")}
    for record in [record for record in run.structure if record.key in moments]:
        moment = moments[record.key]
        name, _, end = moment.rpartition("_")
        if moment == "eval_accuracy":
            yield from _accuracy(run, record, opened)
            evaluated = True
        if end not in ("start", "stop"):
            continue
        if end == "start":
            yield from _starts(run, record, name, opened)
            evaluated = evaluated and name != "eval"
        else:
            yield from _stops(run, record, name, opened, evaluated)


def _starts(run: Run, record: Record, name: str, opened: dict[str, Record]) -> Iterator[Finding]:
    closes = f"{name}_stop" in run.round.vocabulary
    if name in opened and closes:
        yield run.structural("interval-pairs", f"{record.key} comes before the {name} of line {opened[name].line} "
                                               "is stopped", record.line)
    if name != "run" and "run" not in opened:
        yield run.structural("interval-nesting", f"{record.key} lies outside the run", record.line)
    elif name == "epoch" and "block" not in opened and run.of("block_start"):
        yield run.structural("interval-nesting", f"{record.key} lies outside any block", record.line)
    if closes:
        opened[name] = record


def _stops(run: Run, record: Record, name: str, opened: dict[str, Record], evaluated: bool) -> Iterator[Finding]:
    start = opened.pop(name, None)
    if start is None:
        yield run.structural("interval-pairs", f"{record.key} stops nothing that is open", record.line)
    elif differing := _differing(start.metadata, record.metadata):
        yield run.structural("interval-pairs", f"{record.key} has {differing}, which is not that of line {start.line}",
                             record.line)
    if name == "block" and "eval" in opened and opened["eval"].line > (start.line if start else 0) and not evaluated:
        yield run.structural("eval-overlap", f"{record.key} comes during the evaluation of line {opened['eval'].line}",
                             record.line)
    if name == "run":
        if "eval" in opened and not evaluated:
            yield run.structural("interval-pairs", f"{record.key} comes during the evaluation of line "
                                                   f"{opened['eval'].line}, before its accuracy", record.line)
        opened.clear()  # a run that ends may leave a block or epoch open


def _differing(start: Mapping[str, Json], stop: Mapping[str, Json]) -> str | None:
    """The first position that both lines give and that differs."""
    for name in _POSITIONS:
        if name in start and name in stop and start[name] != stop[name]:
            return f"{name} {stop[name]!r}"
    return None


def _accuracy(run: Run, record: Record, opened: dict[str, Record]) -> Iterator[Finding]:
    if run.of("run_start") and "run" not in opened:
        yield run.structural("interval-nesting", f"{record.key} lies outside the run", record.line)
    elif run.of("eval_start") and "eval" not in opened:
        yield run.finding("eval-outside", f"{record.key} lies outside any evaluation", record.line, "warning")


def check_late_keys(run: Run) -> Iterator[Finding]:
    """Hyperparameters come before the clock starts; after it stops they prove nothing. A line with a position tells
    what happened there (games of a generation): it is none."""
    keys = {rule.key for rule in run.applying if not rule.common}
    started, stopped = (next((record.line for record in run.of(moment)), math.inf)
                        for moment in ("run_start", "run_stop"))
    for key in keys & run.by_key.keys() - run.moments.keys():
        record = run.by_key[key][0]
        if record.line > stopped:
            yield run.demanded("late-key", f"{record.key} is logged after the run stopped", record.line)
        elif record.line > started and run.round.clock == "from_data" and position(run, record) is None:
            yield run.finding("key-on-clock", f"{record.key} is logged while the clock runs", record.line, "warning")


def check_cache_order(run: Run) -> Iterator[Finding]:
    """Caches are cleared before anything of the run begins."""
    cleared = next(iter(run.of("cache_clear")), None)
    began = next(iter(run.of("init_start") or run.of("run_start")), None)
    if cleared and began and (cleared.line, cleared.time_ms) > (began.line, began.time_ms) \
            and cleared.time_ms >= began.time_ms:
        yield run.structural("cache-order", f"{cleared.key} comes after {began.key}", cleared.line)
