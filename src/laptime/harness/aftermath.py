"""The log of a run whose process died before it could end it: closed afterwards, so that it says `aborted`.

A rank that was killed, or whose main thread never came back from a call, writes no last lines. Whoever started it does.
"""

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from laptime.config import Json
from laptime.errors import RunFailed
from laptime.log.read import read_log
from laptime.log.record import Record
from laptime.log.write import LogWriter
from laptime.rules.model import BenchmarkRules, Round


def close_log(path: Path, round_: Round, rules: BenchmarkRules) -> bool:
    """Append what is missing to a log whose clock ran: ends of open intervals, run_stop, aborted. False: nothing was.

    The lines are stamped with the last time that the file was written. Without room for them the log stays as it is; it
    parses all the same.
    """
    records = read_log(path).records
    start, stop = round_.vocabulary.get("run_start"), round_.vocabulary.get("run_stop")
    keys = [record.key for record in records]
    if start not in keys or stop is None or stop in keys:
        return False
    stamp = max(path.stat().st_mtime_ns // 1_000_000, int(max(record.time_ms for record in records)))
    with suppress(RunFailed), LogWriter.appending(path, round_.dialect, rules.log_name) as log:
        for record in reversed(_open(records, _pairs(round_))):
            log.write(Record(_pairs(round_)[record.key], None, stamp, "INTERVAL_END", _place() | _rest(record)))
        log.write(Record(stop, None, stamp, "INTERVAL_END", _place() | {"status": "aborted"}))
        final = round_.vocabulary.get("run_final")
        if final is not None:
            log.write(Record(final, None, stamp, "POINT_IN_TIME", _place()))
    return True


def _pairs(round_: Round) -> dict[str, str]:
    """Keys that begin an interval inside a run, with those that end it, in this round."""
    moments = ((f"{name}_start", f"{name}_stop") for name in ("epoch", "block", "eval"))
    known = round_.vocabulary
    return {known[start]: known[stop] for start, stop in moments if start in known and stop in known}


def _open(records: Sequence[Record], pairs: Mapping[str, str]) -> list[Record]:
    """The beginnings whose ends are missing, in their order."""
    begins = {end: begin for begin, end in pairs.items()}
    begun: dict[str, Record] = {}
    for record in records:
        if record.key in pairs:
            begun[record.key] = record
        elif record.key in begins:
            begun.pop(begins[record.key], None)
    return list(begun.values())


def _rest(record: Record) -> dict[str, Json]:
    """What the end of an interval repeats of its beginning."""
    return {name: value for name, value in record.metadata.items() if name not in ("file", "lineno", "epoch_count")}


def _place() -> dict[str, Json]:
    return {"file": "laptime/harness/aftermath.py", "lineno": sys._getframe(1).f_lineno}
