"""Published minutes from a table that somebody gives: round, submitter, system, benchmark, minutes, with commas.

The results repositories hold logs, not the table that the association shows; whoever has copied that table can put its
numbers beside those computed here. The file may be anybody's: whatever is wrong with it is one line of a UserError.
"""

import csv
import math
from pathlib import Path
from typing import Final

from laptime.compliance.finding import printable, shown
from laptime.errors import UserError
from laptime.results.store import Row
from laptime.rules.load import resolve

COLUMNS: Final = ("round", "submitter", "system", "benchmark", "minutes")
LARGEST_BYTES: Final = 16 * 2**20
_MOST_MINUTES: Final = 1e6


def published_rows(path: Path) -> list[Row]:
    """Rows of table published. `system`, `benchmark`: names of folders. Raises UserError."""
    reader = csv.reader(_text(path).splitlines(), strict=True)
    try:
        heading = [name.strip().lower() for name in next(reader, [])]
        if missing := [name for name in COLUMNS if name not in heading]:
            raise UserError(f"expected the columns {', '.join(COLUMNS)} in {path}, found no {', '.join(missing)}")
        return [_row(dict(zip(heading, line, strict=False)), path, reader.line_num) for line in reader if any(line)]
    except csv.Error as problem:
        raise UserError(f"{path}:{reader.line_num}: expected a table with commas: {problem}") from None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
        if len(content) > LARGEST_BYTES:
            raise UserError(f"expected a table of at most {LARGEST_BYTES // 2**20} MiB, found more in {path}")
        return content.decode("utf-8-sig")
    except OSError as problem:
        raise UserError(f"cannot read the published minutes in {path}: {problem.strerror or problem}") from None
    except UnicodeDecodeError:
        raise UserError(f"expected text in {path}, found something else") from None


def _row(values: dict[str, str], path: Path, line: int) -> Row:
    if empty := [name for name in COLUMNS if not values.get(name, "").strip()]:
        raise UserError(f"{path}:{line}: expected a value for {', '.join(empty)}, found none")
    round_name, submitter, system, benchmark = (printable(values[name].strip()) for name in COLUMNS[:-1])
    return (resolve(round_name), submitter, system, benchmark, _minutes(values["minutes"], path, line),
            printable(path.name), line)


def _minutes(text: str, path: Path, line: int) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not 0 < minutes <= _MOST_MINUTES:
        raise UserError(f"{path}:{line}: expected minutes, a number above 0, found {shown(text)}")
    return minutes
