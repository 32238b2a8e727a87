"""`laptime list`: the suite as one table, from rule data alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import orjson

from laptime.cli.options import json_option, suite_option
from laptime.cli.terminal import Column, say, say_json, table, width
from laptime.config import SuitePath
from laptime.rules.load import identities, round_names, target
from laptime.rules.model import Identity, Interval
from laptime.rules.ranges import is_official

COLUMNS = (Column("area"), Column("benchmark"), Column("data set"), Column("model"), Column("metric"), Column("target"),
           Column("rounds"), Column("mini time [min]", right=True), Column("status"))


@dataclass(frozen=True)
class Row:
    """One benchmark. `target`: of its newest official round; `mini_minutes`: measured on two cores, None: not yet."""

    area: str
    benchmark: str
    dataset: str
    model: str
    metric: str
    target: str
    mini_target: str
    rounds: str
    mini_minutes: float | None
    status: str


@click.command("list", epilog="Example: laptime list")
@suite_option
@json_option
def command(*, suite: SuitePath, as_json: bool) -> None:
    """The suite: every benchmark with its target, the rounds that have it, and whether it runs here."""
    found = rows(suite)
    if as_json:
        say_json(found)
    else:
        say(text(found, width()))


def rows(suite: SuitePath) -> list[Row]:
    """Every benchmark folder, by area and name."""
    return sorted((_row(identity, suite) for identity in identities(suite)), key=lambda row: (row.area, row.benchmark))


def text(found: list[Row], limit: int | None) -> str:
    """The table for people."""
    return table(COLUMNS, [(row.area, row.benchmark, row.dataset, row.model, row.metric, row.target, row.rounds,
                            "-" if row.mini_minutes is None else f"{row.mini_minutes:.1f}", row.status)
                           for row in found], limit)


def implemented(suite: SuitePath) -> list[str]:
    """Benchmarks that can be run, not only judged."""
    return [identity.folder for identity in identities(suite) if (identity.path / "benchmark.py").is_file()]


def bounds(found: Mapping[str, Interval]) -> str:
    """A target such as ">= 0.759"; with metric names where there are several."""
    if len(found) == 1:
        return str(next(iter(found.values())))
    return ", ".join(f"{name} {interval}" for name, interval in found.items())


def _row(identity: Identity, suite: SuitePath) -> Row:
    runs = (identity.path / "benchmark.py").is_file()
    mini = target("mini", identity.folder, suite)
    return Row(identity.area, identity.folder, identity.dataset, identity.model, identity.metric,
               _target(identity, suite), bounds(mini), spans(identity.rounds),
               mini_minutes(identity.path) if mini else None, "runs" if runs else "judged only")


def _target(identity: Identity, suite: SuitePath) -> str:
    """The target of the newest official round that has the benchmark, else of the newest other one."""
    newest = max(identity.rounds, key=lambda name: (is_official(name), round_names().index(name)))
    return bounds(target(newest, identity.folder, suite))


def spans(names: tuple[str, ...]) -> str:
    """Rounds in the spelling of rule data: official ones that follow each other as "v0.5..v4.0"."""
    known = [name for name in round_names() if is_official(name)]
    parts: list[list[str]] = []
    for name in (name for name in known if name in names):
        if parts and known.index(parts[-1][-1]) + 1 == known.index(name):
            parts[-1].append(name)
        else:
            parts.append([name])
    return ", ".join(part[0] if len(part) == 1 else f"{part[0]}..{part[-1]}" for part in parts) or ", ".join(names)


def mini_minutes(folder: Path) -> float | None:
    """The measured time of a mini run, as the folder's golden values say it: {"mini": {"median_seconds": ...}}."""
    try:
        return float(orjson.loads((folder / "golden.json").read_bytes())["mini"]["median_seconds"]) / 60
    except (OSError, ValueError, KeyError, TypeError):
        return None
