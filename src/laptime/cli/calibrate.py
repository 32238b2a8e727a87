"""`laptime rcp make`, `faults` and `shortcuts`: how honest the target of a generated round is, measured."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from laptime.cli.options import FOLDER, data_option, json_option, round_option, suite_option
from laptime.cli.show import known_benchmark, rules_in
from laptime.cli.terminal import Column, say, say_json, table, width
from laptime.config import RunRequest, SuitePath
from laptime.errors import UserError
from laptime.rules.load import load_round

if TYPE_CHECKING:
    from laptime.harness.calibration import CalibrationRun

F = TypeVar("F", bound=Callable[..., object])
COLUMNS = (Column("runs of"), Column("n", right=True), Column("to target"), Column("best value of each", right=True))
SHORTCUT_COLUMNS = (Column("shortcut"), Column("value", right=True))


def set_options(command: F) -> F:
    """What sets of calibration runs have in common."""
    for option in (
        click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Runs at a time."),
        click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads per run."),
        click.option("--out", type=FOLDER, default=Path("runs/calibration"), show_default=True,
                     help="Folder of the runs."),
        click.option("--tables", type=FOLDER, show_default="the benchmark's own", help="Folder to write tables to."),
        click.option("--resume", is_flag=True, help="Go on with the runs that are there."),
        click.option("--set", "changes", metavar="A.B=VALUE", multiple=True, help="Override a setting."),
        round_option(), data_option, suite_option, json_option,
    ):
        command = option(command)
    return command


@click.command("make", epilog="Example: laptime rcp make resnet --round smoke --seeds 2 --out try --tables try")
@click.argument("name")
@click.option("--seeds", type=click.IntRange(2), default=20, show_default=True, help="Runs, a fresh seed each.")
@set_options
def make(*, name: str, seeds: int, jobs: int, threads: int, out: Path, tables: Path | None, resume: bool,
         changes: tuple[str, ...], round_name: str, data: Path, suite: SuitePath, as_json: bool) -> None:
    """Reference runs of benchmark NAME, and the reference point that they make.

    Each run goes on to its limit, so that whole curves are kept; its number is where it first met the target. Writes
    calibration.csv and the point of this round in rcp.csv, both in the folder of the benchmark.
    """
    from laptime.cli.watch import watcher
    from laptime.harness.calibration import TABLE, reference_runs, write_reference_point, write_table
    from laptime.harness.preflight import resolve

    request = _request(name, seeds, jobs, threads, out / "reference", resume, changes, round_name, data, suite)
    with watcher() as reporter:
        runs = reference_runs(request, reporter)
    flight = resolve(request)
    folder = made(tables or flight.rules.folder)
    write_table(folder / TABLE, runs)
    if not changes:
        write_reference_point(flight.rules, flight.config, runs, folder / "rcp.csv")
    _answer(runs, as_json)


@click.command("faults", epilog="Example: laptime rcp faults resnet --round smoke --seeds 2 --out try --tables try")
@click.argument("name")
@click.option("--seeds", type=click.IntRange(2), default=4, show_default=True, help="Runs of each fault.")
@set_options
def faults(*, name: str, seeds: int, jobs: int, threads: int, out: Path, tables: Path | None, resume: bool,
           changes: tuple[str, ...], round_name: str, data: Path, suite: SuitePath, as_json: bool) -> None:
    """Runs of benchmark NAME with faults planted: a target that they reach as fast as sound runs is worth nothing."""
    from laptime.cli.watch import watcher
    from laptime.harness.calibration import TABLE, fault_runs, write_table

    request = _request(name, seeds, jobs, threads, out / "fault", resume, changes, round_name, data, suite)
    rules = rules_in(load_round(round_name, suite), name)
    with watcher() as reporter:
        runs = fault_runs(request, reporter)
    write_table(made(tables or rules.folder) / TABLE, runs)
    _answer(runs, as_json)


@click.command("shortcuts", epilog="Example: laptime rcp shortcuts resnet --round smoke --tables try")
@click.argument("name")
@round_option()
@data_option
@suite_option
@click.option("--tables", type=FOLDER, show_default="the benchmark's own", help="Folder to write the table to.")
@json_option
def shortcuts(*, name: str, round_name: str, data: Path, suite: SuitePath, tables: Path | None, as_json: bool) -> None:
    """What benchmark NAME gives to methods that learn nothing worth learning; all must miss the target.

    Writes shortcuts.csv in the folder of the benchmark.
    """
    from laptime.cli.watch import watcher
    from laptime.harness.calibration import measure_shortcuts, shown, write_shortcuts

    known_benchmark(name, suite)
    with watcher() as reporter:
        rules, found = measure_shortcuts(RunRequest(name, round=round_name, data=data, suite=suite), reporter)
    write_shortcuts(made(tables or rules.folder) / "shortcuts.csv", found)
    if as_json:
        say_json(found)
    else:
        say(table(SHORTCUT_COLUMNS, [(method, shown(value)) for method, value in found.items()], width()))


def made(folder: Path) -> Path:
    """`folder`, made where it is missing. Raises UserError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror}", hint="Choose another --tables.") from None
    return folder


def _request(name: str, seeds: int, jobs: int, threads: int, out: Path, resume: bool, changes: tuple[str, ...],  # noqa: PLR0917
             round_name: str, data: Path, suite: SuitePath) -> RunRequest:
    known_benchmark(name, suite)
    if out.exists() and not resume:
        raise UserError(f"expected no runs in {out}, found some", hint="Add --resume to go on with them.")
    return RunRequest(name, round=round_name, out=out, data=data, overrides=changes, jobs=jobs, threads=threads,
                      runs=seeds, suite=suite)


def _answer(runs: list["CalibrationRun"], as_json: bool) -> None:
    if as_json:
        say_json(runs)
        return
    kinds = dict.fromkeys(run.kind for run in runs)
    say(table(COLUMNS, [_row(kind, [run for run in runs if run.kind == kind]) for kind in kinds], width()))


def _row(kind: str, runs: list["CalibrationRun"]) -> tuple[str, ...]:
    units = " ".join("never" if run.units is None else f"{run.units:g}"
                     for run in sorted(runs, key=lambda run: float("inf") if run.units is None else run.units))
    values = sorted(run.best for run in runs)
    return kind, str(len(runs)), units, f"{values[0]:.4f}" if len(runs) == 1 else f"{values[0]:.4f} to {values[-1]:.4f}"
