"""Questions to a store: SQL that can only read, within bounds, and questions that have a name (questions.toml).

SQL may come from anybody: nothing can be written or attached, no other file read, and neither the number of rows nor
the time is without limit.
"""

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from laptime.config import nearest
from laptime.errors import UnknownName, UserError
from laptime.results.store import Row, Value, reading
from laptime.rules.schema import Table, read_toml

MOST_ROWS: Final = 100_000
MOST_SECONDS: Final = 30.0
_MOST_VALUE: Final = 10 * 2**20  # bytes of one value
_MOST_BYTES: Final = 100 * 2**20  # characters of an answer
_STEPS: Final = 10_000  # of the database's machine between two looks at the clock
_ALLOWED: Final = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
_REFUSED_FUNCTIONS: Final = {"load_extension", "randomblob", "zeroblob", "fts3_tokenizer"}
_CHUNK: Final = 500
_QUESTIONS: Final = Path(__file__).parent / "questions.toml"


@dataclass(frozen=True)
class Answer:
    """Rows of values under the names of their columns. `cut`: there are more rows than asked for."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    cut: bool = False


@dataclass(frozen=True)
class Question:
    """A question with a name. `parameters`: name -> (what it is, default; None: must be given)."""

    name: str
    text: str
    sql: str
    parameters: Mapping[str, tuple[str, str | None]]


def ask(file: Path, sql: str, parameters: Mapping[str, Value] | None = None, *, rows: int = MOST_ROWS,
        seconds: float = MOST_SECONDS) -> Answer:
    """The answer of the store `file` to one SELECT. Raises UserError for anything that is no such question."""
    with reading(file) as connection, _bounded(connection, seconds):
        try:
            cursor = connection.execute(sql, dict(parameters or {}))
        except (sqlite3.Error, sqlite3.Warning, UnicodeError) as problem:
            raise _refused(problem, seconds) from None
        if cursor.description is None:
            raise UserError("expected a question that begins with SELECT, found one without an answer",
                            hint="The tables are described in docs/results.md.")
        columns = tuple(column[0] for column in cursor.description)
        try:
            found = list(_taken(cursor, rows + 1))
        except (sqlite3.Error, UnicodeError) as problem:
            raise _refused(problem, seconds) from None
    return Answer(columns, tuple(found[:rows]), len(found) > rows)


@lru_cache(maxsize=1)
def questions() -> Mapping[str, Question]:
    """Every question that has a name."""
    file = read_toml(_QUESTIONS)
    return {name: _question(name, file.table(name)) for name in file.data}


def ask_question(file: Path, name: str, given: Mapping[str, str], *, rows: int = MOST_ROWS,
                 seconds: float = MOST_SECONDS) -> Answer:
    """The answer to a question by its name. Raises UnknownName and UserError."""
    known = questions()
    if name not in known:
        raise UnknownName(f"unknown question '{name}'.{nearest(name, known)}",
                          hint="See `laptime query --list`; SQL begins with SELECT or WITH.")
    question = known[name]
    for other in given:
        if other not in question.parameters:
            raise UnknownName(f"question '{name}' has no parameter '{other}'.{nearest(other, question.parameters)}",
                              hint=f"Its parameters: {', '.join(question.parameters) or 'none'}.")
    values: dict[str, Value] = {}
    for parameter, (text, default) in question.parameters.items():
        value = given.get(parameter, default)
        if value is None:
            raise UserError(f"question '{name}' needs the parameter '{parameter}' ({text}), found none",
                            hint=f"Give it: -p {parameter}=VALUE.")
        values[parameter] = _plain(value)
    return ask(file, question.sql, values, rows=rows, seconds=seconds)


def _question(name: str, table: Table) -> Question:
    parameters: dict[str, tuple[str, str | None]] = {}
    inner = table.table("parameters")
    for parameter in inner.data:
        words, separator, default = inner.text(parameter).partition("; default ")
        parameters[parameter] = (words, default.strip("'") if separator else None)
    question = Question(name, table.text("text"), table.text("sql").strip(), parameters)
    table.close()
    return question


def _plain(text: str) -> Value:
    """A number where it is written as one."""
    for kind in (int, float):
        try:
            value = kind(text)
        except (ValueError, OverflowError):
            continue
        if -2**63 <= value < 2**63:
            return value
    return text


@contextmanager
def _bounded(connection: sqlite3.Connection, seconds: float) -> Iterator[None]:
    """Nothing but reading, and not for longer than this."""
    end = time.monotonic() + seconds
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_VALUE)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.set_authorizer(_authorised)
    connection.set_progress_handler(lambda: int(time.monotonic() > end), _STEPS)
    try:
        yield
    finally:
        connection.set_progress_handler(None, 0)
        connection.set_authorizer(None)


def _authorised(action: int, _: str | None, name: str | None, __: str | None, ___: str | None) -> int:
    if action == sqlite3.SQLITE_FUNCTION and (name or "").lower() in _REFUSED_FUNCTIONS:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY


def _taken(cursor: sqlite3.Cursor, rows: int) -> Iterator[Row]:
    size = 0
    while rows > 0 and (chunk := cursor.fetchmany(min(rows, _CHUNK))):
        for row in chunk:
            values = tuple(_shown(value) for value in row)
            size += sum(len(value) for value in values if isinstance(value, str))
            yield values
        if size > _MOST_BYTES:
            raise UserError(f"expected an answer of at most {_MOST_BYTES // 2**20} MiB, found a longer one",
                            hint="Ask for fewer rows or columns.")
        rows -= len(chunk)


def _shown(value: object) -> Value:
    """The database's value as one of ours; bytes, which the store does not hold, as text."""
    return value if isinstance(value, str | int | float | None) else repr(value)


def _refused(problem: Exception, seconds: float) -> UserError:
    words = str(problem)
    if "interrupted" in words:
        return UserError(f"the answer took longer than {seconds:g} s", hint="Ask for less, or give --seconds.")
    if "not authorized" in words or "prohibited" in words or "readonly" in words:
        return UserError(f"a query may only read the store ({words})", hint="Give one SELECT.")
    return UserError(f"the store cannot answer: {words}",
                     hint="Tables and views are described in docs/results.md; names: laptime query --tables.")
