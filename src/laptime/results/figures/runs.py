"""Figures of single runs: how many epochs the target took over seeds, and quality on the way (Mattson et al. 2020,
MLPerf Training Benchmark, figures 1 and 2)."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Final

from laptime.errors import UserError
from laptime.results.figures import choose
from laptime.results.figures.canvas import BLUE, GREY, INK, ORANGE, SERIES, name, short_numbers
from laptime.results.figures.sheet import UNVERIFIED, Choice, Sheet, number
from laptime.results.query import Answer, ask
from laptime.results.store import Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_SIZES: Final = 24  # batch sizes side by side
FEWEST: Final = 3  # runs of a set whose distances from their mean are counted
BARS: Final = 25
FAR: Final = 10  # one in so many values around the target may lie outside the picture
_CHOSEN = """round = :round AND benchmark = :benchmark AND (:division = '' OR division = :division)
             AND instr(lower(submitter), lower(:submitter)) > 0 AND instr(lower(system), lower(:system)) > 0"""
_EPOCHS = f"""
    SELECT results.batch_size, results.submitter, results.system_name AS system, runs.number AS run, runs.seed,
           runs.convergence AS needed, runs.status, results.unit, results.entry
    FROM results JOIN runs ON runs.entry = results.entry
    WHERE {_CHOSEN}
    ORDER BY results.batch_size, results.submitter, results.system, runs.number"""
_ENTRY = f"""
    SELECT entry, submitter, system_name, chips, minutes, coalesce(unit, 'position') AS unit, title, batch_size
    FROM results WHERE {_CHOSEN} AND minutes > 0 ORDER BY minutes, entry LIMIT 1"""
_CURVES = """
    SELECT curves.run, runs.seed, curves.position, curves.value, curves.minutes, curves.met, runs.status
    FROM curves JOIN runs ON runs.entry = curves.entry AND runs.number = curves.run
    WHERE curves.entry = :entry AND curves.metric = :metric AND curves.position IS NOT NULL AND curves.value IS NOT NULL
    ORDER BY curves.run, curves.number"""


def epochs(file: Path, choice: Choice) -> Sheet:
    """What every run of a benchmark in a round needed to reach the target, by batch size. Raises UserError."""
    benchmark = choose.benchmark_of(file, choice)
    round_name = choose.round_of(file, choice, benchmark)
    found = ask(file, _EPOCHS, _values(choice, round_name, benchmark))
    rows = choose.found(found.rows, f"runs of {benchmark} in round {round_name}")
    unit = str(rows[0][7] or "position")
    reached = [number(row[5]) for row in rows if row[5] is not None]
    failed = len(rows) - len(reached)
    notes = [f"{len(reached)} runs of {len({row[8] for row in rows})} results reached the target"
             + (f"; {failed} did not and are left out." if failed else "."),
             "Runs of one batch size may differ in other hyperparameters and in software."]
    return Sheet("epochs", f"{_title(file, round_name, benchmark)}: {unit} to the target", f"Round {round_name}, "
                 f"{choice.division or 'all divisions'}; each dot is a run with a seed of its own, the bar their mean",
                 Answer(found.columns, rows), {"unit": unit}, tuple(notes), (round_name,))


def draw_epochs(figure: "Figure", sheet: Sheet) -> None:
    """Dots by batch size; beside them the distances of runs from the mean of their set."""
    left, right = figure.subplots(1, 2, width_ratios=(5, 2))
    sets: dict[tuple[float, str], list[float]] = {}
    mine: dict[Value, list[float]] = {}
    for size, needed, entry, system in zip(sheet.column("batch_size"), sheet.column("needed"), sheet.column("entry"),
                                           sheet.texts("system"), strict=True):
        if needed is not None:
            group = (math.inf, name(system, 22)) if size is None else (number(size), f"{number(size):,g}")
            sets.setdefault(group, []).append(number(needed))
            mine.setdefault(entry, []).append(number(needed))
    shown = sorted(sorted(sets, key=lambda group: -len(sets[group]))[:MOST_SIZES])
    for place, group in enumerate(shown):
        xs, ys = spread(sets[group])
        left.scatter([place + x for x in xs], ys, s=14, color=BLUE, alpha=0.7, linewidths=0)
        left.hlines(math.fsum(ys) / len(ys), place - 0.42, place + 0.42, color=INK, linewidth=1.2)
    left.set_xticks(range(len(shown)), [label for _, label in shown], rotation=45, ha="right", fontsize=8)
    unnamed = " (the system's name where none is logged)" if any(size == math.inf for size, _ in shown) else ""
    left.set(xlabel=f"global batch size{unnamed}", ylabel=f"{sheet.facts['unit']} to the target ({UNVERIFIED})")
    left.set_ylim(bottom=0)
    short_numbers(left, "y", max(map(max, sets.values()), default=0.0))
    left.grid(axis="x", visible=False)
    _distances(right, [value / (sum(each) / len(each)) - 1 for each in mine.values()
                       if len(each) >= FEWEST and any(each) for value in each])


def quality(file: Path, choice: Choice) -> Sheet:
    """The quality of every run of one result on its way to the target: of the fastest of those chosen. UserError."""
    benchmark = choose.benchmark_of(file, choice)
    round_name = choose.round_of(file, choice, benchmark)
    (row,) = choose.found(ask(file, _ENTRY, _values(choice, round_name, benchmark)).rows,
                          f"scored result of {benchmark} in round {round_name}")
    entry, submitter, system, chips, minutes, unit, title, batch = row
    targets = ask(file, "SELECT metric, low, high FROM target WHERE round = :round AND benchmark = :benchmark "
                        "ORDER BY 1", {"round": round_name, "benchmark": benchmark}).rows
    metric, low, high = targets[0] if targets else ("", None, None)
    found = ask(file, _CURVES, {"entry": entry, "metric": metric})
    choose.found(found.rows, f"evaluation of {name(str(submitter))} in round {round_name}")
    bound = low if low is not None else high
    notes = [] if len(targets) < 2 else [f"The target has {len(targets)} metrics; shown is {metric}."]
    of = f"{name(str(submitter))}, {name(str(system))}, {chips} chips, batch {number(batch):,g}" if batch else \
        f"{name(str(submitter))}, {name(str(system))}"
    return Sheet("quality", f"{title or benchmark}: {metric} on the way to the target",
                 f"Round {round_name}, {of}; {number(minutes):.2f} min ({UNVERIFIED}); each line is a run with a "
                 f"seed of its own", found,
                 {"target": bound, "unit": unit, "metric": metric, "rises": int(low is not None)}, tuple(notes),
                 (round_name,))


def draw_quality(figure: "Figure", sheet: Sheet) -> None:
    """All of the way, and the last part of it around the target."""
    left, right = figure.subplots(1, 2, width_ratios=(5, 3))
    runs = sorted(set(sheet.numbers("run")))
    ends = []
    for place, run in enumerate(runs):
        one = sheet.where(run=int(run))
        xs, ys = one.numbers("position"), one.numbers("value")
        colour, marker = SERIES[place % len(SERIES)] if len(runs) <= len(SERIES) else (BLUE, ".")
        faint = 0.9 if len(runs) <= len(SERIES) else 0.35
        good = one.texts("status")[-1] == "converged"
        for axes in (left, right):
            axes.plot(xs, ys, color=colour if good else GREY, marker=marker, markersize=3.5, linewidth=1.2, alpha=faint,
                      label=f"run {int(run)}" if good else f"run {int(run)}, not converged")
        ends.append(xs[-1])
    target, unit = sheet.facts["target"], sheet.facts["unit"]
    for axes in (left, right):
        short_numbers(axes, "x", max(ends))
    left.set(title="Whole runs", xlabel=str(unit), ylabel=str(sheet.facts["metric"]))
    right.set(title="Around the target", xlabel=str(unit))
    if target is not None:
        for axes in (left, right):
            axes.axhline(number(target), color=ORANGE, linewidth=1.4, linestyle="--")
        left.annotate(f"target {number(target):g}", (0.01, number(target)), xycoords=("axes fraction", "data"),
                      xytext=(0, 3), textcoords="offset points", color=ORANGE, va="bottom", fontsize=9)
    _bounded(left, sheet)
    _around(right, sheet, ends)
    if len(runs) <= len(SERIES):
        right.legend(loc="best", fontsize=8)


def spread(values: list[float], step: float = 0.09, most: float = 0.4) -> tuple[list[float], list[float]]:
    """Places beside each other for equal or nearly equal values, so that every dot is seen: (x, y), x around 0."""
    if not values:
        return [], []
    close = (max(values) - min(values)) / 60 or 1.0
    xs: list[float] = []
    ys: list[float] = []
    held: dict[int, int] = {}
    counts: dict[int, int] = {}
    for value in values:
        counts[round(value / close)] = counts.get(round(value / close), 0) + 1
    for value in sorted(values):
        level = round(value / close)
        place, count = held.get(level, 0), counts[level]
        held[level] = place + 1
        width = min(step, 2 * most / max(1, count - 1))
        xs.append((place - (count - 1) / 2) * width)
        ys.append(value)
    return xs, ys


def _distances(axes: "Axes", shares: list[float]) -> None:
    axes.set(title="Seeds alone", xlabel="distance from the mean of the result, %", ylabel="runs")
    if not shares:
        axes.text(0.5, 0.5, "no result with enough runs", transform=axes.transAxes, ha="center", color=GREY)
        return
    axes.hist([100 * share for share in shares], bins=BARS, color=BLUE)
    deviation = math.sqrt(sum(share * share for share in shares) / len(shares))
    axes.annotate(f"{100 * deviation:.1f} %\nroot mean square", (0.98, 0.97), xycoords="axes fraction", ha="right",
                  va="top", fontsize=9)


def _bounded(axes: "Axes", sheet: Sheet) -> None:
    """The first evaluations of a falling metric may be far above all others: they are cut off."""
    target = sheet.facts["target"]
    values = sorted(sheet.numbers("value"))
    if target is None or sheet.facts["rises"]:
        return
    top = values[int(0.98 * (len(values) - 1))]
    low = min(values[0], number(target))
    axes.set_ylim(low - 0.06 * (top - low), top + 0.06 * (top - low))


def _around(axes: "Axes", sheet: Sheet, ends: list[float]) -> None:
    """The last third of the way, and the values that occur there but for the few farthest from the target."""
    places = sheet.numbers("position")
    begin = max(min(ends) * 2 / 3, min(places))
    target = sheet.facts["target"]
    near = sorted(value for place, value in zip(places, sheet.numbers("value"), strict=True) if place >= begin)
    few = len(near) // FAR
    near = near[few:] if sheet.facts["rises"] else near[:len(near) - few]
    near += [] if target is None else [number(target)]
    room = (max(near) - min(near)) * 0.08 or 1e-3
    axes.set_xlim(begin - 0.03 * (max(ends) - begin), max(ends) + 0.03 * (max(ends) - begin or 1))
    axes.set_ylim(min(near) - room, max(near) + room)


def _values(choice: Choice, round_name: str, benchmark: str) -> dict[str, Value]:
    return {"round": round_name, "benchmark": benchmark, "division": choice.division, "submitter": choice.submitter,
            "system": choice.system}


def _title(file: Path, round_name: str, benchmark: str) -> str:
    rows = ask(file, "SELECT title FROM benchmark WHERE round = :round AND name = :name",
               {"round": round_name, "name": benchmark}).rows
    if not rows:
        raise UserError(f"round {round_name} has no benchmark '{benchmark}' by its rules")
    return f"{rows[0][0]} ({benchmark})"
