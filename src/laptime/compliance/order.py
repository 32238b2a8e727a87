"""The order of a log: what the official checker tests of it, and what only the rules mean.

Timing facts, section 5 (structure of intervals); log format facts, section 5 (what the official checker leaves out).
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise

from laptime.compliance.finding import Finding
from laptime.compliance.run import Run
from laptime.config import Json
from laptime.log.record import Record

_POSITIONS = ("epoch_num", "first_epoch_num", "samples_count", "step_num", "epoch")


def check_clock_order(run: Run) -> Iterator[Finding]:
    """The part of the order that the official checker tests, in file order."""
    seen: set[str] = set()
    for record in run.log.records:
        moment = run.moments.get(record.key)
        if moment is None:
            continue
        if fault := _clock_fault(moment, seen, "init_start" in run.round.vocabulary):
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
    for record in run.structure:
        end = run.moments[record.key].rpartition("_")[2]
        wanted = {"start": "INTERVAL_START", "stop": "INTERVAL_END"}.get(end, "POINT_IN_TIME")
        if record.event_type != wanted:  # a warning: nothing in the judgement depends on it
            yield run.finding("event-type", f"{record.key} is {record.event_type}, expected {wanted}", record.line,
                              "warning")


def check_time_order(run: Run) -> Iterator[Finding]:
    """Stamps of the moments that structure a run never decrease."""
    stamped = [record for record in run.structure if run.moments[record.key] != "init_start"]  # one per process
    for before, after in pairwise(stamped):
        if after.time_ms < before.time_ms:
            yield run.structural("time-order", f"{after.key} is stamped {before.time_ms - after.time_ms:g} ms before "
                                               f"{before.key} (line {before.line}) above it", after.line)


def check_intervals(run: Run) -> Iterator[Finding]:
    """Pairs and nesting of run, blocks, epochs and evaluations, in file order."""
    opened: dict[str, Record] = {}
    evaluated = False  # whether the open evaluation has its accuracy
    for record in run.structure:
        moment = run.moments[record.key]
        name, _, end = moment.rpartition("_")
        if moment == "eval_accuracy":
            yield from _accuracy(run, record, opened)
            evaluated = True
        if name == "init" or end not in ("start", "stop"):
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
    """Hyperparameters come before the clock starts; after it stops they prove nothing."""
    keys = {rule.key for rule in run.rules.applying(run.division, run.authority, run.names) if not rule.common}
    started = stopped = False
    for record in run.log.records:
        moment = run.moments.get(record.key, "")
        started, stopped = started or moment == "run_start", stopped or moment == "run_stop"
        if record.key not in keys or moment or run.by_key[record.key][0] is not record:
            continue
        if stopped:
            yield run.structural("late-key", f"{record.key} is logged after the run stopped", record.line)
        elif started and run.round.clock == "from_data":
            yield run.finding("key-on-clock", f"{record.key} is logged while the clock runs", record.line, "warning")


def check_cache_order(run: Run) -> Iterator[Finding]:
    """Caches are cleared before anything of the run begins."""
    cleared = next(iter(run.of("cache_clear")), None)
    began = next(iter(run.of("init_start") or run.of("run_start")), None)
    if cleared and began and (cleared.line, cleared.time_ms) > (began.line, began.time_ms) \
            and cleared.time_ms >= began.time_ms:
        yield run.structural("cache-order", f"{cleared.key} comes after {began.key}", cleared.line)
