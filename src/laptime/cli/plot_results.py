"""Figures of a store of results for `laptime plot`: into a file, or their data for programs."""

from pathlib import Path

import click
import orjson

from laptime.cli.check import write_text
from laptime.cli.terminal import Column, heading, say, table, width
from laptime.errors import UserError
from laptime.results.export import as_csv, as_json
from laptime.results.figures.canvas import FORMS, write
from laptime.results.figures.catalogue import FIGURES
from laptime.results.figures.page import page
from laptime.results.figures.sheet import Choice, Sheet

ENDINGS = (*(f".{form}" for form in FORMS), ".html")


def known_figures() -> str:
    """Each figure, what may be chosen, and what it shows."""
    rows = [(name, " ".join(f"--{choice}" for choice in one.choices), one.text) for name, one in FIGURES.items()]
    columns = (Column("figure"), Column("choices"), Column("what it shows"))
    return "\n".join([table(columns, rows, width()), "", heading("laptime plot FIGURE --store FILE --out FILE.svg"),
                      "A folder of runs, or the name of a benchmark, gives the figure of these runs."])


def plot_results(figure: str, store: Path, given: dict[str, str | int], form: str, out: Path | None) -> None:
    """Draw, or print the data in `form` "json" or "csv". `given`: what was chosen. Raises UserError."""
    drawing = FIGURES[figure]
    if unused := [name for name in given if name not in drawing.choices]:
        raise click.UsageError(f"figure '{figure}' has no --{unused[0]}; it has "
                               f"{', '.join(f'--{name}' for name in drawing.choices)}")
    path = out or Path(f"{figure}.png")
    if form == "figure" and path.suffix not in ENDINGS:
        raise UserError(f"expected a file ending in {', '.join(ENDINGS)}, found '{path.name}'")
    sheet = drawing.collect(store, Choice(**given))  # type: ignore[arg-type]
    if form != "figure":
        _tell(as_csv(sheet.table) if form == "csv" else data(sheet), out)
        return
    if path.suffix == ".html":
        write_text(path, page(sheet, drawing.file(sheet, "svg")))
    else:
        write(drawing.file(sheet, next(form for form in FORMS if path.suffix == f".{form}")), path)
    say(str(path))


def data(sheet: Sheet) -> str:
    """A figure's data in JSON: its words, its single numbers and its rows."""
    head = orjson.dumps({"figure": sheet.name, "title": sheet.title, "subtitle": sheet.subtitle, "notes": sheet.notes,
                         "source": sheet.source, "unverified": True, "facts": dict(sheet.facts)},
                        option=orjson.OPT_INDENT_2).decode()
    return f'{head.rstrip()[:-1].rstrip()},\n  "rows": {as_json(sheet.table).rstrip()}\n}}\n'


def _tell(text: str, out: Path | None) -> None:
    if out is None:
        click.echo(text, nl=False)
    else:
        write_text(out, text)
