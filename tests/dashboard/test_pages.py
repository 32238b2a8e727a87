"""The pages in a real browser, from disk: what a reader does, what the address keeps, and that nothing submitted comes alive."""

import csv
import json
import threading

import pytest
from trees import write_result

from laptime.dashboard.export import Exporter
from laptime.dashboard.serve import Refresher, Server
from laptime.results.export import unformulated
from laptime.scoring.student import student_quantile

pytestmark = pytest.mark.seconds

VIEWS = ("results", "questions", "benchmark", "trends", "rcp", "compare", "coverage", "help")
ROWS = "#table tr.row"
SEARCHES = {
    "acme": ["ACME big", "ACME box"], "ACME big": ["ACME big"], '"acme box"': ["ACME box"], "acme -big": ["ACME box"], "chips<=8": ["ACME box", "Other box"],
    "chips=32": ["ACME big"], "submitter:other": ["Other box"], "minutes>40 minutes<45": ["ACME box"], "nobody": [], "-": ["ACME big", "ACME box", "Other box"]}
CELLS = ("=1+1", "  @SUM(A1)", "+1", "-1", "\uff1dx", "a\tb", "\n=1", "\ttab", 'say "hi", you', "plain", "a\r\nb", "\x1b[31m", "\u202eabc", "\U000e0001", "\xa0x")
NOWHERE = ("#/nothing", "#/entry/0", "#/entry/%", "#/benchmark/none?round=x", "#/results?cols=none&sort=none&chips-range=a..b&group=x&pin=1&open=2",
           "#/results?q=%E0%A4%A", "#/compare?ids=1,2,3", "#/rcp/none", "#/questions/none?round=none", "#/coverage?by=x&show=y&round=z", "#/trends/none?measure=x", "#")
SYSTEMS = f"{ROWS} td:nth-child(8)"
FACET = '[data-facet="{}"] input[value="{}"]'
LOADED = "!document.querySelector('.wait')"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
ENTRY = "entry/${Laptime.data.rows[0].id}"
SETTLED = "new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(!document.querySelector('.wait')), 30)))"
CONTRAST = """(() => {
    const pen = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const rgb = (text) => { pen.clearRect(0, 0, 1, 1); pen.fillStyle = text; pen.fillRect(0, 0, 1, 1); return [...pen.getImageData(0, 0, 1, 1).data]; };
    const linear = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const behind = (e) => { for (; e; e = e.parentElement) { const v = rgb(getComputedStyle(e).backgroundColor); if (v[3] === 255) return v; } return [255, 255, 255]; };
    const found = [];
    for (const e of document.querySelectorAll('main *, header *, footer *, .notice *')) {
        if (!e.checkVisibility() || e.closest('.hidden, option, svg') || ![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
        const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
        if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${e.tagName} ${e.textContent.slice(0, 40)}`);
    }
    return found; })()"""
IDS = "Laptime.data.rows.map((row) => row.id).join(',')"


def typed(page, text):
    page.evaluate("document.getElementById('search').focus()")
    page.write(text)


def saved(tmp_path, name):
    import time
    end = time.monotonic() + 20
    while not (tmp_path / name).is_file():
        assert time.monotonic() < end
        time.sleep(0.02)
    return (tmp_path / name).read_text()


def test_table_shows_every_result_the_fastest_first(page, small):
    page.goto(small)
    assert page.texts(SYSTEMS) == ["ACME big", "ACME box", "Other box"]
    assert page.text("#told") == "3 results"
    assert page.troubles() == []


def test_page_from_disk_asks_for_nothing_but_its_own_files(page, small):
    page.goto(small)
    for view in VIEWS:
        page.evaluate(f"location.hash = '#/{view}'")
        page.until(SETTLED)
    home = small.rpartition("/")[0]
    assert all(address.startswith((home, "data:,", "about:blank")) for address in page.addresses())


def test_search_finds_as_it_is_typed(page, small):
    page.goto(small)
    for text, systems in SEARCHES.items():
        page.evaluate("document.getElementById('search').value = ''")
        typed(page, text)
        assert page.texts(SYSTEMS) == systems, text


