"""A round in numbers: who submitted, how many results, what became faster, and the latest round of each benchmark.

Improvement is the fastest result of the round against the fastest of another round that may be compared with it (same
target, model, data set, start of the clock), once at any scale and once at the same number of chips, where the number
with the greatest gain counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from laptime.config import Json
from laptime.results.figures import choose
from laptime.results.figures.canvas import BLUE, INK, ORANGE, name, plain_log
from laptime.results.figures.sheet import UNVERIFIED, Choice, Sheet, number
from laptime.results.query import Answer, ask
from laptime.results.store import Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SUBMITTERS = """
    SELECT submitter, count(*) AS results, sum(minutes IS NOT NULL) AS scored, sum(division = 'open') AS open,
           count(DISTINCT benchmark) AS benchmarks, count(DISTINCT system) AS systems, max(chips) AS most_chips
    FROM results WHERE round = :round GROUP BY submitter ORDER BY results DESC, submitter"""
_BENCHMARKS = """
    WITH now AS (SELECT * FROM records WHERE round = :round AND division = 'closed'),
    gains AS (SELECT benchmark, earlier, max(speedup) AS gain, chips FROM speedup  -- chips: those of the greatest gain
              WHERE later = :round AND division = 'closed' AND comparable GROUP BY benchmark, earlier),
    wide AS (SELECT benchmark, earlier, speedup AS gain FROM growth
             WHERE later = :round AND division = 'closed' AND comparable),
    older AS (SELECT n.benchmark, e.round AS earlier, e.round_number FROM now AS n JOIN records AS e
              ON e.benchmark = n.benchmark AND e.division = 'closed' AND e.round_number < n.round_number
              AND e.comparable_since IS n.comparable_since),
    ends AS (SELECT benchmark, max(round_number) AS last, min(round_number) AS first FROM older GROUP BY benchmark)
    SELECT n.benchmark, n.minutes, n.chips, n.submitter, n.system_name,
           (SELECT count(*) FROM results AS r WHERE r.round = :round AND r.benchmark = n.benchmark) AS results,
           last.earlier AS previous, last_wide.gain AS faster, last_gain.gain AS faster_same_chips,
           last_gain.chips AS same_chips,
           first.earlier AS first, first_wide.gain AS faster_since_first,
           first_gain.gain AS faster_since_first_same_chips, first_gain.chips AS since_first_same_chips,
           n.comparable_since
    FROM now AS n LEFT JOIN ends ON ends.benchmark = n.benchmark
    LEFT JOIN older AS last ON last.benchmark = n.benchmark AND last.round_number = ends.last
    LEFT JOIN older AS first ON first.benchmark = n.benchmark AND first.round_number = ends.first
    LEFT JOIN wide AS last_wide ON last_wide.benchmark = n.benchmark AND last_wide.earlier = last.earlier
    LEFT JOIN gains AS last_gain ON last_gain.benchmark = n.benchmark AND last_gain.earlier = last.earlier
    LEFT JOIN wide AS first_wide ON first_wide.benchmark = n.benchmark AND first_wide.earlier = first.earlier
    LEFT JOIN gains AS first_gain ON first_gain.benchmark = n.benchmark AND first_gain.earlier = first.earlier
    ORDER BY n.benchmark"""
_LATEST = """
    SELECT benchmark, round AS latest, comparable_since, min(minutes) AS minutes, chips, submitter
    FROM results AS r
    WHERE minutes IS NOT NULL AND division = 'closed' AND round_kind = 'official'
      AND round_number = (SELECT max(round_number) FROM results AS o WHERE o.benchmark = r.benchmark
                          AND o.division = 'closed' AND o.minutes IS NOT NULL AND o.round_kind = 'official')
    GROUP BY benchmark ORDER BY benchmark"""


@dataclass(frozen=True)
class Summary:
    """`totals`: single numbers of the round; `submitters`, `benchmarks`, `latest`: tables."""

    round: str
    totals: Mapping[str, Value]
    submitters: Answer
    benchmarks: Answer
    latest: Answer

    def to_json(self) -> Mapping[str, Json]:
        return {"round": self.round, "unverified": True, **self.totals, "submitters": objects(self.submitters),
                "benchmarks": objects(self.benchmarks), "latest": objects(self.latest)}


def summary(file: Path, choice: Choice) -> Summary:
    """The round chosen, else the latest with scores. Raises UserError."""
    chosen = choose.round_of(file, choice)
    values: dict[str, Value] = {"round": chosen}
    totals = ask(file, """
        SELECT count(*) AS results, sum(minutes IS NOT NULL) AS scored, count(DISTINCT submitter) AS submitters,
               count(DISTINCT submitter || '/' || system) AS systems, count(DISTINCT benchmark) AS benchmarks,
               sum(runs) AS runs, sum(converged) AS converged, max(chips) AS most_chips,
               count(DISTINCT accelerator) AS accelerators
        FROM results WHERE round = :round""", values)
    benchmarks = ask(file, _BENCHMARKS, values)
    found = dict(zip(totals.columns, totals.rows[0], strict=True))
    return Summary(chosen, {**found, **_best(benchmarks, "previous", ""), **_best(benchmarks, "first", "_since_first")},
                   ask(file, _SUBMITTERS, values), benchmarks, ask(file, _LATEST))


def objects(found: Answer) -> list[Json]:
    """Rows by the names of their columns."""
    return [dict(zip(found.columns, row, strict=True)) for row in found.rows]


def sheet(file: Path, choice: Choice) -> Sheet:
    """The table of benchmarks of a round, for its figure. Raises UserError."""
    found = summary(file, choice)
    choose.found(found.benchmarks.rows, f"closed score of round {found.round}")
    totals = found.totals
    return Sheet("summary",
                 f"Round {found.round}: {totals['scored']} scored results of {totals['submitters']} submitters",
                 f"{totals['systems']} systems, {totals['benchmarks']} benchmarks, {totals['runs']} runs, up to "
                 f"{totals['most_chips']} chips; closed division below", found.benchmarks, dict(totals),
                 ("Improvements are against the fastest comparable result in this store, at any number of chips and at "
                  "the same number where the gain is greatest.",), (found.round,))


def draw(figure: "Figure", sheet_: Sheet) -> None:
    """The fastest time of each benchmark, and how much faster it became."""
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 4))
    names = sheet_.texts("benchmark")
    rows = range(len(names))
    minutes = sheet_.numbers("minutes")
    left.scatter(minutes, rows, color=BLUE, s=36, zorder=3)
    for place, (value, chips, who) in enumerate(zip(minutes, sheet_.column("chips"), sheet_.texts("submitter"),
                                                    strict=True)):
        left.annotate(f"{value:.2f} min, {chips or '?'} chips, {name(who, 14)}", (value, place), xytext=(6, 0),
                      textcoords="offset points", va="center", fontsize=8)
    left.set(title="Fastest time", xlabel=f"minutes ({UNVERIFIED})")
    left.set_yticks(list(rows), [name(each, 22) for each in names])
    left.set(xscale="log")
    left.set_xlim(min(minutes) / 1.5, max(minutes) * (max(minutes) / min(minutes) * 10) ** 0.6)
    plain_log(left, "x")
    left.set_ylim(len(names) - 0.4, -0.6)
    _gains(right, sheet_)
    for axes in (left, right):
        axes.grid(axis="y", visible=False)


def _gains(axes: "Axes", sheet_: Sheet) -> None:
    groups = (("faster", "any number of chips, since previous round", BLUE, "o"),
              ("faster_same_chips", "same number of chips, since previous round", ORANGE, "s"),
              ("faster_since_first", "any number of chips, since first comparable", BLUE, "D"),
              ("faster_since_first_same_chips", "same number of chips, since first comparable", ORANGE, "^"))
    once = [before == first for before, first in zip(sheet_.column("previous"), sheet_.column("first"), strict=True)]
    for column, label, colour, marker in groups:
        hollow = "first" in column
        shown = [(number(value), place) for place, value in enumerate(sheet_.column(column))
                 if value is not None and not (hollow and once[place])]
        if shown:
            axes.scatter([value for value, _ in shown], [place for _, place in shown], marker=marker, s=42, label=label,
                         facecolors="white" if hollow else colour, edgecolors=colour, linewidths=1.4, zorder=3)
    for place, (before, first) in enumerate(zip(sheet_.column("previous"), sheet_.column("first"), strict=True)):
        words = "nothing comparable in this store" if before is None else \
            f"since {before}" if before == first else f"since {before}, {first}"
        axes.annotate(words, (1, place), xycoords=("axes fraction", "data"), xytext=(-2, 0), textcoords="offset points",
                      ha="right", va="center", fontsize=8, color="#555555")
    axes.axvline(1, color=INK, linewidth=1)
    axes.set(title="Times faster", xlabel=f"times faster than the fastest comparable result before ({UNVERIFIED})")
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.8), max(high, 2) + 0.45 * (max(high, 2) - min(low, 0.8)))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.16), ncols=2, fontsize=7.5)


def _best(found: Answer, other: str, ending: str) -> dict[str, Value]:
    """The greatest improvement at any scale and at the same number of chips, with its benchmark."""
    best: dict[str, Value] = {}
    rows = objects(found)
    for kind in ("", "_same_chips"):
        column = f"faster{ending}{kind}"
        held = [row for row in rows if isinstance(row, dict) and isinstance(row[column], int | float)]
        top = max(held, key=lambda row: number(row[column]), default=None)
        best |= {f"most_{column}": top[column], f"most_{column}_benchmark": top["benchmark"],
                 f"most_{column}_since": top[other]} if top else {}
    return best
