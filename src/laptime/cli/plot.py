"""`laptime plot`: the figure of a set of runs, and figures of a store of results."""

from pathlib import Path

import click

from laptime.cli.figure import Curve, Labels, draw
from laptime.cli.options import ANY_PATH, FILE, round_option, store_option, suite_option
from laptime.cli.plot_results import known_figures, plot_results
from laptime.cli.show import rules_in
from laptime.cli.terminal import say
from laptime.compliance.result import Result, judge_folder
from laptime.config import SuitePath
from laptime.errors import UserError
from laptime.results.figures.catalogue import FIGURES
from laptime.rules.load import folders, load_round
from laptime.rules.model import BenchmarkRules


@click.command("plot", epilog="Example: laptime plot speedup --earlier v0.5 --later v0.7 --out speedup.svg")
@click.argument("what", metavar="WHAT", required=False, type=ANY_PATH)
@click.option("--out", type=FILE, help="Where to: .png, .svg, .pdf or, for figures of a store, .html.  "
                                       "[default: runs.png, or the figure's name]")
@store_option
@round_option(None, "Round.  [default: as the logs or their path say; of a store, the latest]")
@click.option("--benchmark", metavar="NAME", help="Of this benchmark.")
@click.option("--earlier", metavar="ROUND", help="The first of two rounds.  [default: the one before --later]")
@click.option("--later", metavar="ROUND", help="The second of two rounds.  [default: the latest]")
@click.option("--chips", type=click.IntRange(min=1), help="Of entries with so many.  [default: 16]")
@click.option("--division", metavar="NAME", help="closed or open.  [default: closed]")
@click.option("--accelerator", metavar="TEXT", help="Its name holds this text.")
@click.option("--submitter", metavar="TEXT", help="Its name holds this text.")
@click.option("--system", metavar="TEXT", help="Its name holds this text.")
@click.option("--json", "form", flag_value="json", help="Print the data of a figure of a store in JSON.")
@click.option("--csv", "form", flag_value="csv", help="Print them as CSV.")
@click.option("--list", "listed", is_flag=True, help="Tell the figures of a store.")
@suite_option
def command(*, what: Path | None, out: Path | None, store_file: Path, round_name: str | None, benchmark: str | None,
            earlier: str | None, later: str | None, chips: int | None, division: str | None, accelerator: str | None,
            submitter: str | None, system: str | None, form: str | None, listed: bool, suite: SuitePath) -> None:
    """Draw a figure: of a folder of runs, of a benchmark's reference runs, or of a store of results.

    WHAT is a folder of runs (accuracy against epochs with the target, and how many epochs the target took), the name of
    a benchmark (the same for its reference runs of a round), or the name of a figure of a store: see --list.
    """
    chosen: dict[str, str | int | None] = {
        "round": round_name, "benchmark": benchmark, "earlier": earlier, "later": later, "chips": chips,
        "division": division, "accelerator": accelerator, "submitter": submitter, "system": system}
    given = {name: value for name, value in chosen.items() if value is not None}
    if listed:
        say(known_figures())
    elif what is None:
        raise click.UsageError("expected a folder of runs, a benchmark or a figure, or --list to see the figures")
    elif str(what) in FIGURES:
        plot_results(str(what), store_file, given, form or "figure", out)
    elif form or set(given) - {"round"}:
        raise click.UsageError(f"'{what}' is no figure of a store: it takes --out, --round and --suite only")
    else:
        plot_runs(what, out or Path("runs.png"), round_name, suite)


def plot_runs(runs: Path, out: Path, round_name: str | None, suite: SuitePath) -> None:
    """The figure of a folder of runs or of a benchmark's reference runs. Raises UserError."""
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
    return Labels(f"{rules.title}, round {rules.round}: reference runs", drawn_metric(rules), rules.convergence_unit,
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
    return Labels(f"{rules.title}, round {result.round}", drawn_metric(rules), rules.convergence_unit,
                  f"{note}; unverified")


def drawn_metric(rules: BenchmarkRules) -> str:
    """The axis of a curve: of a target with several metrics ("FID; CLIP") the first is drawn, and all are named."""
    first, _, others = rules.metric.partition("; ")
    return f"{first} ({others} counts too)" if others else first
