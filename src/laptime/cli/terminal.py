"""What commands print: tables as text of a given width, JSON, durations. No colour when not a terminal.

Logs and file names may hold anything: `heading`, `style` and `table` escape what is not printable before they add
style, and `say` lets nothing through but lines and the codes of these styles.
"""

import os
import re
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import click
import orjson

from laptime.compliance.finding import printable
from laptime.config import Json, to_json

Colour = Literal["red", "yellow", "cyan"]
STYLES = re.compile("(\x1b\\[(?:0|1|31|33|36)m|\n)")  # all that our own text holds besides printable signs
GAP = "  "
NARROWEST = 6  # columns are not squeezed below this


@dataclass(frozen=True)
class Column:
    """A heading (with the unit, where there is one) and the side its cells stand on."""

    heading: str
    right: bool = False


def width() -> int | None:
    """Columns of the terminal; None when the answer goes to a file or a pipe."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None if sys.stdout.isatty() else None
    except (OSError, ValueError):
        return None


def say(text: str = "") -> None:
    """One line (or more) of the answer. Style is dropped when the answer does not go to a terminal."""
    click.echo("".join(part if STYLES.fullmatch(part) else printable(part) for part in STYLES.split(text)))


def heading(text: str) -> str:
    """One line in bold."""
    return click.style(printable(text), bold=True)


def style(text: str, colour: Colour) -> str:
    """One word in a colour."""
    return click.style(printable(text), colour)


def say_json(value: object) -> None:
    """The answer for programs."""
    data: Json = to_json(value)
    click.echo(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode())


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], limit: int | None) -> str:
    """Aligned text, its widest columns wrapped where it would exceed `limit`. None: plain, however wide."""
    cells = [[column.heading for column in columns], *([printable(cell) for cell in row] for row in rows)]
    widths = _fitted([max(len(row[i]) for row in cells) for i in range(len(columns))], limit)
    lines = [line for row in cells for line in _lines(row, columns, widths)]
    top = 0 if limit is None else len(_lines(cells[0], columns, widths))
    return "\n".join([*(heading(line) for line in lines[:top]), *lines[top:]])


def minutes(seconds: float) -> str:
    """Such as "1.52 min"."""
    return f"{seconds / 60:.2f} min"


def clock(seconds: float) -> str:
    """Such as "1:05" or "2:03:09"."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def _fitted(widths: list[int], limit: int | None) -> list[int]:
    """Widths that together fit, taken from the widest first."""
    fitted = list(widths)
    room = None if limit is None else limit - len(GAP) * (len(widths) - 1)
    while room is not None and sum(fitted) > room and max(fitted) > NARROWEST:
        fitted[fitted.index(max(fitted))] -= 1
    return fitted


def _lines(row: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> list[str]:
    wrapped = [textwrap.wrap(cell, size) or [""] for cell, size in zip(row, widths, strict=True)]
    height = max(map(len, wrapped))
    padded = [part + [""] * (height - len(part)) for part in wrapped]
    return [GAP.join(part[i].rjust(size) if column.right else part[i].ljust(size)
                     for part, column, size in zip(padded, columns, widths, strict=True)).rstrip()
            for i in range(height)]
