"""`laptime results --summary`: a round in numbers, as text, Markdown or JSON."""

from collections.abc import Sequence
from pathlib import Path

import click
import orjson

from laptime.cli.answers import UNVERIFIED, text
from laptime.cli.check import write_text
from laptime.cli.terminal import heading, say
from laptime.compliance.finding import printable
from laptime.results.export import as_markdown
from laptime.results.figures.sheet import Choice
from laptime.results.figures.summary import Summary, summary
from laptime.results.query import Answer
from laptime.results.store import Value

HEADINGS = {"faster": "faster", "faster_same_chips": "same chips", "same_chips": "chips of that",
            "faster_since_first": "since first", "faster_since_first_same_chips": "since first, same chips",
            "since_first_same_chips": "chips of that", "system_name": "system", "most_chips": "most chips"}


def give_summary(store: Path, rounds: Sequence[str], form: str, out: Path | None) -> None:
    """Print the summary of one round, or write it to `out`. Raises UserError."""
    if len(rounds) > 1 or form not in ("text", "json", "markdown"):
        raise click.UsageError("expected one --round and --format text, markdown or json for --summary")
    found = summary(store, Choice(round=rounds[0] if rounds else ""))
    if form == "json":
        written = orjson.dumps(found.to_json(), option=orjson.OPT_INDENT_2).decode() + "\n"
    else:
        written = "\n".join(_parts(found, markdown=form == "markdown")) + "\n"
    if out is not None:
        write_text(out, click.unstyle(written))
    elif form == "text":
        say(written.rstrip("\n"))
    else:
        click.echo(written, nl=False)


def _parts(found: Summary, *, markdown: bool) -> list[str]:
    """Headings and tables."""
    parts = [_head(f"Round {found.round}", markdown, 1), "", *sentences(found), ""]
    tables = (("Fastest result of each benchmark (closed division), and how many times faster than comparable results "
               "before", found.benchmarks), ("Submitters", found.submitters),
              ("Latest round of each benchmark in the store", found.latest))
    for title, rows in tables:
        shown = _shown(rows)
        parts += [_head(title, markdown, 2), "", as_markdown(shown).rstrip() if markdown else text(shown), ""]
    return [*parts, UNVERIFIED]


def sentences(found: Summary) -> list[str]:
    """The round in a few lines."""
    totals = found.totals
    lines = [f"{totals['scored']} of {totals['results']} results with a score, from {totals['submitters']} submitters "
             f"with {totals['systems']} systems and {totals['accelerators']} kinds of accelerators; "
             f"{totals['benchmarks']} benchmarks, {totals['runs']} runs of which {totals['converged']} converged, up "
             f"to {totals['most_chips']} chips."]
    for column, words in (("faster", "at any number of chips, against the round before"),
                          ("faster_same_chips", "at the same number of chips, against the round before"),
                          ("faster_since_first", "at any number of chips, since the first comparable round"),
                          ("faster_since_first_same_chips", "at the same number of chips, since the first comparable")):
        if f"most_{column}" in totals:
            lines.append(printable(f"Most improved {words}: {totals[f'most_{column}_benchmark']}, "
                                   f"{totals[f'most_{column}']:.2f} times since {totals[f'most_{column}_since']}."))
    return lines


def _shown(found: Answer) -> Answer:
    return Answer(tuple(HEADINGS.get(name, name.replace("_", " ")) for name in found.columns),
                  tuple(tuple(map(_rounded, row)) for row in found.rows))


def _rounded(value: Value) -> Value:
    return round(value, 2 if abs(value) >= 1 else 3) if isinstance(value, float) else value


def _head(title: str, markdown: bool, level: int) -> str:
    return f"{'#' * level} {title}" if markdown else heading(title)
