"""The figure of a set of runs: accuracy against epochs with the target line, and how many epochs the target took.

Follows figures 1 and 2 of Mattson et al. 2020 (MLPerf Training benchmark).
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from laptime.errors import UserError
from laptime.results.figures.canvas import BLUE, GREY, ORANGE, STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".png", ".svg", ".pdf")
MOST_BARS = 20


@dataclass(frozen=True)
class Curve:
    """One run: (position, metric) of every evaluation. `reached`: the target was met at the last of them."""

    points: tuple[tuple[float, float], ...]
    reached: bool


@dataclass(frozen=True)
class Labels:
    """The words of a figure. `unit`: of the positions; `metric`: of the values."""

    title: str
    metric: str
    unit: str
    note: str


def draw(curves: Sequence[Curve], target: float | None, labels: Labels, path: Path) -> None:
    """Write the figure to `path`; the ending chooses the format. Raises UserError."""
    if path.suffix not in FORMATS:
        raise UserError(f"expected a file ending in {', '.join(FORMATS)}, found '{path.name}'")
    if not any(curve.points for curve in curves):
        raise UserError("expected at least one run with an evaluation, found none",
                        hint="Give a folder of finished runs.")
    try:
        import matplotlib as mpl
    except ImportError:
        raise UserError("drawing needs matplotlib, which is not installed",
                        hint="pip install 'laptime[plot]'") from None
    mpl.use("Agg")
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(10, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        _curves(left, curves, target, labels)
        _histogram(right, [curve.points[-1][0] for curve in curves if curve.reached], labels)
        figure.suptitle(labels.title, x=0.01, ha="left", fontsize=12)
        figure.supxlabel(labels.note, x=0.99, ha="right", fontsize=8, color=GREY)
        try:
            figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror or error}", hint="Choose another --out.") from None


def _curves(axes: "Axes", curves: Sequence[Curve], target: float | None, labels: Labels) -> None:
    axes.set(title="On the way to the target", xlabel=labels.unit, ylabel=labels.metric)
    for curve in curves:
        if not curve.points:
            continue
        xs, ys = zip(*curve.points, strict=True)
        colour = BLUE if curve.reached else GREY
        axes.plot(xs, ys, color=colour, linewidth=1.3, alpha=0.75, marker=".", markersize=3)
        axes.plot(xs[-1:], ys[-1:], color=colour, marker="o" if curve.reached else "x", markersize=5)
    if target is not None:
        axes.axhline(target, color=ORANGE, linewidth=1.4, linestyle="--")
        axes.annotate(f"target {target:g}", (0, target), xycoords=("axes fraction", "data"), xytext=(4, 3),
                      textcoords="offset points", ha="left", va="bottom", color=ORANGE)
    axes.margins(y=0.12)


def _histogram(axes: "Axes", reached: Sequence[float], labels: Labels) -> None:
    axes.set(title=f"{labels.unit.capitalize()} to the target", xlabel=labels.unit, ylabel="runs")
    if not reached:
        axes.text(0.5, 0.5, "no run reached the target", transform=axes.transAxes, ha="center", color=GREY)
        axes.set(xticks=[], yticks=[])
        return
    from matplotlib.ticker import MaxNLocator

    bars = bins(reached)
    step = min((b - a for a, b in zip(sorted(bars), sorted(bars)[1:], strict=False)), default=1.0)
    axes.bar(list(bars), list(bars.values()), width=0.8 * step, color=BLUE)
    if len(bars) <= MOST_BARS / 2:
        axes.set_xticks(sorted(bars))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="x", visible=False)


def bins(values: Sequence[float]) -> dict[float, int]:
    """How often each value occurs; many different values are counted in ranges, by their middle."""
    exact = Counter(values)
    if len(exact) <= MOST_BARS:
        return dict(exact)
    low, high = min(values), max(values)
    size = (high - low) / MOST_BARS
    numbers = Counter(min(MOST_BARS - 1, math.floor((value - low) / size)) for value in values)
    return {low + (number + 0.5) * size: count for number, count in sorted(numbers.items())}
