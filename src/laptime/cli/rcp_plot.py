"""`laptime rcp plot`: the reference points of a benchmark, what they allow, and where sets of runs lie."""

from pathlib import Path

import click

from laptime.cli.options import ANY_PATH, FILE, round_option, suite_option
from laptime.cli.rcp_check import rcps_option, with_points
from laptime.cli.rcp_figure import Band, Dot, Figure, draw
from laptime.cli.show import known_benchmark, rules_in
from laptime.cli.terminal import say
from laptime.compliance.result import judge_folder
from laptime.config import SuitePath
from laptime.errors import UserError
from laptime.results.references import band
from laptime.rules.load import load_round
from laptime.rules.model import BenchmarkRules
from laptime.scoring.rcp import in_use, statistics


@click.command("plot", epilog="Example: laptime rcp plot resnet --round v4.0 --out resnet-rcp.svg")
@click.argument("name")
@click.argument("paths", type=ANY_PATH, nargs=-1)
@round_option()
@click.option("--out", type=FILE, default=Path("rcp.png"), show_default=True, help="Where to: .png, .svg or .pdf.")
@rcps_option
@suite_option
def plot(*, name: str, paths: tuple[Path, ...], round_name: str, out: Path, rcps: Path | None,
         suite: SuitePath) -> None:
    """Draw the points of benchmark NAME in a round over the batch size, with the band in which sets of runs pass.

    PATHS: results of this benchmark; the mean of each is drawn as well.
    """
    known_benchmark(name, suite)
    rules = with_points(rules_in(load_round(round_name, suite), name), rcps)
    if not rules.references:
        raise UserError(f"expected reference points of {name} in round {rules.round}, found none")
    draw(Figure(title=f"{rules.title}, round {rules.round}: reference points",
                unit=f"{rules.convergence_unit} to the target", dots=tuple(dots(rules)), bands=tuple(bands(rules)),
                submissions=tuple(dot for path in paths for dot in submissions(rules, path, suite))), out)
    say(str(out))


def dots(rules: BenchmarkRules) -> list[Dot]:
    """Every point with enough values for a mean, used or pruned."""
    kept = in_use(rules.references, rules.drop)
    every = [statistics(point, rules.drop) for point in rules.references if len(point.values) > 2 * rules.drop]
    return [Dot(one.batch_size, one.mean, one in kept) for one in every]


def bands(rules: BenchmarkRules) -> list[Band]:
    """Mean and least mean over the batch sizes, at the points and between them, with the slack that the rules give."""
    return [Band(size, mean, least) for size, mean, least in band(rules, "rules")]


def submissions(rules: BenchmarkRules, path: Path, suite: SuitePath) -> list[Dot]:
    """The mean of every result of this benchmark in `path` that the test could take."""
    results = judge_folder(path, round_name=rules.round, suite=suite)
    return [Dot(result.rcp.batch_size, result.rcp.submission_mean, result.rcp.passed) for result in results
            if result.benchmark == rules.name and result.rcp is not None
            and result.rcp.batch_size is not None and result.rcp.submission_mean is not None]
