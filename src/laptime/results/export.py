"""Rows as CSV, JSON, Markdown and Parquet. Values may be anybody's: none becomes a formula, a tag or a cell."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import orjson

from laptime.compliance.finding import printable
from laptime.errors import UserError
from laptime.results.query import Answer
from laptime.results.store import Value

_FORMULA: Final = re.compile(r"[\s\0]*[=+\-@\uff0b\uff0d\uff1d\uff20]|[\t\r\n]")
# signs that steer terminals or hide, and that JSON does not escape itself
_UNSEEN: Final = re.compile(r"[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_MARKED: Final = re.compile(r"([\\`*\[\]|])")


def as_csv(found: Answer) -> str:
    """CSV with a heading. A text that a spreadsheet would compute has an apostrophe before it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(list(map(unformulated, found.columns)))
    writer.writerows([["" if value is None else unformulated(value) for value in row] for row in found.rows])
    return text.getvalue()


def as_json(found: Answer) -> str:
    """A list of objects, as stored."""
    rows = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
    text = orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode() + "\n"
    return _UNSEEN.sub(lambda sign: f"\\u{ord(sign[0]):04x}", text)


def as_markdown(found: Answer) -> str:
    """A table. Signs that Markdown or HTML would obey are escaped."""
    lines = [list(map(_cell, found.columns)), ["---:" if _numeric(found, place) else "---"
                                               for place in range(len(found.columns))]]
    lines += [[_cell(value) for value in row] for row in found.rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write_parquet(found: Answer, path: Path) -> None:
    """A Parquet file. Raises ModuleNotFoundError where pyarrow, which is optional, is not installed; UserError."""
    import pyarrow
    import pyarrow.parquet

    columns = {name: pyarrow.array(_alike([row[place] for row in found.rows]))
               for place, name in enumerate(_distinct(found.columns))}
    try:
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
    except OSError as problem:
        raise UserError(f"cannot write {path}: {problem.strerror or problem}") from None


def text_of(value: Value) -> str:
    """A value as people read it: at most six digits after the point, "-" for none."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".") if abs(value) < 1e15 else f"{value:g}"
    return str(value)


def unformulated(value: str | int | float) -> str | int | float:
    """A text that a spreadsheet shows as it is, and a terminal too."""
    if not isinstance(value, str):
        return value
    text = "\n".join(map(printable, value.replace("\r", "\n").split("\n")))  # a bare \r would end the row
    return f"'{text}" if _FORMULA.match(value) else text


def _cell(value: Value) -> str:
    if not isinstance(value, str):
        return text_of(value)
    text = printable(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKED.sub(r"\\\1", text)


def _numeric(found: Answer, place: int) -> bool:
    return any(isinstance(row[place], int | float) for row in found.rows)


def _alike(values: Sequence[Value]) -> list[Value]:
    """The values of a column in one kind."""
    if any(isinstance(value, str) for value in values):
        return [None if value is None else str(value) for value in values]
    if any(isinstance(value, float) for value in values):
        return [None if value is None else float(value) for value in values]
    return list(values)


def _distinct(names: Sequence[str]) -> list[str]:
    """Names of columns, numbered where they come again."""
    kept: list[str] = []
    for name in names:
        again = sum(1 for other in names[:len(kept)] if other == name)
        kept.append(f"{name}_{again + 1}" if again else name)
    return kept
