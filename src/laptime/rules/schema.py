"""Typed reading of rule files: every field has a kind, unknown fields are refused, every error names file and field."""

import csv
import tomllib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from laptime.config import Json, nearest
from laptime.errors import UserError
from laptime.rules.formula import Formula

MOST_BITS = 1000  # of a whole number: beyond 1023 no float can hold it

Choice = TypeVar("Choice", bound=str)
Value = TypeVar("Value")


class Table:
    """One table of a rule file. Take what is known, then `close()`: what is left over is an error.

    A field without a default is required. `where`: file and place, for messages.
    """

    def __init__(self, data: Mapping[str, object], where: str) -> None:
        self.data, self.where = data, where
        self._known: set[str] = set()

    def __contains__(self, name: str) -> bool:
        self._known.add(name)
        return name in self.data

    def text(self, name: str, default: str | None = None) -> str:
        return self._take(name, (str,), "text", default)

    def integer(self, name: str, default: int | None = None) -> int:
        return self._take(name, (int,), "an integer", default)

    def flag(self, name: str, default: bool | None = None) -> bool:
        return self._take(name, (bool,), "true or false", default)

    def number(self, name: str) -> float | None:
        """A number, or None where the field is absent."""
        if name not in self:
            return None
        value = self._take(name, (int, float), "a number", 0.0)
        if isinstance(value, int) and value.bit_length() > MOST_BITS:
            raise self.wrong(name, "a number that a float can hold", "a larger one")
        return value

    def choice(self, name: str, options: Sequence[Choice], default: Choice | None = None) -> Choice:
        """One of `options`."""
        text = self.text(name, default)
        for option in options:
            if option == text:
                return option
        raise self.wrong(name, f"one of {', '.join(options)}", text, nearest(text, options))

    def texts(self, name: str, default: Sequence[str] | None = None) -> tuple[str, ...]:
        values = self._take(name, (list,), "a list of texts", None if default is None else list(default))
        if not all(isinstance(value, str) for value in values):
            raise self.wrong(name, "a list of texts", values)
        return tuple(values)

    def formula(self, name: str) -> Formula | None:
        """A formula, or None where the field is absent."""
        return self.formula_of(name, self.text(name)) if name in self else None

    def formula_of(self, name: str, text: str) -> Formula:
        """`text` as a formula. Raises UserError that names file and field."""
        try:
            return Formula(text)
        except UserError as error:
            raise UserError(f"{self.where}: field '{name}': {error}") from None

    def json(self, name: str) -> Json:
        """Any value, None where the field is absent."""
        self._known.add(name)
        return self.data.get(name)  # type: ignore[return-value]  # TOML without dates is JSON

    def table(self, name: str) -> "Table":
        """A table within; an empty one where the field is absent."""
        return Table(self._take(name, (dict,), "a table", {}), f"{self.where}, '{name}'")

    def tables(self, name: str) -> tuple["Table", ...]:
        """The entries of an array of tables."""
        items = self._take(name, (list,), "an array of tables", [])
        if not all(isinstance(item, dict) for item in items):
            raise self.wrong(name, "an array of tables", items)
        return tuple(Table(item, f"{self.where}, [[{name}]] number {i}") for i, item in enumerate(items, 1))

    def text_map(self, name: str) -> dict[str, str]:
        """A table of texts; empty where the field is absent."""
        inner = self.table(name)
        return {key: inner.text(key) for key in inner.data}

    def number_map(self, name: str) -> dict[str, float]:
        """A table of numbers; empty where the field is absent."""
        inner = self.table(name)
        return {key: value for key in inner.data if (value := inner.number(key)) is not None}

    def wrong(self, name: str, expected: str, found: object, hint: str = "") -> UserError:
        """The error of a field that is not what it should be."""
        return UserError(f"{self.where}: expected {expected} in field '{name}', found {str(found)[:80]!r}.{hint}")

    def close(self) -> None:
        """Refuse the fields that nobody asked for. Raises UserError with the nearest known name."""
        for name in sorted(self.data.keys() - self._known):
            raise UserError(f"{self.where}: unknown field '{name}'.{nearest(name, self._known)}",
                            hint=f"Fields here: {', '.join(sorted(self._known))}.")

    def _take(self, name: str, kinds: tuple[type[Value], ...], expected: str, default: Value | None) -> Value:
        self._known.add(name)
        if name not in self.data:
            if default is None:
                raise UserError(f"{self.where}: field '{name}' is missing (expected {expected})")
            return default
        value = self.data[name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise self.wrong(name, expected, value)
        return value


def read_toml(path: Path) -> Table:
    """A TOML file as a table. Raises UserError for a file that is missing or no TOML."""
    try:
        return Table(_toml(path, path.stat().st_mtime_ns), place(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the rule file {path}: {error}") from None
    except (ValueError, RecursionError) as error:  # also of numbers too long and of tables too deep to be read
        raise UserError(f"{place(path)}: expected TOML, found an error: {error}") from None


def read_csv(path: Path) -> tuple[Table, ...]:
    """The rows of a CSV file, every field a text; no rows where there is no file."""
    if not path.is_file():
        return ()
    rows = _csv(path, path.stat().st_mtime_ns)
    return tuple(Table({k: v for k, v in row.items() if v}, f"{place(path)}:{i}") for i, row in enumerate(rows, 2))


def place(path: Path) -> str:
    """A rule file's name as messages give it: folder and file."""
    return f"{path.parent.name}/{path.name}"


@lru_cache(maxsize=256)
def _toml(path: Path, _changed_ns: int) -> dict[str, object]:
    with path.open("rb") as file:
        return tomllib.load(file)


@lru_cache(maxsize=256)
def _csv(path: Path, _changed_ns: int) -> tuple[dict[str, str], ...]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, restkey="")
        return tuple({str(k): str(v) for k, v in row.items() if v is not None} for row in reader)
