"""`laptime rcp`: reference convergence points, and what they demand of a set of runs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import click

from laptime.cli.calibrate import faults, make, shortcuts
from laptime.cli.check import plural
from laptime.cli.options import json_option, level_option, round_option, suite_option
from laptime.cli.rcp_check import check, rcps_option, with_points
from laptime.cli.rcp_plot import plot
from laptime.cli.show import known_benchmark, rules_in
from laptime.cli.terminal import Column, heading, say, say_json, table, width
from laptime.compliance.finding import Level
from laptime.config import SuitePath
from laptime.rules.load import load_round
from laptime.rules.model import BenchmarkRules, ReferencePoint
from laptime.scoring.chance import FailureChance, failure_chance
from laptime.scoring.rcp import (
    FEWEST_RUNS,
    UNTESTED,
    Comparison,
    RcpDecision,
    Reference,
    check_mean,
    comparison,
    in_use,
    minimum_mean,
    statistics,
)

LARGEST_MEAN = 1e15  # in any unit of any round
COLUMNS = (Column("batch", right=True), Column("runs", right=True), Column("mean", right=True),
           Column("deviation", right=True), Column("least mean", right=True), Column("most speed-up", right=True),
           Column("used"))


@dataclass(frozen=True)
class Point:
    """What one batch size demands.

    `least_mean`: less would be faster than chance explains (None: not tested); `used`: how it is known.
    """

    batch_size: float
    runs: int
    mean: float
    deviation: float
    least_mean: float | None
    most_speedup: float | None
    used: str


@dataclass(frozen=True)
class Behind:
    """What stands behind the answer for a batch size. `points`: those it is made of; `pruned`: whether a point of this
    very size exists that pruning removed; `hyperparameters`: of the points, by name; `failure`: how likely a set that
    follows the reference fails (None: not tested, or compared with another batch size)."""

    points: tuple[str, ...]
    pruned: bool
    hyperparameters: Mapping[str, Mapping[str, str]]
    failure: FailureChance | None


@click.group("rcp")
def command() -> None:
    """Reference convergence points (RCPs): how much training the reference needs.

    A set of runs that needs significantly less did something else than the reference and fails the convergence test.
    """


@command.command("show", epilog="Example: laptime rcp show resnet --round v4.0 --batch 3000 --mean 34.5")
@click.argument("name")
@round_option()
@click.option("--batch", type=click.IntRange(1), help="Also say what holds at this global batch size.")
@click.option("--mean", type=click.FloatRange(0, LARGEST_MEAN, min_open=True),
              help="Also say what a set with this mean gets (needs --batch).")
@rcps_option
@level_option
@suite_option
@json_option
def show(*, name: str, round_name: str, batch: int | None, mean: float | None, rcps: Path | None, level: Level,
         suite: SuitePath, as_json: bool) -> None:
    """The points of benchmark NAME in a round: statistics, which are in use, and what each demands.

    With --batch, before any run: the fastest mean that passes at this batch size, how it was found, the settings of
    the reference there, and how likely a set that truly follows the reference is to fail.
    """
    if mean is not None and batch is None:
        raise click.UsageError("--mean needs --batch: what a mean is worth depends on the batch size")
    if mean is not None and math.isnan(mean):  # in every range as far as comparisons go
        raise click.BadParameter("expected a number, found nan", param_hint="'--mean'")
    known_benchmark(name, suite)
    rules = judged_at(with_points(rules_in(load_round(round_name, suite), name), rcps), level)
    found = points(rules)
    asked = None if batch is None else at_batch(rules, batch)
    verdict = None if batch is None or mean is None or not found else of_mean(rules, batch, mean)
    basis = None if batch is None or not found else behind(rules, batch)
    if as_json:
        say_json({"benchmark": rules.name, "round": rules.round, "unit": rules.convergence_unit, "points": found,
                  "asked": asked, "behind": basis, "verdict": verdict})
    else:
        say(text(rules, found, asked, batch, width()))
        if basis:
            say("\n".join(behind_words(basis, rules, asked)))
        if verdict:
            say(verdict_words(verdict, rules))


def judged_at(rules: BenchmarkRules, level: Level) -> BenchmarkRules:
    """The rules with the slack of one authority alone, under the name "any"."""
    slack = rules.convergence_slack.get("checker" if level == "official" else "rules", 0.0)
    return replace(rules, convergence_slack={"any": slack} if slack else {})


def points(rules: BenchmarkRules) -> list[Point]:
    """Every reference point of the round by batch size."""
    kept = in_use(rules.references, rules.drop)
    every = [statistics(point, rules.drop) for point in rules.references if len(point.values) > 2 * rules.drop]
    return [_point(rules, one, "yes" if one in kept else "no: pruned")
            for one in sorted(every, key=lambda one: one.batch_size)]


def at_batch(rules: BenchmarkRules, batch: int) -> Point | None:
    """What holds at a batch size: an exact point, or one between two; None outside the range of the points."""
    found = _compared(rules, batch)
    if found.reference is None or found.basis == "smaller":
        return None
    return _point(rules, found.reference, found.basis)


def of_mean(rules: BenchmarkRules, batch: int, mean: float) -> RcpDecision:
    """The verdict on a set of runs with this mean."""
    return check_mean(in_use(rules.references, rules.drop), batch_size=batch, submission=mean, runs=rules.runs,
                      slack=_slack(rules))


def behind(rules: BenchmarkRules, batch: int) -> Behind:
    """The points behind the answer for a batch size, and the chance of failing there by bad luck."""
    found = _compared(rules, batch)
    used = sources(rules, batch)
    least = None if found.reference is None else minimum_mean(found.reference, rules.runs, _slack(rules))
    same = found.basis in ("exact", "interpolated")
    chance = failure_chance(found.reference, used, least=least, runs=rules.runs, drop=rules.drop) \
        if same and found.reference is not None and least is not None else None
    return Behind(tuple(point.name for point in used),
                  found.basis != "exact" and any(point.batch_size == batch for point in rules.references),
                  {point.name: point.hyperparameters for point in used}, chance)


def sources(rules: BenchmarkRules, batch: int) -> list[ReferencePoint]:
    """The one or two points in use that a batch size is compared with; none above the largest."""
    kept = sorted(one.batch_size for one in in_use(rules.references, rules.drop))
    above = [size for size in kept if size >= batch]
    below = [size for size in kept if size < batch]
    wanted = [] if not above else above[:1] if above[0] == batch or not below else [below[-1], above[0]]
    return [next(point for point in rules.references if point.batch_size == size) for size in wanted]


def verdict_words(verdict: RcpDecision, rules: BenchmarkRules) -> str:
    """A verdict in one sentence."""
    set_ = f"A set with mean {verdict.submission_mean:g} {rules.convergence_unit}"
    if not verdict.passed:
        return f"{set_} fails: {verdict.text}" + (
            f", {verdict.minimum_mean:.4g} or more needed." if verdict.minimum_mean is not None else ".")
    return f"{set_} passes ({verdict.text}); its time is multiplied by {verdict.factor:.6g}."


def _compared(rules: BenchmarkRules, batch: int) -> Comparison:
    kept = in_use(rules.references, rules.drop)
    return comparison(kept, batch, rules.runs) if kept else Comparison("none", None)


def _slack(rules: BenchmarkRules) -> float:
    """Zero unless `judged_at` chose one."""
    return rules.convergence_slack.get("any", 0.0)


def _point(rules: BenchmarkRules, one: Reference, used: str) -> Point:
    least = minimum_mean(one, rules.runs, _slack(rules))
    return Point(one.batch_size, one.n, one.mean, one.stdev, least, one.mean / least if least else None, used)


def text(rules: BenchmarkRules, found: list[Point], asked: Point | None, batch: int | None, limit: int | None) -> str:
    """The table for people, with what its words mean."""
    if not found:
        return f"round {rules.round} has no reference points for {rules.name}: its sets are scored without this test"
    lines = [heading(f"{rules.title} ({rules.name}), round {rules.round}: {rules.convergence_unit} to the target"),
             table(COLUMNS, [_cells(point) for point in found], limit),
             "",
             f"mean: of the reference runs without the {rules.drop} smallest and {rules.drop} largest."]
    if rules.runs < FEWEST_RUNS:
        lines.append(f"A set has {plural(rules.runs, 'run')} in this round: {UNTESTED}, every set passes.")
        return "\n".join(lines)
    lines += [f"least mean: a set of {rules.runs} runs passes with this or more (one-sided t-test, 5 %)." + (
                  f" It is {_slack(rules):g} {rules.convergence_unit} below the test's." if _slack(rules) else ""),
              "A set that passes below the mean has its time multiplied by mean / its own mean.",
              "No mean is too slow: a set that needs more than the reference passes, its time as it is."]
    if batch is not None:
        lines += ["", _asked(asked, found, batch, rules)]
    return "\n".join(lines)


def behind_words(basis: Behind, rules: BenchmarkRules, asked: Point | None) -> list[str]:
    """Where the answer comes from, the settings of the reference, and the chance of failing by bad luck."""
    lines = []
    if basis.pruned:
        lines.append("The point of this very batch size is pruned: its neighbours show that less training is enough.")
    if asked and asked.least_mean:
        lines.append(f"Fastest mean that passes: {asked.least_mean:.6g} (time x {asked.mean / asked.least_mean:.4f}); "
                     f"from {asked.mean:.6g} on the time stands as it is.")
    for name, settings in basis.hyperparameters.items():
        said = ", ".join(f"{key} {value}" for key, value in settings.items()) or "none recorded"
        lines.append(f"Settings of reference {name}: {said}.")
    return lines + ([failure_words(basis.failure, rules)] if basis.failure else [])


def failure_words(failure: FailureChance, rules: BenchmarkRules) -> str:
    """How likely bad luck alone is, by both methods, and how it was computed."""
    one, other = failure.resampled, failure.normal
    return (f"A set of {rules.runs} runs that truly follows the reference fails with probability "
            f"{100 * one.probability:.2f} % (+/- {100 * one.error:.2f}; {failure.draws} sets drawn from the values of "
            f"the reference), {100 * other.probability:.2f} % (+/- {100 * other.error:.2f}) were the values normally "
            "distributed. Runs that never reach the target are not in this.")


def _cells(point: Point) -> tuple[str, ...]:
    return (f"{point.batch_size:g}", str(point.runs), f"{point.mean:.4g}", f"{point.deviation:.3g}",
            "-" if point.least_mean is None else f"{point.least_mean:.4g}",
            "-" if point.most_speedup is None else f"{point.most_speedup:.3f}", point.used)


def _asked(asked: Point | None, found: list[Point], batch: int, rules: BenchmarkRules) -> str:
    if asked is None:
        side = "smaller" if batch < min(point.batch_size for point in found if point.used == "yes") else "larger"
        return f"Batch {batch} is {side} than every point in use: " + (
            "a set passes if it needs no less than the smallest point demands." if side == "smaller"
            else "a new reference point would be needed.")
    return f"Batch {batch} ({asked.used}): mean {asked.mean:.4g}, a set of {rules.runs} runs " + (
        "is not tested." if asked.least_mean is None
        else f"needs at least {asked.least_mean:.4g} {rules.convergence_unit}.")


for _subcommand in (plot, check, make, faults, shortcuts):
    command.add_command(_subcommand)
