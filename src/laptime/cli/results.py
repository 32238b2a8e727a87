"""`laptime results`: the table of results in the store, filtered."""

from collections.abc import Sequence
from pathlib import Path

import click

from laptime.cli.answers import FORMATS, Format, give
from laptime.cli.options import FILE, store_option
from laptime.config import nearest
from laptime.errors import FINE, UnknownName
from laptime.results.query import Answer
from laptime.results.tables import Filters, count_range, results_table, systems_table, values_of

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
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True, help="Of the table.")
@click.option("--out", type=FILE, help="Write the table into this file.")
def command(*, store_file: Path, rounds: tuple[str, ...], divisions: tuple[str, ...],
            availabilities: tuple[str, ...], benchmarks: tuple[str, ...], submitters: tuple[str, ...],
            accelerator: str, accelerators: str | None, framework: str, wide: bool, form: Format,
            out: Path | None) -> int:
    """The results in the store: who trained what on which system, in how many minutes.

    Filters by name may be given several times. min x chips and min x nodes: minutes times accelerators (processors
    where there are none) and times nodes; less is more economical. CSV, JSON and Markdown have all columns.
    """
    filters = Filters(
        _known(store_file, "round", rounds), _known(store_file, "division", divisions),
        _known(store_file, "availability", availabilities), _known(store_file, "benchmark", benchmarks),
        _known(store_file, "submitter", submitters), accelerator, framework,
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


def _known(file: Path, column: str, chosen: Sequence[str]) -> tuple[str, ...]:
    """The names as the store has them. Raises UnknownName with the nearest one."""
    names = values_of(file, column) if chosen else ()
    held = {name.lower(): name for name in names}
    for one in chosen:
        if one.lower() not in held and (column != "round" or f"v{one.lower()}" not in held):
            raise UnknownName(f"the store has no {column} '{one}'.{nearest(one, names)}",
                              hint=f"It has: {', '.join(names[:30]) or 'none'}.")
    return tuple(held.get(one.lower()) or held[f"v{one.lower()}"] for one in chosen)
