"""The rules of one benchmark in one round, from `rules.toml`, `keys.toml` and `rcp.csv` of its folder.

`rules.toml` says what the benchmark is and what each round asks of a run; `keys.toml` what its logs carry.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from laptime.config import nearest
from laptime.errors import UserError
from laptime.rules import keys, ranges
from laptime.rules.constraints import Constraint
from laptime.rules.keys import References, Scope
from laptime.rules.model import BenchmarkRules, Evaluations, Identity, Interval, KeyRule, Position
from laptime.rules.schema import Table, read_toml

UNITS: tuple[Literal["samples", "epochs"], ...] = ("samples", "epochs")
SOURCES: tuple[Literal["published", "generated"], ...] = ("published", "generated")
IDENTITY = ("title", "area", "dataset", "model", "metric")
BOUND = re.compile(r"(>=|>|<=|<)\s*([-+0-9.eE]+)")


@dataclass(frozen=True)
class Frame:
    """What the round contributes to the rules of each of its benchmarks."""

    scope: Scope  # `like` is left empty: the benchmark's entry says what it derives from
    opening: tuple[Table, ...]  # common keys before those of the benchmark
    closing: tuple[Table, ...]  # and after
    common_like: str  # the round whose common keys hold here too
    lists: dict[str, tuple[str, ...]]


def load_benchmark(folder: Path, log_name: str, frame: Frame) -> BenchmarkRules | None:
    """The rules of the benchmark in `folder`, None where none of its entries names the round."""
    file = _file(folder)
    entry = _entry(file, frame.scope)
    if entry is None:
        return None
    like = entry.text("like", "")
    scope = Scope(frame.scope.name, like, frame.scope.known)
    fields = _inherited(file, entry, scope)
    target = {name: interval(text, fields) for name, text in fields.text_map("target").items()}
    excepts = entry.text_map("excepts")
    rows = _rows(file, folder, "keys")
    own_keys = keys.key_rules(rows, scope, References(frame.lists, target))
    _check_excepts(rows, entry, scope, excepts)
    unit, evaluations = fields.text("unit"), _evaluations(fields.table("evaluations"))
    rules = BenchmarkRules(
        round=scope.name, name=folder.name, log_name=log_name,
        title=fields.text("title"), area=fields.text("area"), dataset=fields.text("dataset"),
        model=fields.text("model"), metric=fields.text("metric"),
        preset=fields.text("preset"), data=fields.choice("data", SOURCES, "published"), target=target,
        runs=fields.integer("runs"), drop=fields.integer("drop"), max_failures=fields.integer("max_failures"),
        convergence_unit=unit, evaluations=evaluations, limit=fields.formula("limit"),
        position=_position(fields.table("position")),
        keys=_in_log_order(frame, own_keys, target),
        tensors=keys.tensors(_rows(file, folder, "tensors"), scope),
        references=keys.reference_points(folder / "rcp.csv", scope),
        excepts=excepts, folder=folder, settings=_settings(fields.table("settings"), target),
        free=fields.texts("free", ["*"]),
        first_converged=fields.integer("first_converged") if "first_converged" in fields else None,
        metric_key=fields.text("metric_key", ""), evaluate_offline=fields.flag("evaluate_offline", False),
        convergence_check=fields.flag("convergence_check", True), borrowing=fields.flag("borrowing", True),
        spread=fields.number("spread") or BenchmarkRules.spread,
        convergence_slack=fields.number_map("convergence_slack"), init_minutes=fields.number_map("init_minutes"),
    )
    for name in ("in", "like", "excepts", "log_name"):
        fields.json(name)
    fields.close()
    return rules


def covers(folder: Path, scope: Scope) -> bool:
    """Whether an entry of the folder's benchmark names the round."""
    return _entry(_file(folder), scope) is not None


def target(folder: Path, scope: Scope) -> dict[str, Interval]:
    """The target of the folder's benchmark in a round, without the rest of its rules; empty without an entry."""
    file = _file(folder)
    entry = _entry(file, scope)
    if entry is None:
        return {}
    fields = _inherited(file, entry, Scope(scope.name, entry.text("like", ""), scope.known))
    return {name: interval(text, fields) for name, text in fields.text_map("target").items()}


def house_log_name(folder: Path, scope: Scope) -> str | None:
    """The log name that an entry gives itself in a house round, "" where it gives none; None without an entry."""
    entry = _entry(_file(folder), scope)
    return None if entry is None else entry.text("log_name", "")


def derives_from(folder: Path, scope: Scope) -> str:
    """The round that a benchmark's entry is like, "" where it stands alone."""
    entry = _entry(_file(folder), scope)
    return "" if entry is None else entry.text("like", "")


