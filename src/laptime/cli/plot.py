"""`laptime plot`: the figure of a set of runs."""

from pathlib import Path

import click

from laptime.cli.figure import Curve, Labels, draw
from laptime.cli.options import ANY_PATH, FILE, round_option, suite_option
from laptime.cli.show import rules_in
from laptime.cli.terminal import say
from laptime.compliance.result import Result, judge_folder
from laptime.config import SuitePath
from laptime.errors import UserError
from laptime.rules.load import folders, load_round
from laptime.rules.model import BenchmarkRules


@click.command("plot", epilog="Example: laptime plot resnet --out resnet.svg")
@click.argument("runs", type=ANY_PATH)
@click.option("--out", type=FILE, default=Path("runs.png"), show_default=True, help="Where to: .png, .svg or .pdf.")
@round_option(None, "Round of the runs.  [default: as the logs or their path say]")
@suite_option
def command(*, runs: Path, out: Path, round_name: str | None, suite: SuitePath) -> None:
    """Draw accuracy against epochs with the target, and how many epochs the target took.

    RUNS is a folder of runs, or the name of a benchmark: then its reference runs of a round (mini) are drawn.
    """
    if not runs.exists() and str(runs) in folders(suite):
        rules = rules_in(load_round(round_name or "mini", suite), str(runs))
        draw(reference_curves(rules), target_of(rules), reference_labels(rules), out)
    else:
        draw_folder(runs, out, round_name, suite)
    say(str(out))


def draw_folder(folder: Path, out: Path, round_name: str | None, suite: SuitePath) -> None:
    """The figure of the runs in a folder. Raises UserError where they are of more than one benchmark."""
    results = judge_folder(folder, round_name=round_name, suite=suite)
    if len(results) > 1:
        names = ", ".join(str(result.folder.path) for result in results[:3])
        raise UserError(f"expected the runs of one benchmark, found {len(results)} folders under {folder}",
                        hint=f"Name one of them: {names}{', ...' if len(results) > 3 else ''}")
    rules = load_round(results[0].round, suite).benchmarks.get(results[0].benchmark)
    if rules is None:
        raise UserError(f"there are no rules for benchmark '{results[0].benchmark}' to draw its runs by")
    draw(curves(results[0]), target_of(rules), labels(results[0], rules), out)


def reference_curves(rules: BenchmarkRules) -> list[Curve]:
    """One curve per reference run, up to where it met the target. Raises UserError where there is no table."""
    from laptime.harness.calibration import REFERENCE, TABLE, read_table

    runs = [run for run in read_table(rules.folder / TABLE) if (run.round, run.kind) == (rules.round, REFERENCE)]
    if not runs:
        raise UserError(f"expected reference runs in {rules.folder / TABLE}, found none",
                        hint=f"Make them: laptime rcp make {rules.name} --round {rules.round}")
    return [Curve(tuple(point for point in run.curve if run.units is None or point[0] <= run.units),
                  run.units is not None) for run in runs]


def reference_labels(rules: BenchmarkRules) -> Labels:
    return Labels(f"{rules.title}, round {rules.round}: reference runs", rules.metric, rules.convergence_unit,
                  "one thread each; unverified")


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
