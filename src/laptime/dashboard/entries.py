"""One result in full: runs with their curves, hyperparameters beside the reference, findings, system description.

Loaded when a reader opens the result. Findings that differ in nothing but their run are told once.
"""

import math
import sqlite3
from collections.abc import Iterator, Mapping
from typing import Final

import orjson

from laptime.config import Json

MOST_FINDINGS: Final = 200  # of one result
_RUNS: Final = """
    SELECT number, status, counts, seed, minutes, start_ms, init_minutes, training_minutes, evaluation_minutes,
           rest_minutes, convergence, evaluations, joules, file, start_line
    FROM runs WHERE entry = ? ORDER BY number"""
_CURVES: Final = """
    SELECT run, metric, position, value, minutes, met FROM curves WHERE entry = ? ORDER BY run, metric, number"""
_SETTINGS: Final = """
    SELECT name, key, value, real, asked, runs, run, line FROM hyperparameter WHERE entry = ?
    ORDER BY asked DESC, name, number"""
_FINDINGS: Final = f"""
    SELECT severity, rule, message, count(*) AS times, count(DISTINCT run) AS runs, min(run) AS run, file,
           min(line) AS line
    FROM finding WHERE entry = ? GROUP BY severity, rule, message
    ORDER BY severity = 'error' DESC, severity = 'warning' DESC, times DESC, rule, message LIMIT {MOST_FINDINGS + 1}"""


def entry_numbers(connection: sqlite3.Connection) -> Iterator[tuple[int, str]]:
    """(Id, fingerprint) of every entry."""
    for row in connection.execute("SELECT id, fingerprint FROM entry ORDER BY id"):
        yield row[0], row[1]


def entry(connection: sqlite3.Connection, number: int) -> dict[str, Json]:
    """The value of data/entry/<id>.js."""
    head = connection.execute("""
        SELECT entry.round, entry.benchmark, entry.level, entry.submitter, entry.label, system.fields,
               system.file AS description, score.*
        FROM entry JOIN system ON system.id = entry.system LEFT JOIN score ON score.entry = entry.id
        WHERE entry.id = ?""", (number,)).fetchone()
    findings = [dict(row) for row in connection.execute(_FINDINGS, (number,))]
    return {"runs": _runs(connection, number), "level": head["level"],
            "settings": [dict(row) for row in connection.execute(_SETTINGS, (number,))],
            "reference": reference(connection, head["round"], head["benchmark"], head["batch_size"]),
            "findings": findings[:MOST_FINDINGS], "more_findings": len(findings) > MOST_FINDINGS,
            "submission": _of_submission(connection, head),
            "bootstrap": [head["bootstrap_low"], head["bootstrap_high"]],
            "system": _read(head["fields"]), "description": head["description"]}


def reference(connection: sqlite3.Connection, round_name: str | None, benchmark: str, batch_size: float | None) -> Json:
    """The reference point whose batch size is nearest to a result's, and its hyperparameters; None: there is none."""
    if not batch_size or batch_size <= 0:
        return None
    points = [(row["name"], row["batch_size"], _read(row["hyperparameters"])) for row in connection.execute("""
        SELECT name, batch_size, hyperparameters FROM reference
        WHERE round = ? AND benchmark = ? AND batch_size > 0 AND hyperparameters <> '{}' ORDER BY batch_size, name""",
        (round_name, benchmark))]
    if not points:
        return None
    name, size, values = min(points, key=lambda point: abs(math.log(point[1] / batch_size)))
    return {"name": name, "batch_size": size, "values": values}


def _of_submission(connection: sqlite3.Connection, head: sqlite3.Row) -> list[Json]:
    """What was found in the submission as a whole: a row per rule and severity."""
    return [dict(row) for row in connection.execute("""
        SELECT f.severity, f.rule, min(f.message) AS message, count(*) AS times, min(f.file) AS file
        FROM package_finding AS f JOIN package ON package.id = f.package
        WHERE package.round IS ? AND package.submitter = ? AND package.label = ? AND f.severity <> 'note'
        GROUP BY f.severity, f.rule ORDER BY f.severity, f.rule""", (head["round"], head["submitter"], head["label"]))]


def _runs(connection: sqlite3.Connection, number: int) -> list[Json]:
    runs: dict[int, dict[str, Json]] = {row["number"]: dict(row) for row in connection.execute(_RUNS, (number,))}
    curves: dict[int, dict[str, dict[str, list[Json]]]] = {run: {} for run in runs}
    for run, metric, position, value, minutes, met in connection.execute(_CURVES, (number,)):
        curve = curves[run].setdefault(metric, {"x": [], "y": [], "t": [], "met": []})
        for name, one in zip(("x", "y", "t", "met"), (position, value, minutes, met), strict=True):
            curve[name].append(one)
    return [{**one, "curves": _short(curves[run])} for run, one in runs.items()]


def _short(curves: Mapping[str, Mapping[str, list[Json]]]) -> Json:
    """Of `met`, the place of the first point that met the target is enough."""
    return {metric: {**curve, "met": curve["met"].index(1) if 1 in curve["met"] else None}
            for metric, curve in curves.items()}


def _read(text: str) -> Json:
    try:
        found: Json = orjson.loads(text)
    except orjson.JSONDecodeError:  # written by another program
        return {}
    return found
