"""Rounds by name: the files of `rounds/` put together with the benchmark folders of the suite.

Folders are read as data; no code there is imported. Everything is cached by name.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal

from laptime.config import SuitePath, nearest
from laptime.errors import UnknownName, UserError
from laptime.rules import benchmarks, ranges
from laptime.rules.benchmarks import Frame
from laptime.rules.keys import Scope
from laptime.rules.model import BenchmarkRules, Identity, Interval, Round
from laptime.rules.packages import package_rules
from laptime.rules.schema import Table, read_toml

ROUNDS = Path(__file__).parent / "rounds"
SUITE = Path(__file__).parents[1] / "suite"
COMMON = "common"
BUILT_IN = SuitePath()

KINDS: tuple[Literal["official", "house"], ...] = ("official", "house")
DIALECTS: tuple[Literal["mlp05", "mll", "mllog"], ...] = ("mlp05", "mll", "mllog")
CLOCKS: tuple[Literal["from_data", "from_build"], ...] = ("from_data", "from_build")
FIELDS = ("title", "kind", "dialect", "clock", "init_minutes", "divisions", "statuses", "suite", "first_epoch",
          "seeds_required", "rcp_check", "normalised", "window_scores", "lenient_scores", "strict_structure",
          "has_checker", "remarks", "like")


@lru_cache(maxsize=1)
def round_names() -> tuple[str, ...]:
    """Every round: the official ones in time, then the house rounds."""
    stems = [path.stem for path in ROUNDS.glob("*.toml") if path.stem != COMMON]
    placed = {stem: at for stem in stems if (at := ranges.order(stem)) is not None}
    for stem in stems:
        if stem not in placed:
            raise UserError(f"rounds/{stem}.toml: expected a file name like v<number>.<number> or <word>-<number>")
    return tuple(sorted(placed, key=placed.__getitem__))


def resolve(name: str) -> str:
    """The full name of a round: the "v" may be left out, a house round's word means the newest of its kind.

    Raises UnknownName with the nearest name.
    """
    known = round_names()
    if name in known:
        return name
    if f"v{name}" in known:
        return f"v{name}"
    newest = {other.rpartition("-")[0]: other for other in known if not ranges.is_official(other)}
    if name in newest:
        return newest[name]
    raise UnknownName(f"unknown round '{name}'.{nearest(name, [*known, *newest])}", hint=f"Rounds: {', '.join(known)}.")


def load_round(name: str, suite: SuitePath = BUILT_IN) -> Round:
    """A round with the rules of each of its benchmarks that the suite has a folder for.

    Raises UnknownName for a round that does not exist and UserError for a fault in a rule file.
    """
    return _round(resolve(name), suite)


def by_log_name(round_: Round, log_name: str) -> BenchmarkRules | None:
    """The benchmark that logs of this round call `log_name`; None where the round or the suite has none."""
    name = round_.package.folder_names.get(log_name, log_name)  # some logs and folders use another name
    return round_.benchmarks.get(round_.suite.get(name, ""))


@lru_cache(maxsize=16)
def identities(suite: SuitePath = BUILT_IN) -> tuple[Identity, ...]:
    """What each benchmark folder is and the rounds it appears in, by folder name."""
    return tuple(benchmarks.identity(path, round_names()) for _, path in sorted(folders(suite).items()))


def target(name: str, folder: str, suite: SuitePath = BUILT_IN) -> Mapping[str, Interval]:
    """The target of one benchmark in a round, cheaper than all its rules; empty where the round does not have it."""
    path = folders(suite).get(folder)
    return {} if path is None else benchmarks.target(path, Scope(resolve(name), "", round_names()))


@lru_cache(maxsize=16)
def folders(suite: SuitePath = BUILT_IN) -> Mapping[str, Path]:
    """Benchmark folders by name: those of the package, then those of `suite.extra`. Raises UserError."""
    if suite.extra is not None and not suite.extra.is_dir():
        raise UserError(f"expected a folder of benchmarks, found nothing at {suite.extra}")
    found: dict[str, Path] = {}
    for root in (SUITE, suite.extra):
        if root is not None:
            found |= {path.parent.name: path.parent for path in sorted(root.glob("*/rules.toml"))}
    return found


@lru_cache(maxsize=64)
def _round(name: str, suite: SuitePath) -> Round:
    file = _round_file(name)
    like = file.text("like", "")
    common = _common()
    scope = Scope(name, "", round_names())
    mapping = file.text_map("suite") if ranges.is_official(name) else _house_suite(scope, suite)
    statuses, divisions = file.texts("statuses"), file.texts("divisions")
    frame = Frame(scope, common.tables("opening"), common.tables("closing"), like,
                  {"suite": tuple(mapping), "statuses": statuses, "divisions": divisions})
    return Round(
        name=name, kind=file.choice("kind", KINDS), title=file.text("title"), dialect=file.choice("dialect", DIALECTS),
        clock=file.choice("clock", CLOCKS), init_minutes=file.number_map("init_minutes"), divisions=divisions,
        statuses=statuses, suite=mapping, vocabulary=_vocabulary(common, Scope(name, like, round_names())),
        first_epoch=file.integer("first_epoch"), seeds_required=file.flag("seeds_required"),
        rcp_check=file.flag("rcp_check"), window_scores=file.flag("window_scores", False),
        lenient_scores=file.flag("lenient_scores", False),
        normalised=file.flag("normalised", True),
        strict_structure=file.flag("strict_structure", False), has_checker=file.flag("has_checker", True),
        remarks=file.texts("remarks", ()), benchmarks=_benchmarks(mapping, frame, suite),
        package=package_rules(Scope(name, like, round_names())),
    )


def _round_file(name: str) -> Table:
    """The file of a round; what a derived round does not say is taken from the round it is like."""
    file = read_toml(ROUNDS / f"{name}.toml")
    data = dict(file.data)
    like = file.text("like", "")
    if like:
        if not ranges.is_official(like) or like not in round_names():
            raise file.wrong("like", "an official round", like, nearest(like, round_names()))
        inherited = dict(read_toml(ROUNDS / f"{like}.toml").data)
        data = {name: value for name, value in inherited.items() if name not in ("remarks", "suite")} | data
    merged = Table(data, file.where)
    for field in FIELDS:
        merged.json(field)
    merged.close()
    return merged


def _common() -> Table:
    file = read_toml(ROUNDS / f"{COMMON}.toml")
    for field in ("vocabulary", "opening", "closing"):
        file.json(field)
    file.close()
    return file


def _vocabulary(common: Table, scope: Scope) -> dict[str, str]:
    vocabulary: dict[str, str] = {}
    for row in common.tables("vocabulary"):
        if scope.covers(row):
            vocabulary |= row.text_map("keys")
            row.close()
    return vocabulary


def _house_suite(scope: Scope, suite: SuitePath) -> dict[str, str]:
    """Log names of a house round: every folder with an entry for it, called as in the round it derives from."""
    mapping: dict[str, str] = {}
    for folder, path in sorted(folders(suite).items()):
        log_name = benchmarks.house_log_name(path, scope)
        if log_name is not None:
            like = benchmarks.derives_from(path, scope)
            official = _round_file(like).text_map("suite") if like in scope.known else {}
            inherited = next((name for name, other in official.items() if other == folder), folder)
            name = log_name or inherited
            if name in mapping:
                raise UserError(f"{path}/rules.toml: log name '{name}' of round {scope.name} is already that of "
                                f"'{mapping[name]}'; give this one a field 'log_name'")
            mapping[name] = folder
    return mapping


def _benchmarks(mapping: Mapping[str, str], frame: Frame, suite: SuitePath) -> "_Benchmarks":
    """The rules of each benchmark by folder; a log name without a folder, or a folder without an entry, has none."""
    paths = folders(suite)
    named = {folder: (paths[folder], log_name) for log_name, folder in mapping.items() if folder in paths}
    return _Benchmarks({folder: found for folder, found in named.items()
                        if benchmarks.covers(found[0], frame.scope)}, frame)


class _Benchmarks(Mapping[str, BenchmarkRules]):
    """The benchmarks of a round by folder name, each loaded when first asked for: most callers need one."""

    def __init__(self, named: Mapping[str, tuple[Path, str]], frame: Frame) -> None:
        self._named, self._frame = named, frame
        self._loaded: dict[str, BenchmarkRules] = {}

    def __getitem__(self, folder: str) -> BenchmarkRules:
        if folder not in self._loaded:
            path, log_name = self._named[folder]
            rules = benchmarks.load_benchmark(path, log_name, self._frame)
            assert rules is not None  # only folders with an entry are named
            self._loaded[folder] = rules
        return self._loaded[folder]

    def __iter__(self) -> Iterator[str]:
        return iter(self._named)

    def __len__(self) -> int:
        return len(self._named)
