"""`laptime rcp`: reference convergence points, and what they demand of a set of runs."""

from dataclasses import dataclass

import click

from laptime.cli.calibrate import faults, make, shortcuts
from laptime.cli.options import json_option, round_option, suite_option
from laptime.cli.show import known_benchmark, rules_in
from laptime.cli.terminal import Column, heading, say, say_json, table, width
from laptime.config import SuitePath
from laptime.rules.load import load_round
from laptime.rules.model import BenchmarkRules
from laptime.scoring.rcp import Reference, interpolated, minimum_mean, pruned, statistics

COLUMNS = (Column("batch", right=True), Column("runs", right=True), Column("mean", right=True),
           Column("deviation", right=True), Column("least mean", right=True), Column("most speed-up", right=True),
           Column("used"))


@dataclass(frozen=True)
class Point:
    """What one batch size demands. `least_mean`: less would be faster than chance explains; `used`: how it is known."""

    batch_size: float
    runs: int
    mean: float
    deviation: float
    least_mean: float
    most_speedup: float
    used: str


@click.group("rcp")
def command() -> None:
    """Reference convergence points (RCPs): how much training the reference needs.

    A set of runs that needs significantly less did something else than the reference and fails the convergence test.
    """


@command.command("show", epilog="Example: laptime rcp show resnet --round v4.0 --batch 3000")
@click.argument("name")
@round_option()
@click.option("--batch", type=click.IntRange(1), help="Also say what holds at this global batch size.")
@suite_option
@json_option
def show(*, name: str, round_name: str, batch: int | None, suite: SuitePath, as_json: bool) -> None:
    """The points of benchmark NAME in a round: statistics, which are in use, and what each demands."""
    known_benchmark(name, suite)
    rules = rules_in(load_round(round_name, suite), name)
    found = points(rules)
    asked = None if batch is None else at_batch(rules, batch)
    if as_json:
        say_json({"benchmark": rules.name, "round": rules.round, "unit": rules.convergence_unit, "points": found,
                  "asked": asked})
    else:
        say(text(rules, found, asked, batch, width()))


def points(rules: BenchmarkRules) -> list[Point]:
    """Every reference point of the round by batch size."""
    references = sorted((statistics(point, rules.drop) for point in rules.references), key=lambda one: one.batch_size)
    kept = pruned(references)
    return [_point(rules, one, "yes" if one in kept else "no: pruned") for one in references]


def at_batch(rules: BenchmarkRules, batch: int) -> Point | None:
    """What holds at a batch size: an exact point, or one between two; None outside the range of the points."""
    kept = pruned([statistics(point, rules.drop) for point in rules.references])
    exact = [one for one in kept if one.batch_size == batch]
    below = [one for one in kept if one.batch_size < batch]
    above = [one for one in kept if one.batch_size > batch]
    if exact:
        return _point(rules, exact[0], "exact")
    if below and above:
        return _point(rules, interpolated(below[-1], above[0], batch, 2 * rules.runs), "interpolated")
    return None


def _point(rules: BenchmarkRules, one: Reference, used: str) -> Point:
    least = minimum_mean(one, rules.runs)
    return Point(one.batch_size, one.n, one.mean, one.stdev, least, one.mean / least if least else float("inf"), used)


def text(rules: BenchmarkRules, found: list[Point], asked: Point | None, batch: int | None, limit: int | None) -> str:
    """The table for people, with what its words mean."""
    if not found:
        return f"round {rules.round} has no reference points for {rules.name}: its sets are scored without this test"
    lines = [heading(f"{rules.title} ({rules.name}), round {rules.round}: {rules.convergence_unit} to the target"),
             table(COLUMNS, [_cells(point) for point in found], limit),
             "",
             f"mean: of the reference runs without the {rules.drop} smallest and {rules.drop} largest.",
             f"least mean: a set of {rules.runs} runs passes with this or more (one-sided t-test, 5 %).",
             "A set that passes below the mean has its time multiplied by mean / its own mean."]
    if batch is not None:
        lines += ["", _asked(asked, found, batch, rules)]
    return "\n".join(lines)


def _cells(point: Point) -> tuple[str, ...]:
    return (f"{point.batch_size:g}", str(point.runs), f"{point.mean:.4g}", f"{point.deviation:.3g}",
            f"{point.least_mean:.4g}", f"{point.most_speedup:.3f}", point.used)


def _asked(asked: Point | None, found: list[Point], batch: int, rules: BenchmarkRules) -> str:
    if asked is None:
        side = "smaller" if batch < min(point.batch_size for point in found if point.used == "yes") else "larger"
        return f"Batch {batch} is {side} than every point in use: " + (
            "a set passes if it needs no less than the smallest point demands." if side == "smaller"
            else "a new reference point would be needed.")
    return (f"Batch {batch} ({asked.used}): mean {asked.mean:.4g}, a set of {rules.runs} runs needs at least "
            f"{asked.least_mean:.4g} {rules.convergence_unit}.")


for _subcommand in (make, faults, shortcuts):
    command.add_command(_subcommand)
