"""A figure as one HTML page: the drawing as SVG within it, its data as a table, nothing loaded from anywhere."""

import html
import re
from typing import Final

from laptime.compliance.finding import printable
from laptime.results.export import text_of
from laptime.results.figures.sheet import Sheet

_PROLOGUE: Final = re.compile(r"^.*?(?=<svg)", re.DOTALL)  # XML declaration and document type, which name addresses
_METADATA: Final = re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL)
_STYLE: Final = """body{font:15px/1.5 system-ui,sans-serif;color:#222;background:#fff;margin:1.5rem auto;
max-width:72rem;padding:0 1rem}figure{margin:0;overflow-x:auto}svg{width:100%;height:auto}
table{border-collapse:collapse;font-size:13px}caption{text-align:left;font-weight:600;padding:.5rem 0}
th,td{padding:.25rem .6rem;border-bottom:1px solid #ddd;text-align:left}td.n{text-align:right;
font-variant-numeric:tabular-nums}thead th{position:sticky;top:0;background:#fff}.scroll{max-height:32rem;overflow:auto}
.notice{border-left:4px solid #D55E00;padding-left:.8rem;color:#444}@media print{.scroll{max-height:none}}"""


def page(sheet: Sheet, svg: bytes) -> str:
    """The page. `svg`: the figure of the same data."""
    title = html.escape(printable(sheet.title))
    notes = "".join(f"<p>{html.escape(printable(note))}</p>" for note in sheet.notes)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title><style>{_STYLE}</style></head>
<body><h1>{title}</h1><p>{html.escape(printable(sheet.subtitle))}</p>
<figure role="img" aria-label="{html.escape(printable(sheet.title))}; the numbers stand in the table below">
{inline(svg)}</figure>
{notes}<p class="notice">{html.escape(sheet.source)}</p>
<div class="scroll" tabindex="0">{_table(sheet)}</div></body></html>
"""


def inline(svg: bytes) -> str:
    """The drawing alone, without what stands around it in a file of its own."""
    return _METADATA.sub("", _PROLOGUE.sub("", svg.decode(), count=1)).strip()


def _table(sheet: Sheet) -> str:
    head = "".join(f"<th scope='col'>{html.escape(name)}</th>" for name in sheet.table.columns)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>\n" for row in sheet.table.rows)
    return f"<table><caption>Data ({len(sheet.table.rows)} rows, unverified)</caption><thead><tr>{head}</tr></thead>" \
           f"<tbody>\n{body}</tbody></table>"


def _cell(value: str | int | float | None) -> str:
    text = html.escape(printable(text_of(value)))
    return f'<td class="n">{text}</td>' if isinstance(value, int | float) else f"<td>{text}</td>"