def test_facet_filters_and_counts_what_each_choice_would_leave(page, small):
    page.goto(small)
    page.click(FACET.format("chips", "8"))
    assert page.texts(SYSTEMS) == ["ACME box", "Other box"]
    page.evaluate("""document.querySelector('[data-facet="submitter"]').open = true""")
    assert page.texts('[data-facet="submitter"] label:not([hidden])') == ["ACME\n1", "Other\n1"]
    assert page.texts('[data-facet="chips"] label:not([hidden])') == ["8\n2", "32\n1"]
    page.click("#clear")
    assert page.text("#told") == "3 results"


def test_range_slider_narrows_and_shows_its_numbers(page, small):
    page.goto(small)
    page.evaluate("document.querySelector('[data-range=\"minutes\"] input[type=range]').focus()")
    page.key("ArrowRight")
    assert page.texts(SYSTEMS) == ["ACME box", "Other box"]
    least = float(page.evaluate("document.querySelector('[data-range=\"minutes\"] input[type=number]').value"))
    assert least == pytest.approx(page.evaluate("Laptime.data.rows[1].minutes"))
    page.goto(page.evaluate("location.href"))
    assert page.texts(SYSTEMS) == ["ACME box", "Other box"]


def test_headings_sort_and_shift_adds_a_second_order(page, small):
    page.goto(small)
    page.click('[data-key="chips"] button')
    page.click('[data-key="minutes"] button', shift=True)
    page.click('[data-key="minutes"] button', shift=True)
    assert page.texts(SYSTEMS) == ["Other box", "ACME box", "ACME big"]
    assert page.evaluate("document.querySelector('[data-key=\"minutes\"]').ariaSort") == "descending"
    page.click('[data-key="submitter"] button')
    page.click('[data-key="submitter"] button')
    assert page.texts(SYSTEMS)[0] == "Other box"


def test_columns_are_chosen_one_by_one_and_in_sets(page, small):
    page.goto(small)
    page.click(".chooser summary")
    page.click(".chooser .presets button:nth-child(4)")
    assert "BATCH SIZE" in (head := page.text("#table thead").upper())
    assert "ACCELERATOR" not in head
    page.click(".chooser label:nth-child(2) input")
    assert "ROUND" not in page.text("#table thead").upper()


def test_groups_have_headings_with_counts(page, small):
    page.goto(small)
    page.choose(".bar label:nth-of-type(1) select", "submitter")
    assert page.texts("#table tr.group") == ["ACME 2 results", "Other 1 result"]


def test_only_the_best_per_number_of_chips(page, small):
    page.goto(small)
    page.choose(".bar label:nth-of-type(2) select", "chips")
    assert page.texts(SYSTEMS) == ["ACME big", "ACME box"]


def test_row_opens_to_its_runs_and_its_system(page, small):
    page.goto(small)
    page.click(f"{ROWS} .open")
    text = page.until("document.querySelector('.detail table') && document.querySelector('.detail').innerText")
    assert "result_4.txt" in text
    assert "left out (fastest)" in text
    assert "Chip X" in text
    assert page.evaluate(f"document.querySelector('{ROWS} .open').ariaExpanded") == "true"
    page.click(f"{ROWS} .open")
    assert page.evaluate("!document.querySelector('.detail')")


def test_pinned_rows_are_compared_with_ratio_and_interval(page, small):
    page.goto(small)
    for at in (1, 2):
        page.click(f"{ROWS}:nth-child({at}) .pin")
    assert page.text("#compare") == "Compare 2"
    page.click("#compare")
    second = "document.querySelector('main table tbody tr:nth-child(2)')?.innerText"
    text = page.until(f"{second}?.includes('slower') && {second}")  # until then the table of results may still stand there
    rows = page.evaluate("Laptime.data.rows.map((row) => row.minutes)")
    assert text.split("\t")[3] == f"{rows[1] / rows[0]:.4g}"
    assert "slower" in text
    assert "different numbers of chips" in text


def test_seventh_pin_is_refused(page, small):
    page.goto(small)
    page.evaluate("for (const id of 'abcdefg') Laptime.pin(id, true)")
    assert page.evaluate("Laptime.pins.length") == 6
    assert "At most 6" in page.text("#status")


