"""`laptime query`: a question to the store, by its name or in SQL."""

from pathlib import Path

import click

from laptime.cli.answers import FORMATS, Format, give
from laptime.cli.options import FILE, store_option
from laptime.cli.terminal import Column, heading, say, table, width
from laptime.errors import FINE, UserError
from laptime.results.query import MOST_ROWS, MOST_SECONDS, Answer, ask, ask_question, questions

SHOWN_ROWS = 200  # of a table for people, unless asked
TABLES = """SELECT m.type, m.name, c.name AS column FROM sqlite_master AS m JOIN pragma_table_info(m.name) AS c
            WHERE m.type IN ('table', 'view') ORDER BY m.type, m.name, c.cid"""


@click.command("query", epilog="Example: laptime query fastest -p benchmark=resnet")
@click.argument("question", required=False)
@click.option("-p", "--param", "given", multiple=True, metavar="NAME=VALUE", help="A parameter of the question.")
@store_option
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True, help="Of the answer.")
@click.option("--out", type=FILE, help="Write the answer into this file.")
@click.option("--rows", type=click.IntRange(1, MOST_ROWS), help="At most this many rows.  [default: 200 in text, "
                                                                "else 100000]")
@click.option("--seconds", type=click.FloatRange(0.1, 3600), default=MOST_SECONDS, show_default=True,
              help="At most this long.")
@click.option("--list", "listed", is_flag=True, help="Tell the questions that have a name.")
@click.option("--tables", is_flag=True, help="Tell tables, views and their columns.")
def command(*, question: str | None, given: tuple[str, ...], store_file: Path, form: Format, out: Path | None,
            rows: int | None, seconds: float, listed: bool, tables: bool) -> int:
    """Answer a QUESTION from the store: one that has a name (see --list), or an SQL SELECT.

    A query can only read. docs/results.md describes tables and views.
    """
    if listed:
        say(known_questions(width()))
        return FINE
    if question is None and not tables:
        raise click.UsageError("expected a QUESTION, or --list to see those that have a name")
    most = rows or (SHOWN_ROWS if form == "text" and out is None else MOST_ROWS)
    give(_answer(question, given, store_file, most, seconds) if not tables else schema(store_file), form, out)
    return FINE


def schema(file: Path) -> Answer:
    """Tables and views, and the columns of each."""
    from laptime.results import store

    with store.reading(file) as connection:
        rows = [tuple(row) for row in connection.execute(TABLES)]
    return Answer(("kind", "name", "column"), tuple(rows))


def known_questions(limit: int | None) -> str:
    """Each question, its parameters and what it asks."""
    rows = [(one.name, " ".join(name if default is None else f"[{name}]"
                                for name, (_, default) in one.parameters.items()) or "-", one.text)
            for one in questions().values()]
    columns = (Column("question"), Column("parameters"), Column("what it asks"))
    return "\n".join([table(columns, rows, limit), "", heading("laptime query NAME -p PARAMETER=VALUE"),
                      "A parameter in brackets may be left out."])


def _answer(question: str | None, given: tuple[str, ...], file: Path, rows: int, seconds: float) -> Answer:
    words = (question or "").strip()
    parameters = dict(map(_pair, given))
    if len(words.split()) > 1:
        return ask(file, words, parameters, rows=rows, seconds=seconds)
    return ask_question(file, words, parameters, rows=rows, seconds=seconds)


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise UserError(f"expected a parameter such as benchmark=NAME, found '{text[:80]}'")
    return name.strip(), value.strip()
