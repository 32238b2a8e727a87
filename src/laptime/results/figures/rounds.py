"""Figures over rounds: speed-up and growth of the fastest entries between two rounds (Mattson et al. 2020, MLPerf
Training Benchmark, figures 3 and 4), and the best time per round."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Final

from laptime.results.figures import choose
from laptime.results.figures.canvas import BLUE, GREEN, INK, ORANGE, name, plain_log
from laptime.results.figures.sheet import UNVERIFIED, Choice, Sheet, distinct, number
from laptime.results.query import Answer, ask
from laptime.results.store import Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCALES: Final = ((8, "8 chips", ORANGE, "s"), (64, "64 chips", GREEN, "^"), (0, "any number of chips", BLUE, "o"))
ACROSS: Final = 4  # panels side by side
POINTS: Final = 100  # in a share of 1
OTHER_TARGET: Final = "Hatched: another target, model or data set, or another start of the clock; not comparable."
_SPEEDUP = """
    SELECT s.benchmark, s.earlier_minutes, s.later_minutes, s.speedup, s.comparable, e.submitter AS earlier_submitter,
           e.accelerator AS earlier_accelerator, l.submitter AS later_submitter, l.accelerator AS later_accelerator,
           (SELECT coalesce(t.low, t.high) FROM target AS t WHERE t.benchmark = s.benchmark AND t.round = s.earlier
            ORDER BY t.metric LIMIT 1) AS earlier_target,
           (SELECT coalesce(t.low, t.high) FROM target AS t WHERE t.benchmark = s.benchmark AND t.round = s.later
            ORDER BY t.metric LIMIT 1) AS later_target
    FROM speedup AS s JOIN results AS e ON e.entry = s.earlier_entry JOIN results AS l ON l.entry = s.later_entry
    WHERE s.earlier = :earlier AND s.later = :later AND s.chips = :chips AND s.division = :division
      AND s.later_minutes > 0 AND s.earlier_minutes > 0
    ORDER BY s.benchmark"""
_GROWTH = """
    SELECT g.benchmark, g.earlier_chips, g.later_chips, g.growth, g.earlier_minutes, g.later_minutes, g.speedup,
           g.comparable, e.submitter AS earlier_submitter, l.submitter AS later_submitter,
           (SELECT coalesce(t.low, t.high) FROM target AS t WHERE t.benchmark = g.benchmark AND t.round = g.earlier
            ORDER BY t.metric LIMIT 1) AS earlier_target,
           (SELECT coalesce(t.low, t.high) FROM target AS t WHERE t.benchmark = g.benchmark AND t.round = g.later
            ORDER BY t.metric LIMIT 1) AS later_target
    FROM growth AS g JOIN results AS e ON e.entry = g.earlier_entry JOIN results AS l ON l.entry = g.later_entry
    WHERE g.earlier = :earlier AND g.later = :later AND g.division = :division
      AND g.earlier_chips > 0 AND g.later_chips > 0 AND g.later_minutes > 0 AND g.earlier_minutes > 0
    ORDER BY g.benchmark"""
_TREND = """
    SELECT benchmark, round, 0 AS scale, minutes, chips, submitter, comparable_since, round_number FROM records
    WHERE division = :division AND minutes > 0
    UNION ALL
    SELECT benchmark, round, chips, minutes, chips, submitter, comparable_since, round_number FROM fastest
    WHERE division = :division AND minutes > 0 AND chips IN (8, 64)
    ORDER BY benchmark, 3, round_number"""


def speedup(file: Path, choice: Choice) -> Sheet:
    """How many times faster the fastest entry at so many chips became between two rounds. Raises UserError."""
    earlier, later = choose.two_rounds(file, choice)
    found = ask(file, _SPEEDUP, {"earlier": earlier, "later": later, "chips": choice.chips,
                                 "division": choice.division})
    choose.found(found.rows, f"benchmark with results at {choice.chips} chips in both {earlier} and {later}",
                 "Give other --earlier, --later or --chips.")
    sheet = Sheet("speedup", f"Speed-up of the fastest entries with {choice.chips} chips, {earlier} to {later}",
                  f"{choice.division.capitalize()} division; minutes of the fastest entry of {earlier} over those of "
                  f"{later}", found, {"earlier": earlier, "later": later, "chips": choice.chips},
                  rounds=(earlier, later))
    return _with_mean(sheet, "speedup", "times faster")


def growth(file: Path, choice: Choice) -> Sheet:
    """How many chips the fastest entries of two rounds took. Raises UserError."""
    earlier, later = choose.two_rounds(file, choice)
    found = ask(file, _GROWTH, {"earlier": earlier, "later": later, "division": choice.division})
    choose.found(found.rows, f"benchmark with results in both {earlier} and {later}",
                 "Give other --earlier or --later.")
    sheet = Sheet("growth", f"Chips of the fastest entries, {earlier} and {later}", f"{choice.division.capitalize()} "
                  "division; chips: accelerators, or processors where there are none", found,
                  {"earlier": earlier, "later": later}, rounds=(earlier, later))
    return _with_mean(sheet, "growth", "times as many chips")


def trend(file: Path, choice: Choice) -> Sheet:
    """The best time of each benchmark in every round, at fixed numbers of chips and at any. Raises UserError."""
    found = ask(file, _TREND, {"division": choice.division})
    wanted = choose.benchmark_of(file, choice) if choice.benchmark else ""
    rows = choose.found(tuple(row for row in found.rows if not wanted or row[0] == wanted), "score")
    held = choose.rounds_with_scores(file, wanted)
    several = [row[0] for row in rows if row[2] == 0]
    if not wanted:  # a single point is no trend
        rows = tuple(row for row in rows if several.count(row[0]) > 1) or rows
    return Sheet("trend", f"Best time per round{f': {wanted}' if wanted else ''}",
                 f"{choice.division.capitalize()} division; minutes of the fastest entry, with as many chips as the "
                 "legend says", Answer(found.columns, rows),
                 notes=("A line breaks where target, model, data set or the start of the clock changed: its parts are "
                        "not comparable.", *(() if wanted else ("Benchmarks of one round only are left out.",))),
                 rounds=tuple(held))


def draw_speedup(figure: "Figure", sheet: Sheet) -> None:
    """A bar per benchmark, with its number."""
    axes = figure.subplots()
    names, values = labels(sheet), sheet.numbers("speedup")
    for place, (value, fair) in enumerate(zip(values, sheet.column("comparable"), strict=True)):
        axes.bar(place, value, width=0.62, color=BLUE if fair else "white", edgecolor=BLUE,
                 hatch="" if fair else "////")
        axes.annotate(f"{value:.2f}×", (place, value), xytext=(0, 3), textcoords="offset points", ha="center")
    axes.axhline(1, color=INK, linewidth=1)
    axes.set_xticks(range(len(names)), names, fontsize=9)
    axes.set(ylabel=f"times faster ({UNVERIFIED})")
    axes.set_xlim(-0.6, max(len(names) - 0.4, 3.4))
    axes.grid(axis="x", visible=False)
    axes.margins(y=0.14)


def draw_growth(figure: "Figure", sheet: Sheet) -> None:
    """Two bars per benchmark on a logarithmic axis, with the ratio above."""
    axes = figure.subplots()
    names = labels(sheet)
    pairs = list(zip(sheet.numbers("earlier_chips"), sheet.numbers("later_chips"), strict=True))
    for place, ((before, after), fair) in enumerate(zip(pairs, sheet.column("comparable"), strict=True)):
        axes.bar(place - 0.19, before, width=0.36, color="#B9CFE0", edgecolor=BLUE,
                 label=str(sheet.facts["earlier"]) if not place else None)
        axes.bar(place + 0.19, after, width=0.36, color=BLUE, edgecolor="white" if not fair else BLUE,
                 hatch="" if fair else "////", label=str(sheet.facts["later"]) if not place else None)
        axes.annotate(f"{before:,.0f}", (place - 0.19, before), xytext=(0, 2), textcoords="offset points", ha="center",
                      fontsize=8)
        axes.annotate(f"{after:,.0f}\n{ratio(after / before)}×", (place + 0.19, after), xytext=(0, 2),
                      textcoords="offset points", ha="center", fontsize=8)
    axes.set(yscale="log", ylabel=f"chips of the fastest entry ({UNVERIFIED}, logarithmic)")
    axes.set_xticks(range(len(names)), names, fontsize=9)
    axes.set_xlim(-0.6, max(len(names) - 0.4, 3.4))
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 0.5), high * (high / low) ** 0.13)
    plain_log(axes, "y")
    axes.grid(axis="x", visible=False)
    axes.legend(loc="upper left", ncols=2)


def draw_trend(figure: "Figure", sheet: Sheet) -> None:
    """A panel per benchmark, rounds from left to right."""
    names = distinct(sheet.texts("benchmark"))
    across = min(ACROSS, len(names))
    down = math.ceil(len(names) / across)
    panels = figure.subplots(down, across, squeeze=False, sharex=True)
    rounds = [each for each in sheet.rounds if each in set(sheet.texts("round"))]
    for place, axes in enumerate(panels.flat):
        if place >= len(names):
            axes.set_visible(False)
            continue
        _panel(axes, sheet.where(benchmark=names[place]), rounds)
        axes.set_title(name(names[place], 24))
        if place + across >= len(names):  # the lowest of its column
            axes.tick_params(labelbottom=True)
    for row in panels:
        row[0].set_ylabel(f"minutes ({UNVERIFIED})")
    handles = {label: line for axes in panels.flat
               for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(list(handles.values()), list(handles), loc="upper right", ncols=len(handles))


def labels(sheet: Sheet) -> list[str]:
    """Names of benchmarks, with both targets below where they differ."""
    targets = zip(sheet.column("earlier_target"), sheet.column("later_target"), strict=True)
    return [name(each, 18) + _change(before, after)
            for each, (before, after) in zip(sheet.texts("benchmark"), targets, strict=True)]


def ratio(value: float) -> str:
    """Such as 4.0, 256, 0.15."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _change(before: Value, after: Value) -> str:
    """Two targets in words where they differ; some rounds write points, others a share."""
    if before is None or after is None:
        return ""
    first, second = number(before), number(after)
    if (first > 1) != (second > 1):
        first, second = (bound if bound > 1 else POINTS * bound for bound in (first, second))
    return "" if math.isclose(first, second) else f"\ntarget {first:g}, then {second:g}"


