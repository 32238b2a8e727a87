"""Five public rounds in a browser: how fast the pages are, and ten questions, each answered in at most three steps.

The answers are compared with those of SQL on the store. Figures are printed: pytest -s.
"""

import statistics
import sys

import pytest

from laptime.results.query import ask

pytestmark = pytest.mark.slow

PAINT_MS = 1000  # design.md, budgets: first paint
FILTER_MS = 50  # design.md, budgets: filter
STEPS = 3
FIRST = "#table tr.row"
TYPED = ("nvidia", "h100 v4.0", "resnet chips<=64", "-nvidia", "a", "bert round:v5 minutes<1", "nothing at all", "")


def tell(figures):
    sys.stderr.write(f"\n{figures}\n")


class Reader:
    """Somebody with a question. Each click, each choice and each text typed in one go is a step."""

    def __init__(self, page):
        self.page, self.steps = page, 0

    def type(self, text):
        self.steps += 1
        self.page.evaluate("document.getElementById('search').focus()")
        self.page.write(text)

    def click(self, selector):
        self.steps += 1
        self.page.click(selector)
        self.settle()

    def click_text(self, selector, text):
        self.page.until(f"[...document.querySelectorAll({selector!r})].some((one) => one.textContent.includes({text!r}))")
        self.page.evaluate(f"document.querySelector('[data-wanted]')?.removeAttribute('data-wanted'); "
                           f"[...document.querySelectorAll({selector!r})].find((one) => one.textContent.includes({text!r})).setAttribute('data-wanted', '')")
        self.click("[data-wanted]")

    def choose(self, label, value):
        self.steps += 1
        self.page.until(f"[...document.querySelectorAll('.field')].some((one) => one.innerText.startsWith({label!r}))")
        self.page.evaluate(f"[...document.querySelectorAll('.field')].find((one) => one.innerText.startsWith({label!r})).querySelector('select').id = 'wanted'")
        self.page.choose("#wanted", value)
        self.settle()

    def settle(self):
        self.page.until("!document.querySelector('.wait')")

    def cell(self, key, row=1):
        """What stands in a column of the table of results."""
        place = self.page.evaluate(f"[...document.querySelectorAll('#table thead th')].findIndex((one) => one.dataset.key === {key!r}) + 1")
        return self.page.text(f"{FIRST}:nth-child({row}) td:nth-child({place})")

    def line(self, selector, text):
        """The cells of the first line that holds a text."""
        return self.page.evaluate(f"[...document.querySelectorAll({selector!r})].find((one) => one.textContent.includes({text!r})).innerText.split('\\t')")


@pytest.fixture
def reader(page, public):
    page.goto(public)
    one = Reader(page)
    yield one
    assert 0 < one.steps <= STEPS
    tell(f"{one.steps} steps")


@pytest.fixture
def sql(public_store):
    def first(text):
        return ask(public_store, text).rows[0]
    return first


def test_first_paint_is_within_a_second(page, public):
    found = []
    for _ in range(7):
        page.goto(public)
        page.until("performance.getEntriesByName('first-contentful-paint').length")
        found.append(page.evaluate("[performance.getEntriesByName('first-contentful-paint')[0].startTime, Laptime.firstPaint]"))
    first, whole = (statistics.median(values) for values in zip(*found, strict=True))
    tell(f"first contentful paint {first:.0f} ms, table drawn {whole:.0f} ms (medians of {len(found)})")
    assert page.evaluate("Laptime.data.rows.length") == 829
    assert max(first, whole) < PAINT_MS


def test_filter_is_within_fifty_milliseconds(page, public):
    """From the input event to the finished layout; of five tries the best, because other programs share the machine."""
    page.goto(public)
    found = {}
    for text in TYPED:
        found[text] = min(page.evaluate(f"""(() => {{ const search = document.getElementById('search');
            search.value = {text!r}; const start = performance.now(); search.dispatchEvent(new Event('input', {{bubbles: true}}));
            document.body.offsetHeight; return performance.now() - start; }})()""") for _ in range(5))
    facets = page.evaluate("""[...document.querySelectorAll('.facet input[type=checkbox]')].slice(0, 12).map((box) => {
        const start = performance.now(); box.click(); document.body.offsetHeight; const took = performance.now() - start; box.click(); return took; })""")
    tell(f"search: median {statistics.median(found.values()):.1f} ms, worst {max(found.values()):.1f} ms; facet: median {statistics.median(facets):.1f} ms")
    assert statistics.median(found.values()) < FILTER_MS
    assert statistics.median(facets) < FILTER_MS


def test_no_view_of_public_results_troubles_the_browser(page, public):
    page.goto(public)
    for view in ("questions", "trends", "coverage", "help", "compare", *(f"benchmark/{name}" for name in page.evaluate("Laptime.data.names")), *(f"rcp/{name}" for name in page.evaluate("Laptime.data.names"))):
        page.evaluate(f"location.hash = '#/{view}'")
        page.until("!document.querySelector('.wait')")
    for entry in page.evaluate("Laptime.data.rows.filter((row) => row.at % 60 === 0).map((row) => row.id)"):
        page.evaluate(f"location.hash = '#/entry/{entry}'")
        page.until("document.querySelector('.single')")
    assert page.troubles() == []