@pytest.mark.parametrize(("change", "words"), [("division = 'open'", "different divisions"), ("comparable_since = 'v0.1'", "different targets, models or clocks"), ("benchmark = 'other'", "different benchmarks")])
def test_results_that_must_not_be_compared_are_not(page, small, change, words):
    page.goto(small)
    page.evaluate(f"Laptime.data.rows[1].{change}")
    page.evaluate(f"location.hash = '#/compare?ids=' + {IDS}")
    line = page.until("document.querySelector('main table tbody tr:nth-child(2)')?.innerText")
    assert f"not comparable: {words}" in line
    assert line.split("\t")[3] == "–"


def test_quantiles_of_the_page_are_those_of_the_judge(page, small):
    page.goto(small)
    for freedom, p in [(1, 0.975), (2, 0.975), (2.7, 0.975), (7, 0.95), (30, 0.975), (200, 0.995)]:
        assert page.evaluate(f"Laptime.studentQuantile({p}, {freedom})") == pytest.approx(student_quantile(p, freedom), rel=1e-9)


def test_ratio_of_the_page_follows_the_delta_method(page, small):
    page.goto(small)
    found = page.evaluate("Laptime.ratio({minutes: 30, deviation: 0.02, freedom: 2}, {minutes: 20, deviation: 0.03, freedom: 4})")
    import math
    error, freedom = math.hypot(0.02, 0.03), (0.02**2 + 0.03**2)**2 / (0.02**4 / 2 + 0.03**4 / 4)
    reach = student_quantile(0.975, freedom) * error
    assert [found["ratio"], found["low"], found["high"]] == pytest.approx([1.5, 1.5 * math.exp(-reach), 1.5 * math.exp(reach)])


def test_csv_holds_all_that_is_filtered_and_says_unverified(page, small, tmp_path):
    page.goto(small)
    typed(page, "acme")
    page.click("[data-export=csv]")
    rows = list(csv.DictReader(saved(tmp_path, "results.csv").splitlines()))
    assert [row["system_name"] for row in rows] == ["ACME big", "ACME box"]
    assert {row["verified"] for row in rows} == {"unverified"}
    assert [float(row["minutes"]) for row in rows] == page.evaluate("Laptime.data.rows.slice(0, 2).map((row) => row.minutes)")


def test_copy_gives_lines_that_a_spreadsheet_takes(page, small):
    page.call("Emulation.setFocusEmulationEnabled", enabled=True)
    page.browser.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    page.goto(small)
    page.click(".share button:first-child")
    page.until("document.getElementById('status').textContent === 'Copied 3 rows.'")
    lines = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert lines[0].split("\t")[:4] == ["submitter", "round", "benchmark", "minutes"]
    assert lines[1].split("\t")[-1] == "unverified"


def test_json_holds_numbers_as_numbers(page, small, tmp_path):
    page.goto(small)
    page.click("[data-export=json]")
    rows = json.loads(saved(tmp_path, "results.json"))
    assert [row["chips"] for row in rows] == [32, 8, 8]


def test_cells_are_guarded_as_on_the_command_line(page, small):
    page.goto(small)
    for value in CELLS:
        assert page.evaluate(f"Laptime.unformulated({json.dumps(value)})") == unformulated(value)


def test_cells_come_through_csv_unchanged(page, small):
    page.goto(small)
    text = page.evaluate("""Laptime.csv(["a", "b"], [["x,y", 'say "hi"'], [null, 1.5], ["two\\nlines", 0]])""")
    assert list(csv.reader(text.splitlines(keepends=True))) == [["a", "b"], ["x,y", 'say "hi"'], ["", "1.5"], ["two\nlines", "0"]]


def test_address_brings_everything_back(page, small):
    page.goto(small)
    typed(page, "box")
    page.click('[data-key="submitter"] button')
    page.click('[data-key="submitter"] button')
    page.choose(".bar label:nth-of-type(1) select", "submitter")
    page.click(f"{ROWS} .open")
    page.click(f"{ROWS} .pin")
    address = page.evaluate("location.href")
    before = page.text("#table tbody")
    page.goto(address)
    page.until("document.querySelector('.detail table')")
    assert page.text("#table tbody") == before
    assert page.evaluate("document.getElementById('search').value") == "box"
    assert page.evaluate("[...document.querySelectorAll('.pin')].map((one) => one.checked)") == [True, False]


def test_back_button_takes_the_last_filter_away(page, small):
    page.goto(small)
    page.click(FACET.format("chips", "32"))
    assert page.text("#told").startswith("1 result")
    page.evaluate("history.back()")
    page.until("document.getElementById('told').innerText === '3 results'")


