"""The paper of a figure: its style, title, foot and files. Needs matplotlib (extra `plot`), imported when drawn.

Colours: Okabe & Ito 2008, told apart by everybody; every series also has a marker of its own, for print. Files are the
same bytes for the same data: no dates, fixed identifiers in SVG.
"""

import hashlib
import io
import re
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from laptime.compliance.finding import printable
from laptime.errors import UserError
from laptime.results.figures.sheet import Sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
GREY, INK, PALE = "#8A8A8A", "#222222", "#E6E6E6"
SERIES: Final = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (PURPLE, "D"), ("#E69F00", "v"), ("#56B4E9", "P"),
                 (INK, "X"))
STYLE: Final = {
    "font.size": 10, "axes.titlesize": 10.5, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": INK, "axes.labelcolor": INK,
    "text.color": INK, "xtick.color": INK, "ytick.color": INK, "axes.grid": True, "grid.color": PALE,
    "axes.axisbelow": True, "legend.frameon": False, "legend.fontsize": 8.5, "svg.fonttype": "none",
    "svg.hashsalt": "laptime", "text.parse_math": False, "axes.formatter.use_mathtext": False, "hatch.linewidth": 0.6,
}
HEAD, FOOT_LINE = 0.62, 0.14  # inches
DOTS: Final = 150  # per inch
PLACES: Final = 4  # of the position of axes, as parts of the paper
LONGEST: Final = 40  # signs of a name
Form = Literal["png", "svg", "pdf"]
FORMS: Final[tuple[Form, ...]] = ("png", "svg", "pdf")
_NAME: Final = re.compile(rb"\bp[0-9a-f]{10}\b")
_CLIP: Final = re.compile(rb'\s*<clipPath id="(p[0-9a-f]{10})">(.*?)</clipPath>', re.DOTALL)
_METADATA: Final = {"svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
                    "pdf": {"CreationDate": None, "Producer": None, "Creator": None}, "png": {"Software": None}}


def drawn(sheet: Sheet, draw: Callable[["Figure", Sheet], None], form: Form, size: tuple[float, float]) -> bytes:
    """The file of a figure: the same bytes for the same sheet. `size`: inches. Raises UserError without matplotlib."""
    try:
        import matplotlib as mpl
    except ImportError:
        raise UserError("drawing needs matplotlib, which is not installed",
                        hint="pip install 'laptime[plot]'; --json and --csv give the numbers without it") from None
    mpl.use("Agg")
    from matplotlib.figure import Figure

    file = io.BytesIO()
    with mpl.rc_context(STYLE), warnings.catch_warnings():  # type: ignore[arg-type]
        warnings.simplefilter("ignore", UserWarning)  # signs that the font lacks: names are anybody's
        figure = Figure(figsize=size, layout="constrained")
        words(figure, sheet, size)
        draw(figure, sheet)
        _placed(figure)
        figure.savefig(file, format=form, dpi=DOTS, metadata=_METADATA[form])
    return _numbered(file.getvalue()) if form == "svg" else file.getvalue()


def _placed(figure: "Figure") -> None:
    """Lay the axes out once and hold them there, to the ten thousandth of the paper.

    The solver of the layout orders what it solves by addresses in memory: its last digits differ from drawing to
    drawing, and a text that they push over half a pixel by a whole one."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        left, low, wide, high = axes.get_position(original=True).bounds
        axes.set_position((round(left, PLACES), round(low, PLACES), round(wide, PLACES), round(high, PLACES)))


def _numbered(svg: bytes) -> bytes:
    """The drawing with each clip once, named after what it is: matplotlib names them by when objects were made, and
    may write one several times."""
    names = {found[1]: b"p" + hashlib.sha256(found[2]).hexdigest()[:10].encode() for found in _CLIP.finditer(svg)}
    told: set[bytes] = set()

    def once(found: re.Match[bytes]) -> bytes:
        again = names[found[1]] in told
        told.add(names[found[1]])
        return b"" if again else found[0]

    return _NAME.sub(lambda found: names.get(found[0], found[0]), _CLIP.sub(once, svg))


def words(figure: "Figure", sheet: Sheet, size: tuple[float, float]) -> None:
    """Title and subtitle above, notes and source below; the room between is for the axes."""
    wide, high = size
    foot = [line for text in (" ".join(sheet.notes), sheet.source) if text
            for line in textwrap.wrap(printable(text), int(wide * 19))]
    below = (len(foot) + 0.8) * FOOT_LINE
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0.005, below / high, 0.99, 1 - (below + HEAD) / high))  # type: ignore[call-arg]
    figure.text(0.1 / wide, 1 - 0.1 / high, name(sheet.title, 100), ha="left", va="top", fontsize=13, weight="bold")
    figure.text(0.1 / wide, 1 - 0.36 / high, name(sheet.subtitle, 140), ha="left", va="top", fontsize=9.5,
                color="#555555")
    for place, line in enumerate(foot):
        figure.text(0.1 / wide, (below - (place + 1) * FOOT_LINE) / high, line, ha="left", va="bottom", fontsize=7,
                    color="#666666")


def name(text: str, longest: int = LONGEST) -> str:
    """A name from anybody: one printable line of bounded length."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= longest else line[:longest - 1] + "…"


def plain_log(axes: "Axes", which: Literal["x", "y"]) -> None:
    """Numbers as people write them on a logarithmic axis: 1, 2, 5, 10, not powers; few enough to be read."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    wide = low > 0 and high / low > 200
    axis.set_major_locator(LogLocator(10, subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())
    axis.set_minor_locator(LogLocator(10, subs=tuple(map(float, range(2, 10)))) if wide else NullLocator())


def doublings(axes: "Axes", which: Literal["x", "y"], most: int = 9) -> None:
    """Powers of two on a logarithmic axis of counts, as many as fit."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(2, numticks=most))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_locator(NullLocator())


def short_numbers(axes: "Axes", which: Literal["x", "y"], largest: float) -> None:
    """Large numbers as 2.5 M."""
    from matplotlib.ticker import EngFormatter

    if largest >= 1e5:
        (axes.xaxis if which == "x" else axes.yaxis).set_major_formatter(EngFormatter(sep=" "))


def write(content: bytes, path: Path) -> None:
    """Put a figure into its file. Raises UserError."""
    try:
        path.write_bytes(content)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}", hint="Choose another --out.") from None
