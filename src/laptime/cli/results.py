"""`laptime results`: the table of results in the store, filtered."""

from pathlib import Path

import click

from laptime.cli.answers import FORMATS, Format, give
from laptime.cli.options import FILE, store_option
from laptime.cli.round_summary import give_summary
from laptime.errors import FINE
from laptime.results.query import Answer
from laptime.results.tables import Filters, count_range, known_values, results_table, systems_table

SHORT = ("round", "submitter", "system_name", "accelerator", "accelerators", "benchmark", "minutes", "chip_minutes",
         "node_minutes", "framework")  # columns of a table for people
HEADINGS = {"system_name": "system", "framework": "software", "minutes": "minutes", "chip_minutes": "min x chips",
            "node_minutes": "min x nodes", "accelerators": "count"}
OPEN = ("model", "notes")


@click.command("results", epilog="Example: laptime results --benchmark resnet --accelerators 8..64")
@store_option
@click.option("--round", "rounds", multiple=True, metavar="ROUND", help="Of this round.")
@click.option("--division", "divisions", multiple=True, metavar="NAME", help="closed or open.")
@click.option("--availability", "availabilities", multiple=True, metavar="NAME",
              help='Such as "Available cloud" or Preview.')
@click.option("--benchmark", "benchmarks", multiple=True, metavar="NAME", help="Of this benchmark.")
@click.option("--submitter", "submitters", multiple=True, metavar="NAME", help="Of this submitter.")
@click.option("--accelerator", default="", metavar="TEXT", help="Its name holds this text.")
@click.option("--accelerators", metavar="RANGE", help="So many in the whole system: 8, 8.., ..64 or 8..64.")
@click.option("--framework", default="", metavar="TEXT", help="The software's name holds this text.")
@click.option("--wide", is_flag=True, help="A row per system and a column per benchmark, as the public tables have it.")
@click.option("--summary", is_flag=True, help="A round in numbers: submitters, results, what became faster, and the "
                                              "latest round of each benchmark.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True, help="Of the table.")
@click.option("--out", type=FILE, help="Write the table into this file.")
def command(*, store_file: Path, rounds: tuple[str, ...], divisions: tuple[str, ...],
            availabilities: tuple[str, ...], benchmarks: tuple[str, ...], submitters: tuple[str, ...],
            accelerator: str, accelerators: str | None, framework: str, wide: bool, summary: bool, form: Format,
            out: Path | None) -> int:
    """The results in the store: who trained what on which system, in how many minutes.

    Filters by name may be given several times. min x chips and min x nodes: minutes times accelerators (processors
    where there are none) and times nodes; less is more economical. CSV, JSON and Markdown have all columns.
    """
    if summary:
        give_summary(store_file, rounds, form, out)
        return FINE
    filters = Filters(
        known_values(store_file, "round", rounds), known_values(store_file, "division", divisions),
        known_values(store_file, "availability", availabilities), known_values(store_file, "benchmark", benchmarks),
        known_values(store_file, "submitter", submitters), accelerator, framework,
        count_range(accelerators) if accelerators else (None, None))
    found = systems_table(store_file, filters) if wide else results_table(store_file, filters)
    give(short(found, wide) if form == "text" and out is None else found, form, out, notice=True)
    return FINE


def short(found: Answer, wide: bool) -> Answer:
    """What people read: fewer columns, minutes to two digits."""
    kept = [at for at, name in enumerate(found.columns)
            if (name not in ("details", "code", "processor", "processors") if wide else name in SHORT)]
    kept = [at for at in kept if found.columns[at] not in OPEN or any(row[at] for row in found.rows)]
    return Answer(tuple(HEADINGS.get(found.columns[at], found.columns[at]) for at in kept),
                  tuple(tuple(_rounded(row[at]) for at in kept) for row in found.rows), found.cut)


def _rounded(value: str | int | float | None) -> str | int | float | None:
    return round(value, 2 if value >= 1 else 3) if isinstance(value, float) else value
