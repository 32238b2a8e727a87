"""Pictures of the nine views, wide and narrow: python tests/dashboard/shots.py SITE OUT (a folder each)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from browser import Browser

WIDTHS = {1440: 900, 390: 844}
VIEWS = {"results": "#/results", "questions": "#/questions/records", "benchmark": "#/benchmark", "trends": "#/trends",
         "entry": None, "rcp": "#/rcp", "compare": None, "coverage": "#/coverage", "help": "#/help"}
FIRST = "Laptime.data.rows.find((row) => row.converged > 4 && row.rcp_mean !== null).id"
SAME = ("(() => { const rows = Laptime.data.rows.filter((row) => row.minutes && row.division === 'closed');"
        " const of = rows.filter((row) => row.benchmark === rows.at(-1).benchmark).slice(0, 4); return of.map((row) => row.id).join(','); })()")


def take(site, out):
    out.mkdir(parents=True, exist_ok=True)
    browser = Browser()
    try:
        page = browser.page()
        start = (site / "index.html").resolve().as_uri()
        page.goto(start)
        places = VIEWS | {"entry": f"#/entry/{page.evaluate(FIRST)}", "compare": f"#/compare?ids={page.evaluate(SAME)}"}
        for width, height in WIDTHS.items():
            page.size(width, height)
            for name, place in places.items():
                page.goto(start + place)
                page.until("!document.querySelector('.wait') && new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(true), 60)))")
                wide = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
                page.shot(out / f"{name}-{width}.png", whole=name != "results")
                sys.stdout.write(f"{name}-{width}.png{' IS WIDER THAN THE SCREEN' if wide else ''}\n")
        for trouble in page.troubles():
            sys.stdout.write(f"{trouble}\n")
    finally:
        browser.close()


if __name__ == "__main__":
    take(Path(sys.argv[1]), Path(sys.argv[2]))
