"""The words and tables of a review, for `document` to write."""

import math
from collections.abc import Iterator, Mapping, Sequence

from laptime.compliance.finding import Finding, printable, shown
from laptime.compliance.grouping import flattened, grouped
from laptime.config import Json
from laptime.submission.borrowing import Loan
from laptime.submission.document import Block, Bullets, Heading, Paragraph, Scale, Table
from laptime.submission.evidence import Entry, LogFacts
from laptime.submission.hyperparameters import Row, alike, compared, nearest_reference
from laptime.submission.objections import Objection
from laptime.submission.review import Review, unusual_keys
from laptime.submission.suspicions import usual_step

MOST_OTHERS = 5  # columns of other submissions in one table
MOST_LOANS = 4  # lenders listed per result
MOST_FINDINGS = 25  # lines per result
NONE = "-"
UNVERIFIED = ("Every number here was measured and judged by this program alone: unverified. A point is a question, "
              "not a verdict; partners share code and machines, and small seeds meet by chance.")


def title(review: Review) -> str:
    return f"Review of {review.submitter or 'a submission'}, round {', '.join(review.rounds)}"


def blocks(review: Review, objections: Sequence[Objection] = ()) -> tuple[Block, ...]:
    """The whole report. `objections`: with their state, where they are tracked."""
    compared_with = ", ".join(sorted({other.submitter for other in review.others})) or "nobody else"
    parts: list[Block] = [
        Heading(1, title(review)),
        Paragraph(f"{len(review.entries)} results, judged at level {review.level}, compared with {compared_with}. "
                  f"{UNVERIFIED}"),
        Heading(2, "Results"), _overview(review), Heading(2, "Points to look into"), *_points(review, objections)]
    if review.around:
        parts += [Heading(2, "Around the results"), Bullets(_listed(review.around, 0))]
    for entry in review.entries:
        parts += [Heading(2, entry.title), *_entry(review, entry)]
    parts += [Heading(2, "Values that could be borrowed"), *_borrowing(review)]
    return tuple(parts)


def _overview(review: Review) -> Table:
    columns = ("system", "benchmark", "division", "runs", "score [min]", "scatter [%]", "batch", "convergence",
               "factor", "verdict", "points")
    counts: dict[tuple[str, str], int] = {}
    for point in review.points:
        counts[point.system, point.benchmark] = counts.get((point.system, point.benchmark), 0) + 1
    rows, marked = [], set()
    for place, entry in enumerate(review.entries):
        score, rcp = entry.result.score, entry.result.rcp
        points = counts.get((entry.system, entry.benchmark), 0)
        if points:
            marked.add(place)
        rows.append((entry.system or NONE, entry.benchmark, entry.result.division or NONE, str(len(entry.logs)),
                     NONE if score is None else _minutes(score.normalised_minutes),
                     NONE if score is None or score.variation is None else f"{100 * score.variation:.1f}",
                     _number(entry.batch_size), _number(entry.convergence),
                     NONE if rcp is None else f"{rcp.factor:.4f}",
                     "publishable" if entry.result.ok else "not as it is", str(points)))
    return Table(columns, tuple(rows), frozenset({3, 4, 5, 6, 7, 8, 10}), frozenset(marked))


def _points(review: Review, objections: Sequence[Objection]) -> Iterator[Block]:
    states = {one.id: one for one in objections}
    if not review.points:
        yield Paragraph("None found.")
        return
    rows = []
    for point in review.points:
        state = states.get(point.id)
        status = NONE if state is None else state.status + (", fix required" if state.fix_required else "")
        rows.append((point.id, point.title, " ".join((point.system, point.benchmark)).strip() or NONE, point.text,
                     "; ".join(point.places[:4]) + ("; ..." if len(point.places) > 4 else ""), point.source, status))
    yield Table(("id", "point", "result", "what", "where", "source", "status"), tuple(rows))


def _entry(review: Review, entry: Entry) -> Iterator[Block]:
    if entry.rules is None:
        yield Paragraph("There are no rules here to judge this result by.")
    yield from _findings(entry)
    yield from _convergence(entry)
    yield from _hyperparameters(review, entry)
    yield from _cadence(entry)
    yield from _times(entry)
    yield from _keys(entry)


def _findings(entry: Entry) -> Iterator[Block]:
    yield Heading(3, "Findings")
    lines = _listed(entry.findings, len(entry.logs))
    yield Bullets(lines) if lines else Paragraph("The judge finds nothing.")


def _listed(findings: Sequence[Finding], logs: int) -> tuple[str, ...]:
    """A line per group of findings, the first of many."""
    lines = [f"{'(follows) ' if depth else ''}{group.text(logs)}"
             for depth, group in flattened(grouped(findings))]
    more = len(lines) - MOST_FINDINGS
    return (*lines[:MOST_FINDINGS], f"and {more} more: see laptime check") if more > 0 else tuple(lines)


def _convergence(entry: Entry) -> Iterator[Block]:
    rcp, point = entry.result.rcp, nearest_reference(entry)
    runs = tuple(run.convergence for run in entry.result.runs if run.convergence is not None)
    yield Heading(3, "Convergence")
    unit = entry.rules.convergence_unit if entry.rules else ""
    if rcp is None or rcp.reference_mean is None or rcp.minimum_mean is None:
        yield Paragraph(f"{'Not compared' if rcp is None else rcp.text}. The runs needed {_span(runs)} {unit}.")
        return
    dots = [("these runs", runs)] + ([] if point is None else [(f"reference, {point.batch_size:g}", point.values)])
    yield Paragraph(
        f"{rcp.text} ({'passed' if rcp.passed else 'not passed'}): at batch {_number(rcp.batch_size)} the reference "
        f"needs {_number(rcp.reference_mean)} {unit}, less than {_number(rcp.minimum_mean)} would be more than luck. "
        f"The runs needed {_span(runs)}, {_number(rcp.submission_mean)} on average; factor {rcp.factor:.4f}.")
    yield Scale(f"Needed to converge [{unit}]; shaded: from the least mean that passes to the mean of the reference.",
                (rcp.minimum_mean, rcp.reference_mean),
                (("least mean", rcp.minimum_mean), ("reference", rcp.reference_mean)), tuple(dots))


