"""`laptime review`: a reviewer's report of a submission, and the objections that come of it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from laptime.cli.check import plural, write_text
from laptime.cli.counter import counter
from laptime.cli.options import ANY_PATH, FILE, FOLDER, json_option, level_option, round_option, suite_option
from laptime.cli.terminal import Column, heading, say, say_json, table, width
from laptime.compliance.finding import Level
from laptime.config import SuitePath
from laptime.errors import FINDINGS, FINE, UserError
from laptime.submission.document import markdown, page
from laptime.submission.objections import STATES, Objection, read_objections, updated, write_objections
from laptime.submission.report import blocks, title
from laptime.submission.review import review

OBJECTIONS = "objections.toml"


@click.command("review", epilog="Example: laptime review ACME --against OTHER --out review")
@click.argument("submission", required=False, type=ANY_PATH)
@click.option("--against", multiple=True, type=ANY_PATH, metavar="OTHER",
              help="Another submission to compare with; may be given several times.")
@click.option("--out", type=FOLDER, help="Write review.md, review.html and objections.toml into this folder.")
@click.option("--objections", "file", type=FILE, help="Print the state of an objections file, or keep it up to date.")
@click.option("--by", default="", metavar="WHO", help="Who objects, for new objections.")
@round_option(None, "Round to judge by.  [default: as the logs or their path say]")
@level_option
@suite_option
@json_option
def command(*, submission: Path | None, against: tuple[Path, ...], out: Path | None, file: Path | None, by: str,
            round_name: str | None, level: Level, suite: SuitePath, as_json: bool) -> int:
    """Report on SUBMISSION for a reviewer: rules, reference points, other submissions, points to look into.

    Without --out the report goes to stdout as Markdown. Each point becomes an open entry of an objections file, which
    people answer by hand and a rerun keeps. Without SUBMISSION, --objections FILE prints how the objections stand.
    Exit code 1 while any is open or answered.
    """
    if submission is None:
        if file is None:
            raise click.UsageError("expected a SUBMISSION to review, or --objections FILE to print")
        known = read_objections(file)
        tell(known, as_json)
        return FINDINGS if any(one.unsettled for one in known) else FINE
    tracked = file or (None if out is None else out / OBJECTIONS)
    earlier = read_objections(tracked) if tracked is not None and tracked.exists() else ()
    found = review(submission, against, round_name=round_name, level=level, suite=suite,
                   progress=counter("judged {done} of {total} results"))
    objections = updated(earlier, found.points, by)
    parts = blocks(found, objections)
    if out is not None:
        make_folder(out)
        write_text(out / "review.md", markdown(parts))
        write_text(out / "review.html", page(title(found), parts))
    if tracked is not None:
        write_objections(tracked, objections)
    if out is None and tracked is None and not as_json:
        say(markdown(parts).rstrip("\n"))
    else:
        tell(objections, as_json)
    return FINDINGS if any(one.unsettled for one in objections) else FINE


def make_folder(path: Path) -> None:
    """Raises UserError where there cannot be one."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UserError(f"cannot make the folder {path}: {problem.strerror or problem}") from None


def tell(objections: Sequence[Objection], as_json: bool) -> None:
    """How the objections stand."""
    if as_json:
        say_json([vars(one) for one in objections])
        return
    say(text(objections, width()))


def text(objections: Sequence[Objection], limit: int | None) -> str:
    """A row per objection, those that need somebody first, and how many there are of each state."""
    if not objections:
        return "no objections"
    columns = tuple(map(Column, ("status", "id", "against", "by", "result", "what")))
    rows = [(one.status + ("!" if one.fix_required else ""), one.id, one.against or "-", one.by or "-",
             " ".join((one.system, one.benchmark)).strip() or "-", f"{one.title}: {one.text}")
            for one in sorted(objections, key=lambda one: STATES.index(one.status))]
    counts = Counter(one.status for one in objections)
    told = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    return "\n".join([table(columns, rows, limit), "", heading(f"{plural(len(objections), 'objection')}: {told}")])