def _panel(axes: "Axes", sheet: Sheet, rounds: list[str]) -> None:
    for scale, label, colour, marker in SCALES:
        one = sheet.where(scale=scale)
        for since in distinct(one.texts("comparable_since")):
            part = one.where(comparable_since=None if since == "None" else since)
            axes.plot([rounds.index(each) for each in part.texts("round")], part.numbers("minutes"), color=colour,
                      marker=marker, markersize=5, linewidth=1.5, label=label)
    best = sheet.where(scale=0)
    for at, minutes in zip(best.texts("round"), best.numbers("minutes"), strict=True):
        axes.annotate(f"{minutes:.3g}", (rounds.index(at), minutes), xytext=(0, -4), textcoords="offset points",
                      ha="center", va="top", fontsize=7.5, color=BLUE)
    axes.set(yscale="log")
    axes.margins(x=0.12, y=0.22)
    axes.set_xlim(-0.4, len(rounds) - 0.6)
    axes.set_xticks(range(len(rounds)), rounds)
    plain_log(axes, "y")


def _with_mean(sheet: Sheet, column: str, words: str) -> Sheet:
    """The sheet with the geometric mean of what may be compared, in words."""
    fair = [value for value, ok in zip(sheet.numbers(column), sheet.column("comparable"), strict=True) if ok]
    notes = [] if len(fair) == len(sheet.table.rows) else [OTHER_TARGET]
    of_fair = f"of the {len(fair)} comparable: {_mean(fair):.2f} {words}; " if fair else ""
    of_all = f"of all {len(sheet.table.rows)}: {_mean(sheet.numbers(column)):.2f} {words}"
    notes.insert(0, f"Geometric mean {of_fair}{of_all}.")
    return Sheet(sheet.name, sheet.title, sheet.subtitle, sheet.table,
                 {**sheet.facts, "mean_of_comparable": _mean(fair) if fair else None,
                  "mean_of_all": _mean(sheet.numbers(column))}, tuple(notes), sheet.rounds)


def _mean(values: list[float]) -> float:
    """Geometric."""
    return math.exp(math.fsum(map(math.log, values)) / len(values))


