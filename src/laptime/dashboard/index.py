"""What every page needs at once: a row per result, the rounds and the benchmarks. The rest is loaded when asked for.

`deviation`, `freedom` of a result: standard error of the mean of its runs relative to that mean, and its degrees of
freedom, by winsorised variance (Yuen 1974; Wilcox 2017, section 4.3): the olympic mean is a trimmed one, and the
variance of the kept runs alone would be too small.
"""

import math
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

from laptime.config import Json
from laptime.dashboard.embed import columns
from laptime.results.store import key_number
from laptime.scoring.olympic import mean
from laptime.scoring.spread import sample_deviation

SHOWN: Final = (
    "entry", "round", "label", "division", "availability", "submitter", "system", "system_name", "framework", "nodes",
    "processor", "processors", "accelerator", "accelerators", "chips", "benchmark", "comparable_since", "minutes",
    "chip_minutes", "node_minutes", "measured_minutes", "factor", "runs", "converged", "kept", "fastest_run",
    "slowest_run", "spread", "init_minutes", "batch_size", "unit", "convergence", "samples_to_converge", "rcp_passed",
    "rcp_verdict", "rcp_mean", "rcp_minimum", "rcp_margin", "uncertainty", "joules", "publishable", "published_minutes",
    "errors", "warnings", "description", "file")
_TIMES: Final = """
    SELECT entry, counts, minutes FROM runs
    WHERE counts IN ('kept', 'fastest', 'slowest') ORDER BY entry, number"""


def index(connection: sqlite3.Connection, made: str) -> dict[str, Json]:
    """The value of data/index.js. `made`: when the store was last written, in words."""
    rows = [tuple(row) for row in connection.execute(
        f"SELECT {', '.join(SHOWN)} FROM results ORDER BY benchmark, round_number, minutes IS NULL, minutes, entry")]
    errors = standard_errors(connection)
    none: tuple[Json, Json] = (None, None)
    return {
        "made": made,
        "results": columns((*SHOWN, "deviation", "freedom"), [(*row, *errors.get(row[0], none)) for row in rows]),
        "rounds": _objects(connection, "SELECT name, number, kind, title, normalised FROM round ORDER BY number"),
        "benchmarks": _objects(connection, """
            SELECT b.round, b.name, b.log_name, b.title, b.area, b.dataset, b.model, b.metric, b.target, b.runs,
                   b.dropped, b.max_failures, b.unit, b.comparable_since
            FROM benchmark AS b JOIN round AS r ON r.name = b.round ORDER BY b.name, r.number"""),
        "targets": _objects(connection, "SELECT round, benchmark, metric, low, high FROM target"),
        "files": {name: file_of(name) for name in sorted({str(row[SHOWN.index("benchmark")]) for row in rows})}}


def file_of(name: str) -> str:
    """A file name for something that a submission named."""
    return f"{key_number(name):x}"


def standard_errors(connection: sqlite3.Connection) -> dict[int, tuple[float, int]]:
    """Entry -> (relative standard error of its mean, degrees of freedom), where it has at least two kept runs."""
    held: dict[int, dict[str, list[float]]] = {}
    for entry, counts, minutes in connection.execute(_TIMES):
        held.setdefault(entry, {}).setdefault(counts, []).append(math.inf if minutes is None else minutes)
    found = {entry: trimmed_error(sets) for entry, sets in held.items()}
    return {entry: error for entry, error in found.items() if error is not None}


def trimmed_error(sets: Mapping[str, Sequence[float]]) -> tuple[float, int] | None:
    """(Relative standard error, degrees of freedom) of the mean of the kept runs of a set; a run that was left out
    counts as the nearest kept one. None for fewer than two kept runs or a mean of none."""
    kept = sets.get("kept", ())
    if len(kept) < 2 or not all(map(math.isfinite, kept)) or mean(kept) <= 0:
        return None
    fast, slow = len(sets.get("fastest", ())), len(sets.get("slowest", ()))
    whole = len(kept) + fast + slow
    deviation = sample_deviation([*kept, *[min(kept)] * fast, *[max(kept)] * slow]) or 0.0
    return deviation / (len(kept) / whole * math.sqrt(whole)) / mean(kept), len(kept) - 1


def _objects(connection: sqlite3.Connection, sql: str) -> list[Json]:
    return [dict(row) for row in connection.execute(sql)]
