"""`laptime plot`: the figure of a set of runs."""

from pathlib import Path

import click

from laptime.cli.figure import Curve, Labels, draw
from laptime.cli.options import ANY_PATH, FILE, round_option, suite_option
from laptime.cli.terminal import say
from laptime.compliance.result import Result, judge_folder
from laptime.config import SuitePath
from laptime.errors import UserError
from laptime.rules.load import load_round
from laptime.rules.model import BenchmarkRules


@click.command("plot", epilog="Example: laptime plot runs --out runs.svg")
@click.argument("folder", type=ANY_PATH)
@click.option("--out", type=FILE, default=Path("runs.png"), show_default=True, help="Where to: .png, .svg or .pdf.")
@round_option(None, "Round of the runs.  [default: as the logs or their path say]")
@suite_option
def command(*, folder: Path, out: Path, round_name: str | None, suite: SuitePath) -> None:
    """Draw the runs in FOLDER: accuracy against epochs with the target, and how many epochs the target took."""
    results = judge_folder(folder, round_name=round_name, suite=suite)
    if len(results) > 1:
        names = ", ".join(str(result.folder.path) for result in results[:3])
        raise UserError(f"expected the runs of one benchmark, found {len(results)} folders under {folder}",
                        hint=f"Name one of them: {names}{', ...' if len(results) > 3 else ''}")
    rules = load_round(results[0].round, suite).benchmarks.get(results[0].benchmark)
    if rules is None:
        raise UserError(f"there are no rules for benchmark '{results[0].benchmark}' to draw its runs by")
    draw(curves(results[0]), target_of(rules), labels(results[0], rules), out)
    say(str(out))


def curves(result: Result) -> list[Curve]:
    """One curve per run."""
    return [Curve(run.curve, run.status == "converged") for run in result.runs]


def target_of(rules: BenchmarkRules) -> float | None:
    """The bound that the first metric of the target has to pass."""
    interval = next(iter(rules.target.values()))
    return interval.low if interval.low is not None else interval.high


def labels(result: Result, rules: BenchmarkRules) -> Labels:
    """The words of the figure."""
    missed = sum(1 for run in result.runs if run.status != "converged")
    note = f"{len(result.runs)} runs" + (f", {missed} of them (grey) not converged" if missed else "")
    return Labels(f"{rules.title}, round {result.round}", rules.metric, rules.convergence_unit, f"{note}; unverified")