def test_addresses_that_mean_nothing_break_nothing(page, small):
    page.goto(small)
    for address in NOWHERE:
        page.evaluate(f"location.hash = {address!r}")
        page.until(SETTLED)
        assert page.evaluate("document.querySelector('main').innerText.length") > 10, address
    assert page.troubles() == []


def test_keyboard_alone_finds_opens_pins_and_compares(page, small):
    page.goto(small)
    page.key("/")
    page.write("box")
    page.key("Escape")
    page.evaluate(f"document.querySelector('{ROWS}').focus()")
    page.key(" ")
    page.until("document.querySelector('.detail table')")
    page.key("p")
    page.key("ArrowDown")
    page.key("p")
    assert page.text("#compare") == "Compare 2"
    page.key("c")
    page.until("location.hash.startsWith('#/compare') && document.querySelector('main table')")
    page.key("?")
    page.until("document.querySelector('h1').innerText === 'How to read this'")


def test_enter_on_a_row_opens_its_page(page, small):
    page.goto(small)
    page.evaluate(f"document.querySelector('{ROWS}').focus()")
    page.key("Enter")
    page.until("document.querySelector('h1').innerText.includes('ACME')")
    assert page.evaluate("location.hash").startswith("#/entry/")


def test_tab_reaches_every_control_and_each_has_a_name(page, small):
    page.goto(small)
    nameless = page.evaluate("""[...document.querySelectorAll('button, input, select, a, summary')].filter((one) => one.getClientRects().length
        && !(one.textContent || one.ariaLabel || one.labels?.length || one.title)).map((one) => one.outerHTML)""")
    assert nameless == []
    seen = []
    for _ in range(14):
        page.key("Tab")
        seen.append(page.evaluate("document.activeElement.innerText || document.activeElement.id || document.activeElement.ariaLabel || ''"))
    assert seen[:3] == ["Skip to the content", "Results", "Questions"]
    assert "Dark" in seen


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_contrast(browser, small, theme):
    """At least 4.5 to 1 against what lies behind it (WCAG 2.2, criterion 1.4.3)."""
    page = browser.page(dark=theme == "dark")
    page.goto(small)
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    poor = {}
    for view in [*VIEWS, ENTRY, f"compare?ids=${{{IDS}}}"]:
        page.evaluate(f"location.hash = `#/{view}`")
        page.until(SETTLED)
        poor[view] = page.evaluate(CONTRAST)
    page.close()
    assert {view: found for view, found in poor.items() if found} == {}


@pytest.mark.parametrize("width", [1440, 768, 390, 320])
def test_no_view_is_wider_than_the_screen(browser, small, width):
    page = browser.page(width=width, height=800)
    page.goto(small)
    wider = {}
    for view in [*VIEWS, ENTRY, f"compare?ids=${{{IDS}}}"]:
        page.evaluate(f"location.hash = `#/{view}`")
        page.until(SETTLED)
        wider[view] = page.evaluate(OVERFLOW)
    assert {view: by for view, by in wider.items() if by > 0} == {}
    assert page.troubles() == []
    page.close()


def test_every_chart_has_a_name_and_walks_by_arrow_keys(page, small):
    page.goto(f"{small}#/benchmark")
    page.until("document.querySelectorAll('.plot svg').length === 2")
    assert all("point" in name for name in page.evaluate("[...document.querySelectorAll('.plot svg')].map((one) => one.getAttribute('aria-label'))"))
    page.evaluate("document.querySelector('.plot svg').focus()")
    page.key("ArrowRight")
    assert "minutes" in page.text("#status")
    page.key("Enter")
    page.until("location.hash.startsWith('#/entry/')")


def test_entry_page_shows_curves_target_times_settings_seeds_and_findings(page, small):
    page.goto(f"{small}#/entry/{'x'}")
    page.evaluate("location.hash = `#/entry/${Laptime.data.rows[0].id}`")
    page.until("document.querySelectorAll('.plot svg path.line').length === 5")
    text = page.text("main")
    for part in ("target: at least 0.759", "Where the time went", "Before the clock", "Hyperparameters", "resnet_ref_3264", "Seed", "Findings", "System description", "left out (slowest)"):
        assert part in text, part
    assert page.troubles() == []


