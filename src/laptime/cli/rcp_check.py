"""`laptime rcp check`: the convergence test of sets of runs, on the points of their round or on a file of points."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import click

from laptime.cli.options import ANY_PATH, FILE, json_option, level_option, round_option, suite_option
from laptime.cli.terminal import Column, say, say_json, table, width
from laptime.compliance import scores
from laptime.compliance.finding import Level
from laptime.compliance.references import read_points
from laptime.compliance.result import Result, RunVerdict, judge_folder
from laptime.compliance.run import number
from laptime.config import SuitePath
from laptime.errors import FINDINGS, FINE
from laptime.log.read import read_log
from laptime.rules.load import load_round
from laptime.rules.model import BenchmarkRules
from laptime.scoring.rcp import RcpDecision, check_convergence

F = TypeVar("F", bound=Callable[..., object])
COLUMNS = (Column("submitter"), Column("system"), Column("benchmark"), Column("batch", right=True),
           Column("mean", right=True), Column("least mean", right=True), Column("reference", right=True),
           Column("factor", right=True), Column("verdict"))


@dataclass(frozen=True)
class Checked:
    """The convergence test of one result. `to_reference`: the factor that brings it to the reference, passed or not."""

    path: Path
    submitter: str
    system: str
    benchmark: str
    round: str
    decision: RcpDecision
    to_reference: float | None


@dataclass(frozen=True)
class Other:
    """What the test is made with where not as usual. `rcps`: a file of points; `by_line`: what runs needed is the value
    of their train_samples line, as by an option of the official tool (RCP facts, section 1)."""

    rcps: Path | None
    by_line: bool
    level: Level
    suite: SuitePath


def rcps_option(command: F) -> F:
    return click.option("--rcps", type=FILE, help="Reference points of your own instead of the round's: a table like "
                                                  "rcp.csv, or JSON as the official tool reads it.")(command)


def with_points(rules: BenchmarkRules, path: Path | None) -> BenchmarkRules:
    """The rules with the reference points of a file. Raises UserError where it holds none."""
    if path is None:
        return rules
    return replace(rules, references=read_points(path, frozenset({rules.name, rules.log_name}), rules.convergence_unit))


@click.command("check", epilog="Example: laptime rcp check runs --round mini")
@click.argument("paths", type=ANY_PATH, nargs=-1, required=True)
@round_option(None, "Round to judge by.  [default: as the logs or their path say]")
@rcps_option
@click.option("--train-samples", "by_line", is_flag=True,
              help="Take what runs needed from their train_samples lines (logs whose positions are in another unit).")
@level_option
@suite_option
@json_option
def check(*, paths: tuple[Path, ...], round_name: str | None, rcps: Path | None, by_line: bool, level: Level,
          suite: SuitePath, as_json: bool) -> int:
    """Whether the runs in PATHS needed no less training than the reference, and the factor on their time.

    Exit code 1 when a set of runs does not pass.
    """
    results = [result for path in paths
               for result in judge_folder(path, round_name=round_name, level=level, suite=suite)]
    other = Other(rcps, by_line, level, suite)
    found = [one for result in results if (one := checked(result, other)) is not None]
    if as_json:
        say_json(found)
    else:
        say(text(found, width()))
    return FINE if all(one.decision.passed for one in found) else FINDINGS


def checked(result: Result, other: "Other") -> Checked | None:
    """The test of one result; None where it could not be judged at all."""
    decision = result.rcp
    if decision is None:
        return None
    if other.rcps is not None or other.by_line:
        decision = _again(result, decision, other)
    return Checked(result.folder.path, result.folder.submitter, result.folder.system, result.benchmark, result.round,
                   decision, decision.to_reference)


def text(found: Sequence[Checked], limit: int | None) -> str:
    """One line per result."""
    return table(COLUMNS, [_cells(one) for one in found], limit) if found else "no result that has a convergence test"


def _again(result: Result, decision: RcpDecision, other: Other) -> RcpDecision:
    """The test with other points or other numbers, of the runs that the score is made of."""
    if decision.batch_size is None:  # there is no test in this round or division, or nothing to test
        return decision
    rules = with_points(load_round(result.round, other.suite).benchmarks[result.benchmark], other.rcps)
    unused = result.score.unused if result.score else ()
    runs = [run for place, run in enumerate(result.runs) if place not in unused]
    if other.by_line:
        runs = [replace(run, convergence=_train_samples(run, other.suite)) for run in runs]
    slack = rules.convergence_slack.get("checker" if other.level == "official" else "rules", 0.0)
    return check_convergence(rules.references, batch_size=decision.batch_size, values=scores.units(runs),
                             runs=rules.runs, drop=rules.drop, max_failures=rules.max_failures, slack=slack)


def _train_samples(run: RunVerdict, suite: SuitePath) -> float | None:
    """The last train_samples of a run that converged."""
    key = load_round(run.round, suite).vocabulary.get("train_samples")
    values = [number(record.value) for record in read_log(run.path).records if record.key == key]
    found = values[-1] if values and run.convergence is not None else None
    return found if found is not None and math.isfinite(found) else None


def _cells(one: Checked) -> tuple[str, ...]:
    made = one.decision
    numbers = (made.batch_size, made.submission_mean, made.minimum_mean, made.reference_mean)
    shown = ("-" if number is None else f"{number:.6g}" for number in numbers)
    return (one.submitter or "-", one.system or "-", one.benchmark, *shown, f"{made.factor:.6f}",
            f"{'pass' if made.passed else 'fail'}: {made.text}")
