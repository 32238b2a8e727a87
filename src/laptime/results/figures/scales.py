"""Figures of one benchmark in one round: time against scale, and convergence against the reference points."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from laptime.results.figures import choose
from laptime.results.figures.canvas import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    SERIES,
    doublings,
    name,
    plain_log,
    short_numbers,
)
from laptime.results.figures.sheet import UNVERIFIED, Choice, Sheet, number
from laptime.results.query import Answer, ask

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OTHERS: Final = "others"
WIDE: Final = 10  # largest over smallest batch size from which on their axis is logarithmic
_SCALING = """
    SELECT coalesce(accelerator, processor, 'not said') AS accelerator, chips, minutes, minutes_low, minutes_high,
           chip_minutes, submitter, system_name, entry
    FROM results
    WHERE round = :round AND benchmark = :benchmark AND (:division = '' OR division = :division) AND minutes > 0
      AND chips > 0 AND instr(lower(coalesce(accelerator, processor, '')), lower(:accelerator)) > 0
      AND instr(lower(submitter), lower(:submitter)) > 0
    ORDER BY accelerator, chips, minutes"""
_POINTS = """
    SELECT CASE WHEN used THEN 'point in use' ELSE 'point pruned' END AS kind, batch_size, mean, minimum AS least,
           NULL AS minutes, name, '' AS submitter FROM reference
    WHERE round = :round AND benchmark = :benchmark AND mean IS NOT NULL
    UNION ALL
    SELECT 'band', batch_size, mean, least, NULL, '', '' FROM band WHERE round = :round AND benchmark = :benchmark
    UNION ALL
    SELECT CASE rcp_passed WHEN 1 THEN 'result passes' ELSE 'result fails' END, batch_size, convergence, rcp_minimum,
           minutes, system_name, submitter FROM results
    WHERE round = :round AND benchmark = :benchmark AND division = 'closed' AND convergence IS NOT NULL
      AND batch_size > 0 AND rcp_passed IS NOT NULL AND instr(lower(submitter), lower(:submitter)) > 0
    ORDER BY 1, 2, 3"""


def scaling(file: Path, choice: Choice) -> Sheet:
    """Minutes against chips of every result of a benchmark in a round, by accelerator. Raises UserError."""
    benchmark = choose.benchmark_of(file, choice)
    round_name = choose.round_of(file, choice, benchmark)
    found = ask(file, _SCALING, {"round": round_name, "benchmark": benchmark, "division": choice.division,
                                 "accelerator": choice.accelerator, "submitter": choice.submitter})
    rows = choose.found(found.rows, f"score of {benchmark} in round {round_name}")
    return Sheet("scaling", f"Time against scale: {benchmark}, round {round_name}",
                 f"{choice.division.capitalize() or 'All'} division; each mark is a result, lines join the fastest of "
                 "an accelerator, dots show ideal scaling", Answer(found.columns, rows), {"benchmark": benchmark},
                 ("Ideal: twice the chips in half the time, from the smallest system of the same accelerator.",),
                 (round_name,))


def draw_scaling(figure: "Figure", sheet: Sheet) -> None:
    """Both axes logarithmic; a colour and marker per accelerator, the rarest together in grey."""
    axes = figure.subplots()
    counts = Counter(sheet.texts("accelerator"))
    kinds = [kind for kind, _ in sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:len(SERIES)]]
    rest = [kind for kind in counts if kind not in kinds]
    for kind in rest:
        one = sheet.where(accelerator=kind)
        axes.scatter(one.numbers("chips"), one.numbers("minutes"), color=GREY, marker="x", s=26, linewidths=1.2,
                     label=f"{OTHERS} ({len(rest)})" if kind == rest[0] else None)
    for kind, (colour, marker) in zip(kinds, SERIES, strict=False):
        _accelerator(axes, sheet.where(accelerator=kind), colour, marker, name(kind))
    axes.plot([], [], color=INK, linestyle=":", linewidth=1, label="ideal scaling")
    axes.set(xscale="log", yscale="log", xlabel="chips (accelerators, or processors where there are none)",
             ylabel=f"minutes to the target ({UNVERIFIED})")
    axes.margins(0.06)
    minutes = sheet.numbers("minutes")
    axes.set_ylim(min(minutes) / 1.5, max(minutes) * 1.5)
    doublings(axes, "x")
    plain_log(axes, "y")
    figure.legend(loc="outside right upper", title="accelerator", alignment="left")


def _accelerator(axes: "Axes", sheet: Sheet, colour: str, marker: str, label: str) -> None:
    chips, minutes = sheet.numbers("chips"), sheet.numbers("minutes")
    best: dict[float, float] = {}
    for count, time in zip(chips, minutes, strict=True):
        best[count] = min(time, best.get(count, time))
    axes.scatter(chips, minutes, color=colour, marker=marker, s=30, alpha=0.85, linewidths=0, label=label, zorder=3)
    if len(best) > 1:
        axes.plot(sorted(best), [best[count] for count in sorted(best)], color=colour, linewidth=1.1, alpha=0.8)
        first, last = min(best), max(best)
        axes.plot([first, last], [best[first], best[first] * first / last], color=colour, linewidth=1, linestyle=":")


def convergence(file: Path, choice: Choice) -> Sheet:
    """Reference points, the band between their mean and the least mean that passes, and results. Raises UserError."""
    benchmark = choose.benchmark_of(file, choice)
    round_name = choose.round_of(file, choice, benchmark)
    values = {"round": round_name, "benchmark": benchmark}
    found = ask(file, _POINTS, {**values, "submitter": choice.submitter})
    rows = found.rows if any(str(row[0]).startswith("point") for row in found.rows) else ()
    choose.found(rows, f"reference points of {benchmark} in round {round_name}", "Choose another --round.")
    unit = ask(file, "SELECT unit FROM benchmark WHERE round = :round AND name = :benchmark", values).rows[0][0]
    kinds = Counter(str(row[0]) for row in rows)
    return Sheet("convergence", f"Convergence of results against reference points: {benchmark}, round {round_name}",
                 f"Closed division; mean {unit} to the target of each result, over its global batch size", found,
                 {"unit": unit}, (f"{kinds['result passes']} results pass, {kinds['result fails']} do not. Below the "
                                  "line of the least mean a result needs less than luck explains; within the band its "
                                  "time is multiplied in rounds that normalise.",), (round_name,))


def draw_convergence(figure: "Figure", sheet: Sheet) -> None:
    """The band as a filled area, points and results as marks of different form."""
    axes = figure.subplots()
    band = sheet.where(kind="band")
    if len(band.table.rows) == 1:
        (size,), (mean,), (least,) = band.numbers("batch_size"), band.numbers("mean"), band.numbers("least")
        axes.vlines(size, least, mean, color=BLUE, alpha=0.3, linewidth=8, label="passes, time multiplied")
    elif band.table.rows:
        xs, least_means = band.numbers("batch_size"), band.numbers("least")
        axes.plot(xs, band.numbers("mean"), color=BLUE, linewidth=1.3, label="mean of the reference")
        axes.plot(xs, least_means, color=ORANGE, linewidth=1.1, linestyle="--", label="least mean that passes")
        axes.fill_between(xs, least_means, band.numbers("mean"), color=BLUE, alpha=0.15, linewidth=0,
                          label="passes, time multiplied")
    for kind, colour, marker, size in (("point in use", BLUE, "o", 44), ("point pruned", GREY, "o", 30),
                                       ("result passes", GREEN, "^", 26), ("result fails", ORANGE, "v", 40)):
        one = sheet.where(kind=kind)
        if one.table.rows:
            hollow = kind.startswith("point")
            axes.scatter(one.numbers("batch_size"), one.numbers("mean"), marker=marker, s=size, zorder=2 + (not hollow),
                         facecolors="white" if hollow else colour, edgecolors=colour, alpha=1 if hollow else 0.75,
                         linewidths=1.4 if hollow else 0, label=kind)
    axes.set(xlabel="global batch size", ylabel=f"{sheet.facts['unit']} to the target ({UNVERIFIED})")
    sizes = [number(value) for value in sheet.column("batch_size")]
    if max(sizes) > WIDE * min(sizes) > 0:
        axes.set(xscale="log")
        plain_log(axes, "x")
    short_numbers(axes, "y", max(sheet.numbers("mean")))
    axes.margins(y=0.12)
    figure.legend(loc="outside right upper", alignment="left")
