"""Rule files' tables of log keys, tensors and reference points, each with the range of rounds in which it holds."""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from laptime.config import Json
from laptime.errors import UserError
from laptime.rules import ranges
from laptime.rules.constraints import Constraint
from laptime.rules.model import Authority, Count, Interval, KeyRule, Occurrence, ReferencePoint
from laptime.rules.ranges import Ranges
from laptime.rules.schema import Table, read_csv

COUNTS: tuple[Count, ...] = ("exactly_one", "at_least_one", "at_least_two", "optional")
DIVISIONS: tuple[Literal["closed", "open", "any"], ...] = ("closed", "open", "any")
AUTHORITIES: tuple[Authority, ...] = ("rules", "checker", "both")
SEVERITIES: tuple[Literal["error", "warning"], ...] = ("error", "warning")
OCCURRENCES: tuple[Occurrence, ...] = ("every", "any", "first")


@dataclass(frozen=True)
class Scope:
    """The round that rows are selected for. `like`: the round it derives from, "" where it stands alone."""

    name: str
    like: str
    known: tuple[str, ...]  # every round, in order

    def covers(self, row: Table) -> bool:
        """Whether a row holds here, by itself or through the round this one derives from."""
        held = self.ranges(row)
        return self.name in held or (bool(self.like) and self.like in held)

    def own(self, row: Table) -> bool:
        """Whether a row names this very round."""
        return self.name in self.ranges(row)

    def ranges(self, row: Table) -> Ranges:
        return ranges.parse(row.text("in"), self.known, row.where)


@dataclass(frozen=True)
class References:
    """What rows may stand for: words in data that only the round can turn into values."""

    lists: Mapping[str, tuple[str, ...]]  # for `one_of = "statuses"`
    target: Mapping[str, Interval]  # for `at_least = "target"` and `at_most = "target"`


def key_rules(rows: Iterable[Table], scope: Scope, words: References, *, common: bool = False) -> dict[str, KeyRule]:
    """The rules that hold in a round, by id, in file order.

    A row of a derived round replaces the inherited one of the same id, in its place. Raises UserError where two rows
    of one id hold in the same round.
    """
    inherited: dict[str, KeyRule] = {}
    own: dict[str, KeyRule] = {}
    for row in rows:
        if scope.covers(row):
            rule = _key_rule(row, words, common)
            group = own if scope.own(row) else inherited
            if rule.id in group:
                raise UserError(f"{row.where}: a second rule with id '{rule.id}' in round {scope.name}; "
                                "narrow the field 'in' or give one of them a field 'id'")
            group[rule.id] = rule
    return inherited | own


def rule_id(row: Table) -> str:
    """The id of a row: its own, or the key with what narrows it ("eval_accuracy-open-checker")."""
    parts = [row.text("key"), row.text("division", "any"), row.text("authority", "both")]
    return row.text("id", "-".join(part for part in parts if part not in ("any", "both")))


def _key_rule(row: Table, words: References, common: bool) -> KeyRule:
    key = row.text("key")
    rule = KeyRule(
        id=rule_id(row),
        key=key,
        count=row.choice("count", COUNTS, "optional"),
        constraint=constraint(row, words, key),
        source_name=row.text("from", ""),
        when=row.formula("when"),
        division=row.choice("division", DIVISIONS, "any"),
        authority=row.choice("authority", AUTHORITIES, "both"),
        source=row.text("source", ""),
        or_key=row.text("or", ""),
        occurrences=row.choice("occurrences", OCCURRENCES, "every"),
        common=common,
        severity=row.choice("severity", SEVERITIES, "error"),
    )
    row.close()
    return rule


def constraint(row: Table, words: References, key: str = "") -> Constraint:
    """The constraint fields of a table."""
    return Constraint(
        equals=row.json("equals"),
        one_of=_one_of(row, words),
        at_least=_bound(row, words, key, "at_least"),
        at_most=_bound(row, words, key, "at_most"),
        above=row.number("above"),
        below=row.number("below"),
        multiple_of=_step(row),
        formula=row.formula("formula"),
        text=row.text("text", ""),
    )


def _one_of(row: Table, words: References) -> tuple[Json, ...]:
    value = row.json("one_of")
    if isinstance(value, str):
        return words.lists[row.choice("one_of", tuple(words.lists))]
    if value is None:
        return ()
    if not isinstance(value, Sequence) or not value:
        raise row.wrong("one_of", f"a list of values or one of {', '.join(words.lists)}", value)
    return tuple(value)


def _step(row: Table) -> float | None:
    step = row.number("multiple_of")
    if step is not None and not step > 0:
        raise row.wrong("multiple_of", "a number above 0", step)
    return step


def _bound(row: Table, words: References, key: str, field: str) -> float | None:
    if row.json(field) != "target":
        return row.number(field)
    if key not in words.target:
        raise UserError(f"{row.where}: '{key}' has no target that field '{field}' could mean")
    return words.target[key].low if field == "at_least" else words.target[key].high


def tensors(rows: Iterable[Table], scope: Scope) -> tuple[str, ...]:
    """The names that `weights_initialization` lines must carry. `{a,b}` and `{1..3}` in data stand for each in turn."""
    names: list[str] = []
    for row in rows:
        if scope.covers(row):
            names += itertools.chain.from_iterable(map(expanded, row.texts("names")))
            row.text("source", "")
            row.close()
    return tuple(names)


def expanded(pattern: str) -> list[str]:
    """Every name that a pattern with braces stands for: "bn{1..2}_{gamma,beta}" -> four names."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    ends = re.fullmatch(r"(\d+)\.\.(\d+)", match[1])
    words = [str(i) for i in range(int(ends[1]), int(ends[2]) + 1)] if ends else match[1].split(",")
    return [name for word in words for name in expanded(pattern[: match.start()] + word + pattern[match.end():])]


def reference_points(path: Path, scope: Scope) -> tuple[ReferencePoint, ...]:
    """The rows of `rcp.csv` that name this round; a derived round inherits none, because its sizes differ."""
    return tuple(_reference_point(row) for row in read_csv(path) if scope.own(row))


def _reference_point(row: Table) -> ReferencePoint:
    pairs = [part.partition("=") for part in row.text("hyperparameters", "").split(";") if part]
    for name in ("creator", "when", "platform", "precision"):
        row.text(name, "")
    point = ReferencePoint(
        name=row.text("name"),
        batch_size=_integer(row, "batch_size"),
        unit=row.text("unit"),
        values=tuple(_float(row, value) for value in row.text("values").split()),
        hyperparameters={name.strip(): value for name, _, value in pairs},
    )
    row.close()
    return point


def _integer(row: Table, name: str) -> int:
    text = row.text(name)
    if not text.isdecimal():
        raise row.wrong(name, "a whole number", text)
    return int(text)


def _float(row: Table, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise row.wrong("values", "numbers separated by blanks", text) from None
