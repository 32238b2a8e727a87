"""The figure of reference points: means over the batch size, the band in which sets of runs pass, and measured sets.

The axis of batch sizes is logarithmic where they span more than a factor of ten, as in most rounds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from laptime.cli.figure import FORMATS
from laptime.errors import UserError
from laptime.results.figures.canvas import BLUE, GREEN, GREY, ORANGE, STYLE, plain_log, short_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE = 10  # largest over smallest batch size from which on their axis is logarithmic


@dataclass(frozen=True)
class Dot:
    """A mean at a batch size. `good`: the point is in use, or the set passes."""

    batch_size: float
    mean: float
    good: bool


@dataclass(frozen=True)
class Band:
    """What holds at a batch size: the mean of the reference and the least mean that passes."""

    batch_size: float
    mean: float
    least: float


@dataclass(frozen=True)
class Figure:
    """All that is drawn. `unit`: of the means."""

    title: str
    unit: str
    dots: tuple[Dot, ...]
    bands: tuple[Band, ...]
    submissions: tuple[Dot, ...]


def draw(figure: Figure, path: Path) -> None:
    """Write the figure to `path`; the ending chooses the format. Raises UserError."""
    if path.suffix not in FORMATS:
        raise UserError(f"expected a file ending in {', '.join(FORMATS)}, found '{path.name}'")
    try:
        import matplotlib as mpl
    except ImportError:
        raise UserError("drawing needs matplotlib, which is not installed",
                        hint="pip install 'laptime[plot]'; or see the numbers: laptime rcp show") from None
    mpl.use("Agg")
    from matplotlib.figure import Figure as Canvas

    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        canvas = Canvas(figsize=(8, 4.6), layout="constrained")
        _axes(canvas.subplots(), figure)
        canvas.supxlabel("unverified" if figure.submissions else "", x=0.99, ha="right", fontsize=8, color=GREY)
        try:
            canvas.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror or error}", hint="Choose another --out.") from None


def _axes(axes: "Axes", figure: Figure) -> None:
    axes.set(title=figure.title, xlabel="global batch size", ylabel=figure.unit)
    sizes = [dot.batch_size for dot in (*figure.dots, *figure.submissions)]
    if figure.bands:
        xs = [band.batch_size for band in figure.bands]
        axes.plot(xs, [band.mean for band in figure.bands], color=BLUE, linewidth=1.2, label="reference mean")
        axes.fill_between(xs, [band.least for band in figure.bands], [band.mean for band in figure.bands], color=BLUE,
                          alpha=0.18, linewidth=0, label="passes, time multiplied")
    _scatter(axes, [dot for dot in figure.dots if dot.good], BLUE, "o", "point in use")
    _scatter(axes, [dot for dot in figure.dots if not dot.good], GREY, "o", "point pruned")
    _scatter(axes, [dot for dot in figure.submissions if dot.good], GREEN, "^", "set of runs, passes")
    _scatter(axes, [dot for dot in figure.submissions if not dot.good], ORANGE, "v", "set of runs, fails")
    axes.legend(frameon=False, fontsize=8)
    axes.margins(y=0.12)
    short_numbers(axes, "y", max(dot.mean for dot in (*figure.dots, *figure.submissions)))
    if max(sizes) > WIDE * min(sizes):
        axes.set(xscale="log")
        plain_log(axes, "x")


def _scatter(axes: "Axes", dots: Sequence[Dot], colour: str, marker: str, label: str) -> None:
    if dots:
        axes.scatter([dot.batch_size for dot in dots], [dot.mean for dot in dots], color=colour, marker=marker, s=28,
                     label=label, zorder=3)
