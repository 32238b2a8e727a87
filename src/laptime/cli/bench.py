"""`laptime bench`: measured budgets of this machine."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from laptime.cli.options import ANY_PATH, FILE, json_option, suite_option
from laptime.cli.terminal import Column, say, say_json, table, width
from laptime.config import SuitePath
from laptime.errors import FINDINGS, FINE

if TYPE_CHECKING:
    from laptime.bench.report import Report
    from laptime.bench.row import Group, Row

CHOICES = ("overhead", "start", "train", "scale", "data", "judge")
COLUMNS = (Column("what"), Column("value", right=True), Column("95 % interval", right=True), Column("unit"),
           Column("budget", right=True), Column("verdict"), Column("mark", right=True), Column("note"))


@click.command("bench", epilog="Example: laptime bench resnet --quick")
@click.argument("name", required=False)
@click.option("--quick", is_flag=True, help="Seconds instead of minutes: proves that it works, measures nothing well.")
@click.option("--only", metavar="GROUPS", help=f"Some of {','.join(CHOICES)}, separated by commas.")
@click.option("--case", "cases", multiple=True, metavar="CASE",
              help="A case of the training steps of NAME, such as mini; may be given again.  [default: all]")
@click.option("--rounds", multiple=True, type=ANY_PATH, metavar="PATH",
              help="A public round to judge, a folder or archive named like the round; may be given again.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, or what torch offers.")
@click.option("--threads", type=click.IntRange(0), default=0, show_default="all cores", help="Compute threads.")
@click.option("--processes", type=click.IntRange(2), default=2, show_default=True,
              help="How many train together, beside one that trains alone (scale).")
@click.option("--out", type=FILE, show_default="bench/results/DATE-DEVICE.json; none if quick",
              help="File for the measurements.")
@suite_option
@json_option
def command(*, name: str | None, quick: bool, only: str | None, cases: tuple[str, ...], rounds: tuple[Path, ...],
            device: str, threads: int, processes: int, out: Path | None, suite: SuitePath, as_json: bool) -> int:
    """Measure harness overhead, start of commands, training steps, several processes beside one, and data pipeline,
    of benchmark NAME or of all, and how fast rounds are judged.

    Steps are timed turn by turn with an independent implementation at its best. Exit code 1 when a budget is missed.
    """
    groups = _groups(only)
    if cases and not name:
        raise click.BadParameter("expected the NAME of the benchmark whose cases these are", param_hint="--case")
    from laptime.bench.report import BenchRequest, run, save

    request = BenchRequest((name,) if name else (), groups, quick, device, threads, suite, ("laptime", *sys.argv[1:]),
                           processes, rounds, cases)
    report = run(request, _tell)
    kept = save(report, out) if out is not None or not quick else None
    if as_json:
        say_json(report)
    else:
        say(text(report, width()))
        if kept is not None:
            say(f"Kept in {kept}")
    return FINDINGS if any(row.verdict == "missed" for row in report.rows) and not quick else FINE


def _groups(only: str | None) -> "tuple[Group, ...]":
    chosen = CHOICES if only is None else tuple(word.strip() for word in only.split(","))
    for word in chosen:
        if word not in CHOICES:
            raise click.BadParameter(f"expected some of {', '.join(CHOICES)}, found '{word}'", param_hint="--only")
    return cast("tuple[Group, ...]", chosen)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def text(report: "Report", limit: int | None) -> str:
    """The table and what to think of it."""
    used = [i for i, column in enumerate(COLUMNS) if i < 4 or any(_cells(row)[i] for row in report.rows)]
    body = table([COLUMNS[i] for i in used], [[_cells(row)[i] for i in used] for row in report.rows], limit)
    lines = [f"{report.device}, {report.threads} threads, {report.date}", "", body, ""]
    if report.busy:
        lines.append(f"The machine was not quiet (load {report.load:.1f} at the start): measure again when it is.")
    if report.quick:
        lines.append("A quick look: no number here is a measurement.")
    return "\n".join(lines)


def _cells(row: "Row") -> tuple[str, ...]:
    interval = "" if row.low is None or row.high is None else f"{_number(row.low)} .. {_number(row.high)}"
    value = "" if row.value is None else _number(row.value)
    return (row.what, value, interval, row.unit, row.budget, row.verdict, row.mark, row.note)


def _number(value: float) -> str:
    """Three digits; all of a whole number."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