def test_printed_page_has_every_row_and_no_controls(page, small):
    page.goto(small)
    page.call("Emulation.setEmulatedMedia", media="print")
    assert page.texts("nav a, button") == [""] * len(page.texts("nav a, button")) or page.evaluate("[...document.querySelectorAll('nav a, .bar button')].every((one) => !one.getClientRects().length)")
    assert len(page.call("Page.printToPDF")["data"]) > 10_000
    assert "Unverified" in page.text("#notice")


def test_nothing_that_was_submitted_comes_alive(page, hostile):
    page.goto(hostile)
    evil = page.evaluate("Laptime.data.rows.find((row) => row.submitter.includes('Evil')).id")
    special = {"results": f"results?open={evil}&pin={evil}&group=system_name", "compare": f"compare?ids=${{{IDS}}}"}
    for view in [*(special.get(view, view) for view in VIEWS), f"entry/{evil}"]:
        page.evaluate(f"location.hash = `#/{view}`")
        page.until(SETTLED)
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true; "
                      "for (const one of document.querySelectorAll('*')) one.dispatchEvent(new Event('mouseover'))")
        page.browser.drain(0.1)
        assert page.evaluate("document.querySelectorAll('main img, main script, main b[onmouseover], [onerror]').length") == 0, view
        assert page.evaluate("[...document.querySelectorAll('a[href]')].every((one) => /^(#|https?:|blob:)/.test(one.getAttribute('href')))"), view
    assert page.evaluate("Object.keys(Object.prototype).length") == 0
    assert page.troubles() == []


def test_hostile_strings_are_shown_as_they_are(page, hostile):
    page.goto(hostile)
    typed(page, "evil")
    assert "<img src=x onerror=alert(1)></script>" in page.text(ROWS)


def test_hostile_formula_is_text_in_csv(page, hostile, tmp_path):
    page.goto(hostile)
    page.click(".chooser summary")
    page.click(".chooser .presets button:nth-child(2)")
    page.click("[data-export=csv]")
    rows = list(csv.DictReader(saved(tmp_path, "results.csv").splitlines()))
    formulas = [row["framework"] for row in rows if "HYPERLINK" in row["framework"]]
    assert formulas
    assert all(text.startswith("'=") for text in formulas)


def test_link_to_a_script_is_no_link(page, small):
    page.goto(small)
    assert page.evaluate("['javascript:alert(1)', 'data:text/html,x', '//x', 'file:///x', ' javascript:x'].every((one) => !Laptime.h('a', {href: one}).hasAttribute('href'))")


def test_data_that_cannot_be_read_is_said(page, small_store, tmp_path):
    Exporter(small_store, tmp_path / "site").write("today")
    for path in (tmp_path / "site/data/entry").iterdir():
        path.unlink()
    page.goto((tmp_path / "site/index.html").as_uri())
    page.click(f"{ROWS} .open")
    page.until("document.querySelector('.detail').innerText.includes('cannot be read')")


def test_open_page_follows_a_running_benchmark(page, tmp_path):
    home = write_result(tmp_path, "ACME", runs=1)
    log = home / "results/box/resnet/result_0.txt"
    lines = log.read_text().splitlines(keepends=True)
    ends = [at + 1 for at, line in enumerate(lines) if '"eval_stop"' in line]
    log.write_text("".join(lines[:ends[1]]))
    refresher = Refresher(Exporter(tmp_path / "live.sqlite", tmp_path / "live"), [home], lambda _: "today", print, tmp_path / "running", seconds=0.2)
    refresher.once()
    with Server(tmp_path / "live", 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        refresher.start()
        try:
            page.goto(server.address)
            page.evaluate("location.hash = `#/entry/${Laptime.data.rows[0].id}`")
            page.until("document.querySelector('.single td:nth-child(6)')?.innerText === '2'")
            log.write_text("".join(lines[:ends[4]]))
            page.until("document.querySelector('.single td:nth-child(6)')?.innerText === '5'", 10)
            log.write_text("".join(lines))
            page.until("document.querySelector('.single td')?.innerText === 'converged'", 10)
        finally:
            server.shutdown()
            thread.join()
            refresher.stop()
    page.until("document.documentElement.classList.contains('stopped')")
    assert [trouble for trouble in page.troubles() if "version.json" not in trouble] == []
