"""`laptime ingest`: rounds, submissions and folders of runs into one store."""

from pathlib import Path

import click

from laptime.cli.check import plural
from laptime.cli.counter import counter
from laptime.cli.options import ANY_PATH, FILE, json_option, round_option, store_option, suite_option
from laptime.cli.terminal import say, say_json
from laptime.compliance.finding import Level, printable
from laptime.config import SuitePath
from laptime.errors import FINDINGS, FINE
from laptime.results import store
from laptime.results.ingest import Ask, Ingested, ingest

MOST_TOLD = 20  # results left out, one line each


@click.command("ingest", epilog="Example: laptime ingest runs")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=ANY_PATH)
@store_option
@round_option(None, "Round to judge by.  [default: as the logs or their path say]")
@click.option("--level", type=click.Choice(["official", "rules"]), default="official", show_default=True,
              help="Judge as the official checker does, or by the text of the rules.")
@click.option("--label", default="", metavar="TEXT", help="Tells several sets of one's own runs apart.")
@click.option("--published", type=FILE, multiple=True, metavar="FILE",
              help="Published minutes, to stand beside those computed: a CSV table with the columns round, submitter, "
                   "system, benchmark, minutes.")
@click.option("--processes", type=click.IntRange(min=1), help="Judge in as many processes.  [default: as many as pay]")
@suite_option
@json_option
def command(*, paths: tuple[Path, ...], store_file: Path, round_name: str | None, level: Level, label: str,
            published: tuple[Path, ...], processes: int | None, suite: SuitePath, as_json: bool) -> int:
    """Put every result at each PATH into the store: a round's checkout, a submission, runs, an archive (.tar.*).

    What the store holds already is left alone, what has changed is replaced; an ingest that was interrupted can simply
    be repeated. Exit code 1 when a result had to be left out.
    """
    done = ingest(paths, store_file, Ask(round_name, level, label, suite), processes=processes,
                  progress=counter("read {done} of {total} results and submissions"), published=published)
    with store.reading(store_file) as connection:
        rows = store.counts(connection)
    if as_json:
        say_json({"new": done.new, "changed": done.changed, "unchanged": done.unchanged,
                  "left_out": [{"result": key, "why": why} for key, why in done.left_out], "rows": rows})
    else:
        say(text(done, rows, store_file))
    return FINDINGS if done.left_out else FINE


def text(done: Ingested, rows: dict[str, int], file: Path) -> str:
    """What was done, and what the store holds now."""
    lines = [f"{plural(done.new, 'new result')}, {done.changed} changed, {done.unchanged} unchanged."]
    if done.left_out:
        lines.append(f"{plural(len(done.left_out), 'result')} left out:")
        lines += [printable(f"  {key}: {why}") for key, why in done.left_out[:MOST_TOLD]]
        if len(done.left_out) > MOST_TOLD:
            lines.append(f"  and {len(done.left_out) - MOST_TOLD} more (--json tells all)")
    lines.append(f"{file} holds {plural(rows['entry'], 'result')} of {plural(rows['round'], 'round')} and "
                 f"{plural(rows['submitter'], 'submitter')}: {plural(rows['run'], 'run')}, "
                 f"{plural(rows['evaluation'], 'evaluation')}, {plural(rows['finding'], 'finding')}; "
                 f"{plural(rows['package'], 'submission')} with {plural(rows['package_finding'], 'finding')} "
                 f"of their own.")
    return "\n".join(lines)
