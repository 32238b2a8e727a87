"""A report as values, written as Markdown or as one self-contained HTML page.

Names and values come from logs and folders of anybody: every text is escaped for the form it goes into, control
characters are shown, and the page forbids scripts and anything from outside.
"""

import html
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from laptime.compliance.finding import printable

_SPECIAL = re.compile(r"[\\`*<>|\[\]~&{}]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|(?<=[A-Za-z]):(?=//)|(?<=www)\.")
_OPENING = re.compile(r"^(\s*\d*)([#+=.)-])")  # what would start a heading, a list or an underline
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #222;
  background: #fff }
h1, h2, h3 { line-height: 1.2; margin: 1.6em 0 .5em } h2 { border-bottom: 1px solid #ccc; padding-bottom: .2em }
table { border-collapse: collapse; margin: .6em 0 1em; font-size: 13px; display: block; overflow-x: auto }
th, td { border: 1px solid #ddd; padding: .25em .55em; text-align: left; vertical-align: top;
  overflow-wrap: anywhere; min-width: 2.5em } th { background: #f3f3f3 }
.right { text-align: right; font-variant-numeric: tabular-nums } tr.marked td { background: #fff4d6 }
ul { padding-left: 1.4em } nav li { list-style: none } nav ul { padding: 0; columns: 2 } figure { margin: .8em 0 }
@media (prefers-color-scheme: dark) { body { background: #1b1b1b; color: #ddd } th { background: #2b2b2b }
  th, td { border-color: #444 } tr.marked td { background: #4a3d12 } a { color: #8ab4f8 } }
@media print { nav { display: none } }
"""


@dataclass(frozen=True)
class Heading:
    """`level`: 1 to 3."""

    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Bullets:
    items: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """`right`: places of the columns whose numbers stand on the right; `marked`: places of rows to look at."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[int] = frozenset()
    marked: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Scale:
    """Numbers on a line. `band`: a range to shade; `lines`: (label, place); `dots`: rows of (label, places)."""

    caption: str
    band: tuple[float, float] | None
    lines: tuple[tuple[str, float], ...]
    dots: tuple[tuple[str, tuple[float, ...]], ...]


Block = Heading | Paragraph | Bullets | Table | Scale


def markdown(blocks: Sequence[Block]) -> str:
    """The report as Markdown; a scale is given by its caption."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def page(title: str, blocks: Sequence[Block]) -> str:
    """The report as one HTML page that needs nothing else."""
    body = "\n".join(_html(block, place) for place, block in enumerate(blocks))
    return (f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; style-src \'unsafe-inline\'">\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{_escaped(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{_contents(blocks)}\n{body}\n"
            f"</body>\n</html>\n")


def _markdown(block: Block) -> str:
    match block:
        case Heading(level, text):
            return f"{'#' * level} {_plain(text)}"
        case Paragraph(text):
            return _plain(text)
        case Bullets(items):
            return "\n".join(f"- {_plain(item)}" for item in items)
        case Scale(caption):
            return _plain(caption)
        case Table(columns, rows, right):
            lines = [columns, tuple("---:" if place in right else "---" for place in range(len(columns))), *rows]
            return "\n".join(_row(line, raw=place == 1) for place, line in enumerate(lines))


def _row(cells: Sequence[str], *, raw: bool) -> str:
    return f"| {' | '.join(cell if raw else _inline(cell) for cell in cells)} |"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, also where a line begins."""
    return _OPENING.sub(r"\1\\\2", _inline(text))


def _inline(text: str) -> str:
    """Text within a line that Markdown shows as it is, without making links of it."""
    return _SPECIAL.sub(r"\\\g<0>", printable(text))


def _html(block: Block, place: int) -> str:
    match block:
        case Heading(level, text):
            return f'<h{level} id="p{place}">{_escaped(text)}</h{level}>'
        case Paragraph(text):
            return f"<p>{_escaped(text)}</p>"
        case Bullets(items):
            return "<ul>" + "".join(f"<li>{_escaped(item)}</li>" for item in items) + "</ul>"
        case Scale():
            return _figure(block)
        case Table():
            return _table(block)


def _table(block: Table) -> str:
    heads = "".join(f"<th{_side(block, place)}>{_escaped(name)}</th>" for place, name in enumerate(block.columns))
    rows = "".join(_table_rows(block))
    return f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>"


def _table_rows(block: Table) -> Iterator[str]:
    for number, row in enumerate(block.rows):
        mark = ' class="marked"' if number in block.marked else ""
        cells = "".join(f"<td{_side(block, place)}>{_escaped(cell)}</td>" for place, cell in enumerate(row))
        yield f"<tr{mark}>{cells}</tr>\n"


def _side(block: Table, place: int) -> str:
    return ' class="right"' if place in block.right else ""


def _escaped(text: str) -> str:
    return html.escape(printable(text))


def _contents(blocks: Sequence[Block]) -> str:
    """Links to the headings of the second level."""
    links = [f'<li><a href="#p{place}">{_escaped(block.text)}</a></li>' for place, block in enumerate(blocks)
             if isinstance(block, Heading) and block.level == 2]
    return f"<nav><ul>{''.join(links)}</ul></nav>" if links else ""


_WIDTH, _LEFT, _ROW = 760, 130, 20  # of a figure, in pixels


def _figure(scale: Scale) -> str:
    """A drawing of rows of dots over one axis."""
    values = [*(scale.band or ()), *(place for _, place in scale.lines), *(x for _, row in scale.dots for x in row)]
    if not values:
        return ""
    low, high = min(values), max(values)
    margin = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    low, high, room = low - margin, high + margin, _WIDTH - _LEFT - 10
    height = _ROW * (len(scale.dots) + 2)

    def at(value: float) -> float:
        return float(_LEFT + (value - low) / (high - low) * room)

    label = _escaped(scale.caption)
    return "".join([
        f'<figure><svg viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" role="img" aria-label="{label}" ',
        'font-family="system-ui, sans-serif" font-size="11" fill="currentColor">',
        *_marks(scale, at, height), *_dots(scale, at), f"</svg><figcaption>{label}</figcaption></figure>"])


def _marks(scale: Scale, at: Callable[[float], float], height: int) -> Iterator[str]:
    if scale.band:
        low, high = map(at, scale.band)
        yield (f'<rect x="{low:.1f}" y="{_ROW}" width="{high - low:.1f}" height="{height - 2 * _ROW}" fill="#4a90d9" '
               'fill-opacity="0.18"/>')
    for number, (label, place) in enumerate(sorted(scale.lines, key=lambda line: line[1])):
        x, side = f"{at(place):.1f}", "start" if number else "end"  # two labels do not cover each other
        yield (f'<line x1="{x}" x2="{x}" y1="{_ROW}" y2="{height - _ROW}" stroke="currentColor" '
               f'stroke-dasharray="3 3"/><text x="{x}" y="12" text-anchor="{side}">{_escaped(label)}</text>')


def _dots(scale: Scale, at: Callable[[float], float]) -> Iterator[str]:
    for row, (label, places) in enumerate(scale.dots):
        y = _ROW * (row + 1.6)
        yield f'<text x="0" y="{y + 4:.0f}">{_escaped(label)}</text>'
        for x in places:
            yield f'<circle cx="{at(x):.1f}" cy="{y:.0f}" r="4" fill="#d9534f" fill-opacity="0.55"/>'