def test_who_was_fastest_on_resnet_with_8_accelerators_in_v4(reader, sql):
    reader.type("benchmark:resnet round:v4.0 chips=8")
    submitter, minutes = sql("SELECT submitter, minutes FROM results WHERE benchmark = 'resnet' AND round = 'v4.0' AND chips = 8 AND minutes NOT NULL ORDER BY minutes")
    assert (reader.cell("submitter"), float(reader.cell("minutes"))) == (submitter, pytest.approx(minutes, abs=0.006))


def test_how_long_does_bert_take_at_any_scale_in_v5(reader, sql):
    reader.click('[data-facet="round"] input[value="v5.0"]')
    reader.click('[data-facet="benchmark"] input[value="bert"]')
    minutes, chips = sql("SELECT minutes, chips FROM results WHERE benchmark = 'bert' AND round = 'v5.0' AND minutes NOT NULL ORDER BY minutes")
    assert float(reader.cell("minutes")) == pytest.approx(minutes, abs=0.0006)
    assert int(reader.cell("chips")) == chips


def test_who_needs_the_least_hardware_time_for_finetuning(reader, sql):
    reader.click_text(".presets button", "Least hardware time")
    reader.type("llama2_70b_lora round:v5.0 division:closed")
    submitter, system = sql("SELECT submitter, system_name FROM results WHERE benchmark = 'llama2_70b_lora' AND round = 'v5.0' AND division = 'closed' AND minutes NOT NULL ORDER BY chip_minutes")
    line = reader.page.evaluate(f"Laptime.data.byId.get(document.querySelector('{FIRST}').dataset.id)")
    assert (line["submitter"], line["system_name"]) == (submitter, system)


def test_how_much_faster_was_resnet_on_16_chips_two_rounds_later(reader, sql):
    reader.click_text("nav a", "Questions")
    reader.click_text(".asked nav a", "figure 3: 16 chips")
    reader.choose("later", "v0.7")
    line = reader.line("main table tbody tr", "resnet")
    assert line[0] == "v0.5"
    assert float(line[6]) == pytest.approx(sql("SELECT speedup FROM speedup WHERE benchmark = 'resnet' AND chips = 16 AND earlier = 'v0.5' AND later = 'v0.7' AND division = 'closed'")[0], abs=0.001)
    assert line[7] == "no"


def test_how_many_results_fail_the_convergence_check_in_v2(reader, sql):
    reader.click_text("nav a", "Questions")
    reader.click_text(".asked nav a", "do not pass the convergence check")
    reader.choose("round", "v2.0")
    assert reader.page.text("main caption").startswith(f"{sql('SELECT count(*) FROM results WHERE rcp_passed = 0 AND round = ' + chr(39) + 'v2.0' + chr(39))[0]} row")


def test_how_many_submitters_were_there_in_v5(reader, sql):
    reader.click_text("nav a", "Coverage")
    assert f"{sql('SELECT count(DISTINCT submitter) FROM results WHERE round = ' + chr(39) + 'v5.0' + chr(39))[0]} submitters" in reader.page.text("main")


def test_what_was_the_largest_system_of_v4(reader, sql):
    reader.click_text(".presets button", "Largest systems")
    reader.click('[data-facet="round"] input[value="v4.0"]')
    assert int(reader.cell("chips").replace(",", "")) == sql("SELECT max(chips) FROM results WHERE round = 'v4.0'")[0]


def test_which_learning_rate_did_the_fastest_resnet_of_v4_use(reader, sql):
    reader.type("benchmark:resnet round:v4.0")
    reader.click(f"{FIRST} a")
    reader.page.until("document.querySelector('.single')")
    name, value = sql("""SELECT h.name, h.value FROM hyperparameter AS h JOIN records AS r ON r.entry = h.entry
                         WHERE r.round = 'v4.0' AND r.benchmark = 'resnet' AND r.division = 'closed' AND h.name LIKE '%base_learning_rate' AND h.asked""")
    assert reader.line("main tbody tr", name)[1] == value


def test_how_far_apart_are_the_runs_of_the_fastest_detection_result(reader, sql):
    reader.type("benchmark:retinanet round:v5.0")
    reader.click(".chooser summary")
    reader.click_text(".chooser .presets button", "Reliability")
    assert float(reader.cell("spread").split()[0]) == pytest.approx(100 * sql("SELECT spread FROM results WHERE benchmark = 'retinanet' AND round = 'v5.0' AND minutes NOT NULL ORDER BY minutes")[0], abs=0.06)


def test_what_did_two_rounds_bring_to_recommendation_on_64_chips(reader, sql):
    reader.click_text("nav a", "Trends")
    reader.choose("Benchmark", "dlrm_dcnv2")
    speedup = sql("SELECT speedup FROM speedup WHERE benchmark = 'dlrm_dcnv2' AND chips = 64 AND earlier = 'v4.0' AND later = 'v5.0' AND division = 'closed'")[0]
    assert f"× {speedup:.3g} since v4.0" in reader.page.text("main")
