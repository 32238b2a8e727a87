"""Answers to the questions that have a name (results/questions.toml), for every round and benchmark in the store.

A parameter that must be given is asked with each value the store holds, and becomes a column in front; one with a
default keeps it. Questions about anything else (a part of a name, a key) stay on the command line: `laptime query`.
"""

import itertools
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from laptime.config import Json
from laptime.results.query import Question, questions

MOST_ROWS: Final = 5000  # of one question
_ROUNDS: Final = ("round", "earlier", "later")


@dataclass(frozen=True)
class Known:
    """What parameters may be: rounds in order of time, benchmarks by name."""

    rounds: Sequence[str]
    benchmarks: Sequence[str]


def answers(connection: sqlite3.Connection) -> Iterator[tuple[str, dict[str, Json]]]:
    """(Name, value of data/question/<name>.js) of every question that can be asked without a reader's word."""
    known = Known([row[0] for row in connection.execute("SELECT DISTINCT round FROM results WHERE round IS NOT NULL "
                                                        "ORDER BY round_number")],
                  [row[0] for row in connection.execute("SELECT DISTINCT benchmark FROM results ORDER BY benchmark")])
    for name, question in questions().items():
        if (given := _asked(question, known)) is not None:
            yield name, _answer(connection, question, given)


def _asked(question: Question, known: Known) -> list[dict[str, str]] | None:
    """The values to ask with; None where somebody has to choose one."""
    needed = [name for name, (_, default) in question.parameters.items() if default is None]
    if not set(needed) <= {*_ROUNDS, "benchmark"}:
        return None
    choices = [known.rounds if name in _ROUNDS else known.benchmarks for name in needed]
    found = [dict(zip(needed, values, strict=True)) for values in itertools.product(*choices)]
    return [given for given in found if _in_order(given, known)]


def _in_order(given: Mapping[str, str], known: Known) -> bool:
    return "earlier" not in given or known.rounds.index(given["earlier"]) < known.rounds.index(given["later"])


def _answer(connection: sqlite3.Connection, question: Question, asked: Sequence[Mapping[str, str]]) -> dict[str, Json]:
    columns: tuple[str, ...] = ()
    rows: list[Json] = []
    defaults = {name: _plain(default) for name, (_, default) in question.parameters.items() if default is not None}
    for given in asked:
        cursor = connection.execute(question.sql, {**defaults, **given})
        own = tuple(column[0] for column in cursor.description)
        front = [name for name in given if name not in own]
        columns = (*front, *own)
        rows += [[*(given[name] for name in front), *row] for row in cursor.fetchmany(MOST_ROWS + 1 - len(rows))]
    return {"text": question.text, "columns": list(columns), "rows": rows[:MOST_ROWS], "cut": len(rows) > MOST_ROWS,
            "choices": [name for name in (*_ROUNDS, "benchmark") if name in columns],
            "fixed": {name: value for name, value in defaults.items() if value != ""}}


def _plain(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text
