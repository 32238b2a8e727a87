"""The user's own weights over benchmarks, and the summary they give: `laptime score --weights`."""

import json
import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from laptime.cli.terminal import Column, table
from laptime.compliance.result import Result
from laptime.config import nearest
from laptime.errors import UserError
from laptime.scoring.weighted import weighted_geometric_mean

WHY_NOT = ("Weighted geometric mean with the weights given here. It is nobody's official number: which benchmarks "
           "matter, and how much, differs from user to user.")
LARGEST_BYTES = 65536
HINT = "Give name=weight,name=weight, or a TOML or JSON file of names and numbers."


@dataclass(frozen=True)
class Summary:
    """One system of one submitter. `minutes`: None where `missing` says which benchmark has no score."""

    round: str
    submitter: str
    system: str
    minutes: float | None
    missing: str


def parse_weights(text: str) -> dict[str, float]:
    """Weights by benchmark, from "a=2,b=1" or from a file. Raises UserError."""
    if "=" not in text:
        return _checked(_file(Path(text)), text)
    pairs = (part.partition("=") for part in text.split(","))
    return _checked({name.strip(): value.strip() for name, _, value in pairs}, text)


def summaries(results: Sequence[Result], weights: dict[str, float]) -> list[Summary]:
    """The weighted geometric mean of every system. Raises UserError for a weight of a benchmark that no result has."""
    names = {name for result in results for name in (result.folder.benchmark, result.benchmark)}
    for name in weights:
        if name not in names:
            raise UserError(f"there is a weight for '{name}', which none of the results is of.{nearest(name, names)}",
                            hint=f"Benchmarks here: {', '.join(sorted(names))}.")
    systems: dict[tuple[str, str, str], dict[str, float]] = {}
    for result in results:
        minutes = systems.setdefault((result.round, result.folder.submitter, result.folder.system), {})
        if result.score is not None:
            minutes[result.folder.benchmark] = minutes[result.benchmark] = result.score.normalised_minutes
    return [_summary(system, minutes, weights) for system, minutes in systems.items()]


def summary_table(found: Sequence[Summary], limit: int | None) -> str:
    columns = (Column("round"), Column("submitter"), Column("system"), Column("weighted mean [min]", right=True))
    return table(columns, [(one.round, one.submitter or "-", one.system or "-",
                            f"- ({one.missing})" if one.minutes is None else f"{one.minutes:.2f}") for one in found],
                 limit)


def _summary(system: tuple[str, str, str], minutes: dict[str, float], weights: dict[str, float]) -> Summary:
    try:
        return Summary(*system, weighted_geometric_mean(minutes, weights), "")
    except ValueError as problem:
        return Summary(*system, None, str(problem))


def _file(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
        data = json.loads(content) if path.suffix == ".json" else tomllib.loads(content.decode())
    except OSError as problem:
        raise UserError(f"cannot read weights from {path}: {problem.strerror or problem}", hint=HINT) from None
    except (ValueError, RecursionError):
        raise UserError(f"expected weights in {path}, found text that is neither TOML nor JSON", hint=HINT) from None
    if not isinstance(data, dict):
        raise UserError(f"expected names and weights in {path}, found something else", hint=HINT)
    return data


def _checked(found: dict[str, object] | dict[str, str], text: str) -> dict[str, float]:
    weights = {}
    for name, value in found.items():
        try:
            weight = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]  # or it raises
        except (TypeError, ValueError, OverflowError):
            weight = math.nan
        if not name or not 0 <= weight < math.inf:
            raise UserError(f"expected a weight of at least 0 for '{name}' in {text}, found '{value}'", hint=HINT)
        weights[name] = weight
    if not any(weights.values()):
        raise UserError(f"expected a positive weight in {text}, found none", hint=HINT)
    return weights
