"""Reference points from a file of somebody's own: a table like `rcp.csv` of a benchmark, or JSON as the official tool
reads it (facts on reference points, sections 1 and 10).

The file may be anybody's: whatever is wrong with it is one line of a UserError.
"""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from laptime.errors import UserError
from laptime.rules.model import ReferencePoint

LARGEST_BYTES = 4 * 2**20
_VALUES = ("Epochs to converge", "samples to converge", "Samples to converge")  # RCP facts, section 1
_LARGEST_BATCH = 10**12


def read_points(path: Path, names: frozenset[str], unit: str) -> tuple[ReferencePoint, ...]:
    """The points in a file. JSON may hold several benchmarks: taken are those that call theirs by one of `names`.

    `unit`: that of the values. Raises UserError where the file cannot be read or says something else.
    """
    text = _content(path)
    rows = _from_json(text, path, names, unit) if text.lstrip().startswith("{") else _from_table(text, path, unit)
    if not rows:
        raise UserError(f"expected reference points of {' or '.join(sorted(names))} in {path}, found none")
    sizes = [row.batch_size for row in rows]
    if len(set(sizes)) < len(sizes):
        raise UserError(f"expected one reference point per batch size in {path}, found two of one size")
    return rows


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except OSError as problem:
        raise UserError(f"cannot read the reference points in {path}: {problem.strerror or problem}") from None
    if len(content) > LARGEST_BYTES:
        raise UserError(f"expected a file of at most {LARGEST_BYTES} bytes, found more in {path}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"expected text in {path}, found something else") from None


def _from_table(text: str, path: Path, unit: str) -> tuple[ReferencePoint, ...]:
    try:
        reader = csv.DictReader(text.splitlines())
        rows = [{str(name): value for name, value in row.items() if isinstance(value, str)} for row in reader]
    except csv.Error as problem:
        raise UserError(f"expected a table with commas in {path}: {problem}") from None
    found = []
    for number, row in enumerate(rows, 2):
        where = f"{path}:{number}"
        if missing := {"batch_size", "values"} - row.keys():
            raise UserError(f"{where}: expected columns batch_size and values, found no {' or '.join(sorted(missing))}")
        pairs = [part.partition("=") for part in row.get("hyperparameters", "").split(";") if part]
        found.append(ReferencePoint(
            name=row.get("name") or f"line {number}", batch_size=_size(row["batch_size"], where),
            unit=row.get("unit") or unit, values=_numbers(row["values"].split(), where),
            hyperparameters={name.strip(): value for name, _, value in pairs}))
    return tuple(found)


def _from_json(text: str, path: Path, names: frozenset[str], unit: str) -> tuple[ReferencePoint, ...]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise UserError(f"expected JSON in {path}, found something else") from None
    found = []
    for name, entry in data.items():
        where = f"{path}, point '{name[:60]}'"
        if not isinstance(entry, Mapping):
            raise UserError(f"{where}: expected an object")
        if entry.get("Benchmark") in names:
            values = next((entry[key] for key in _VALUES if key in entry), None)
            if not isinstance(values, list):
                raise UserError(f"{where}: expected a list '{_VALUES[0]}'")
            given = entry.get("Hyperparams")
            settings = {str(key): str(value) for key, value in given.items()} if isinstance(given, Mapping) else {}
            found.append(ReferencePoint(name, _size(entry.get("BS"), where), unit, _numbers(values, where), settings))
    return tuple(found)


def _size(value: object, where: str) -> int:
    size = _number(value, where)
    if size != int(size) or not 0 < size <= _LARGEST_BATCH:
        raise UserError(f"{where}: expected a whole number as batch size, found {size:g}")
    return int(size)


def _numbers(values: Sequence[object], where: str) -> tuple[float, ...]:
    numbers = tuple(_number(value, where) for value in values)
    if not numbers or min(numbers) < 0:
        raise UserError(f"{where}: expected numbers of at least 0 as values")
    return numbers


def _number(value: object, where: str) -> float:
    try:
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            number = float(value)
            if math.isfinite(number):
                return number
    except (ValueError, OverflowError):
        pass
    raise UserError(f"{where}: expected a number, found {str(value)[:40]!r}")