def identity(folder: Path, known: tuple[str, ...]) -> Identity:
    """What the folder's benchmark is, and the rounds that its entries name."""
    file = _file(folder)
    held = [ranges.parse(entry.text("in"), known, entry.where) for entry in file.tables("rounds")]
    rounds = tuple(name for name in known if any(name in each for each in held))
    title, area, dataset, model, metric = (file.text(name) for name in IDENTITY)
    return Identity(folder.name, title, area, dataset, model, metric, rounds, folder)


def interval(text: str, where: Table) -> Interval:
    """A range such as ">= 0.759" or "> 0 and <= 0.058". Raises UserError."""
    bounds: dict[str, float | bool] = {}
    for part in text.split(" and "):
        match = BOUND.fullmatch(part.strip())
        side = "low" if part.strip().startswith(">") else "high"
        try:
            assert match is not None
            value = float(match[2])
        except (AssertionError, ValueError):
            raise where.wrong("target", "a range such as '>= 0.759' or '> 0 and <= 0.058'", text) from None
        if side in bounds:
            raise where.wrong("target", "one bound for each side", text)
        bounds |= {side: value, f"{side}_open": match[1] in "<>"}
    return Interval(**bounds)  # type: ignore[arg-type]


def _file(folder: Path) -> Table:
    file = read_toml(folder / "rules.toml")
    for name in (*IDENTITY, "rounds", "keys", "tensors"):
        file.json(name)
    file.close()
    return file


def _rows(file: Table, folder: Path, name: str) -> tuple[Table, ...]:
    """The entries of a table that may stand in `rules.toml` or, where it is long, in `keys.toml` beside it."""
    if not (folder / "keys.toml").is_file():
        return file.tables(name)
    beside = read_toml(folder / "keys.toml")
    for known in ("keys", "tensors"):
        beside.json(known)
    beside.close()
    return file.tables(name) + beside.tables(name)


def _entry(file: Table, scope: Scope) -> Table | None:
    entries = [entry for entry in file.tables("rounds") if scope.own(entry)]
    if len(entries) > 1:
        raise UserError(f"{entries[1].where}: round {scope.name} is already covered by {entries[0].where}")
    return entries[0] if entries else None


def _inherited(file: Table, entry: Table, scope: Scope) -> Table:
    """The entry's fields over those of the round it is like, over the identity of the benchmark."""
    base: dict[str, object] = {name: file.data[name] for name in IDENTITY if name in file.data}
    if scope.like:
        if not ranges.is_official(scope.like):
            raise entry.wrong("like", "an official round", scope.like, nearest(scope.like, scope.known))
        parent = _entry(file, Scope(scope.like, "", scope.known))
        if parent is None:
            raise entry.wrong("like", "a round that another entry of this file covers", scope.like)
        base |= parent.data
    return Table(base | dict(entry.data), entry.where)


def _check_excepts(rows: Sequence[Table], entry: Table, scope: Scope, excepts: dict[str, str]) -> None:
    """A derived entry gives a reason for everything it changes, and for nothing else."""
    if not scope.like:
        return
    changed = set(entry.data) - {"in", "like", "excepts", "log_name"}
    changed |= {keys.rule_id(row) for row in rows if scope.own(row)}
    for name in sorted(changed - excepts.keys()):
        raise UserError(f"{entry.where}: '{name}' differs from round {scope.like}, but 'excepts' gives no reason")
    for name in sorted(excepts.keys() - changed):
        raise UserError(f"{entry.where}: 'excepts' names '{name}', which does not differ from round {scope.like}."
                        f"{nearest(name, changed)}")


def _evaluations(table: Table) -> Evaluations:
    points = [table.text("first")] if "first" in table else list(table.texts("points"))
    result = Evaluations(
        unit=table.choice("unit", UNITS),
        points=tuple(table.formula_of("points", point) for point in points),
        step=table.formula("step"),
        text=table.text("text"),
        lenient=table.text("lenient", ""),
    )
    table.close()
    return result


def _position(table: Table) -> Position:
    result = Position(table.text("key"), table.formula_of("value", table.text("value")),
                      table.flag("everywhere", False))
    table.close()
    return result


def _settings(table: Table, target: dict[str, Interval]) -> dict[str, Constraint]:
    words = References({}, target)
    result = {}
    for name in table.data:
        inner = table.table(name)
        result[name] = keys.constraint(inner, words)
        inner.text("source", "")
        inner.close()
    return result


def _in_log_order(frame: Frame, own: dict[str, KeyRule], target: dict[str, Interval]) -> tuple[KeyRule, ...]:
    """Common keys, those of the benchmark, common keys again. A benchmark's rule replaces a common one of its id."""
    scope = Scope(frame.scope.name, frame.common_like, frame.scope.known)
    words = References(frame.lists, target)
    opening = keys.key_rules(frame.opening, scope, words, common=True)
    closing = keys.key_rules(frame.closing, scope, words, common=True)
    return tuple((opening | own | {name: rule for name, rule in closing.items() if name not in own}).values())