def _hyperparameters(review: Review, entry: Entry) -> Iterator[Block]:
    others, point = review.beside(entry)[:MOST_OTHERS], nearest_reference(entry)
    rows = compared(entry, others)
    if not rows:
        return
    yield Heading(3, "Hyperparameters")
    columns = ("value", "here", NONE if point is None else f"reference {point.name}",
               *(f"{other.submitter} {other.system}".strip() for other in others))
    marked = frozenset(place for place, row in enumerate(rows) if row.departs)
    yield Table(columns, tuple(_cells(row, point is not None) for row in rows), marked=marked)
    if point is not None:
        yield Paragraph(f"Marked: other than in the reference point of the nearest batch size ({point.batch_size:g}).")


def _cells(row: Row, has_reference: bool) -> tuple[str, ...]:
    reference = row.reference if has_reference and row.reference is not None else NONE
    return (row.name, _value(row.mine), reference,
            *("=" if value is not None and alike(value, row.mine) else _value(value) for value in row.others))


def _cadence(entry: Entry) -> Iterator[Block]:
    if entry.rules is None or not entry.logs:
        return
    yield Heading(3, "Evaluations")
    firsts = [log.positions[0] for log in entry.logs if log.positions]
    steps = [step for log in entry.logs if (step := usual_step(log.positions)) is not None]
    counts = [len(log.positions) for log in entry.logs]
    yield Paragraph(f"Prescribed: {entry.rules.evaluations.text}. Found: {_span(counts)} evaluations per run, the "
                    f"first at {_span(firsts)}, then every {_span(steps)}.")


def _times(entry: Entry) -> Iterator[Block]:
    yield Heading(3, "Where the time went")
    score = entry.result.score
    if score is not None and score.sd is not None and score.variation is not None:
        yield Paragraph(f"The runs that count scatter by {100 * score.variation:.2f} % "
                        f"(standard deviation {score.sd:.4f} min).")
    rows = tuple((run.path.name, run.status, NONE if run.minutes is None else _minutes(run.minutes),
                  _number(run.convergence), NONE if log.times.init is None else f"{log.times.init / 1000:.1f}",
                  *_shares(log), ", ".join(log.seeds[:2]) or NONE) for run, log in entry.runs)
    yield Table(("run", "outcome", "time [min]", "needed", "init [s]", "training [%]", "evaluation [%]", "rest [%]",
                 "seed"), rows, frozenset(range(2, 8)))


def _shares(log: LogFacts) -> tuple[str, str, str]:
    times = log.times
    if not times.run:
        return NONE, NONE, NONE
    one, two, three = (NONE if part is None else f"{100 * part / times.run:.1f}"
                       for part in (times.training, times.evaluation, times.rest))
    return one, two, three


def _keys(entry: Entry) -> Iterator[Block]:
    found = unusual_keys(entry)
    if found:
        yield Heading(3, "Unusual keys")
        yield Paragraph("Neither asked for by the round nor common: " + ", ".join(
            f"{shown(key)} ({count} of {len(entry.logs)} logs)" for key, count in found.items()) + ".")


def _borrowing(review: Review) -> Iterator[Block]:
    yield Paragraph("During review a submitter may once per entry take over the hyperparameters of another submission "
                    "of the same benchmark as a group; batch sizes may stay its own, software and system must "
                    "(submission rules, borrowing of hyperparameters).")
    for words, loans in (("This submission from others", review.borrowed),
                         ("Others from this submission", review.lent)):
        if loans:
            yield Heading(3, words)
            yield _loans(loans)
    if not review.borrowed and not review.lent:
        yield Paragraph("Nothing: no other submission of the same benchmark and round is compared, or none differs.")


def _loans(loans: Sequence[Loan]) -> Table:
    per_borrower: Mapping[str, list[Loan]] = {loan.borrower.place: [] for loan in loans}
    for loan in loans:
        per_borrower[loan.borrower.place].append(loan)
    rows = tuple((f"{loan.borrower.submitter}: {loan.borrower.title}", f"{loan.lender.submitter}: {loan.lender.system}",
                  f"{_number(loan.borrower.batch_size)} / {_number(loan.lender.batch_size)}",
                  NONE if loan.ratio is None else f"{loan.ratio:.3f}", _changes(loan))
                 for found in per_borrower.values() for loan in found[:MOST_LOANS])
    return Table(("who", "from", "batch, own / theirs", "convergence, theirs / own", "what would change"), rows,
                 frozenset({2, 3}))


def _changes(loan: Loan) -> str:
    return ", ".join(f"{name} {_value(mine)} -> {_value(theirs)}" for name, (mine, theirs) in loan.changes.items())


def _value(value: Json) -> str:
    if value is None:
        return NONE
    return printable(value if isinstance(value, str) and len(value) < 40 else shown(value).strip("'"))


def _number(value: float | None) -> str:
    return NONE if value is None or not math.isfinite(value) else f"{value:.6g}"


def _minutes(value: float) -> str:
    return f"{value:.3f}"


def _span(values: Sequence[float]) -> str:
    """Such as "35", "35 to 39", "nothing"."""
    if not values:
        return "nothing"
    low, high = min(values), max(values)
    return _number(low) if low == high else f"{_number(low)} to {_number(high)}"
