"""Rows of the store on their way out: as a table for the terminal, CSV, JSON, Markdown, or a file."""

from pathlib import Path
from typing import Literal

import click

from laptime.cli.check import write_text
from laptime.cli.terminal import Column, say, table, width
from laptime.results.export import as_csv, as_json, as_markdown, text_of, write_parquet
from laptime.results.query import Answer

Format = Literal["text", "csv", "json", "markdown", "parquet"]
FORMATS = ("text", "csv", "json", "markdown", "parquet")
LONGEST_CELL = 80  # characters, in text
UNVERIFIED = ("Unverified: judged by this program alone, from the logs. The results that MLCommons has verified are "
              "those on its site.")


def give(found: Answer, form: Format, out: Path | None, *, notice: bool = False) -> None:
    """Print the rows, or write them to `out`. `notice`: say below a table that nobody has verified it."""
    if form == "parquet":
        if out is None:
            raise click.UsageError("expected --out FILE for --format parquet, found none")
        write_parquet(found, out)
        return
    written = text(found) if form == "text" else {"csv": as_csv, "json": as_json, "markdown": as_markdown}[form](found)
    if out is not None:
        write_text(out, written if form != "text" else f"{written}\n")
    elif form == "text":
        say(written)
    else:
        click.echo(written, nl=False)
    if out is None and form == "text":
        if found.cut:
            say(f"\nThere are more rows than these {len(found.rows)}: give --rows.")
        if notice:
            say(f"\n{UNVERIFIED}")


def text(found: Answer) -> str:
    """An aligned table; numbers at the right."""
    columns = [Column(name, right=any(isinstance(row[at], int | float) for row in found.rows))
               for at, name in enumerate(found.columns)]
    rows = [[_short(text_of(value)) for value in row] for row in found.rows]
    return table(columns, rows, width()) if rows else "nothing found"


def _short(text_: str) -> str:
    line = " ".join(text_.split())
    return line if len(line) <= LONGEST_CELL else line[:LONGEST_CELL - 3] + "..."
