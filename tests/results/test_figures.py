"""Figures: their data are those of the store, their files the same each time, nothing in them is anybody's program."""

import math
import re
import sqlite3

import pytest
from stores import store_of, write_description, write_round
from trees import ROUND, START, write_result, write_run

from laptime.errors import UnknownName, UserError
from laptime.results import store
from laptime.results.figures import canvas, choose, rounds, runs, scales, summary
from laptime.results.figures.canvas import FORMS, name
from laptime.results.figures.catalogue import FIGURES
from laptime.results.figures.page import page
from laptime.results.figures.sheet import Choice, Sheet, number
from laptime.results.query import Answer

HOSTILE = "<script>alert(1)</script>$\\frac{1}{2}$ & \"x\" \x1b[31m"
SCALES = ((8, 100.0), (16, 40.0), (64, 12.0))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Two rounds of one benchmark at three numbers of chips; the later round, three times as fast, took more chips."""
    top = tmp_path_factory.mktemp("figures")
    homes = []
    for system, (chips, minutes) in zip(("a", "b", "c"), SCALES, strict=True):
        home = write_result(top, "ACME", system=system, minutes=minutes, first_seed=chips * 10)
        write_description(home, system, number_of_nodes="1", accelerators_per_node=chips)
        homes.append(home)
    path = store_of(top, top / ROUND)
    connection = sqlite3.connect(path)  # the same results once more as an earlier round without the largest scale
    with connection:
        connection.execute("INSERT INTO round SELECT 'v3.1', number - 1, kind, title, normalised, file, line FROM round")
        connection.execute("INSERT INTO benchmark SELECT 'v3.1', name, log_name, title, area, dataset, model, metric, target, runs, "
                           "dropped, max_failures, unit, comparable_since, file, line FROM benchmark WHERE name = 'resnet'")
        for table, columns in (("run", "number, status, counts, seed, start_ms, start_line, start_ms + 3 * (stop_ms - start_ms), stop_line, "
                                "init_ms, training_ms, evaluation_ms, rest_ms, convergence, evaluations, joules, bytes, file, line"),
                               ("score", "scored, publishable, batch_size, passed, verdict, basis, submission_mean, reference_mean, "
                                "reference_deviation, minimum_mean, computed_factor, published_factor, samples_to_converge, uncertainty, "
                                "nodes_measured, deviation, low, high, bootstrap_low, bootstrap_high, file, line")):
            connection.execute(f"INSERT INTO {table} SELECT entry + 1, {columns} FROM {table} WHERE entry IN "
                               "(SELECT entry.id FROM entry JOIN system ON system.id = system WHERE system.name <> 'c')")
        connection.execute("INSERT INTO entry SELECT entry.id + 1, key || '-', fingerprint, label, 'v3.1', entry.submitter, system, benchmark, "
                           "log_name, entry.division, level, entry.file, entry.line FROM entry JOIN system ON system.id = system "
                           "WHERE system.name <> 'c'")
    connection.close()
    return path


def choice(**given):
    return Choice(**{"benchmark": "resnet", **given})


def collected(file, figure):
    return FIGURES[figure].collect(file, choice(round="v4.0") if "benchmark" in FIGURES[figure].choices else Choice())


@pytest.mark.parametrize("figure", FIGURES)
def test_every_figure_is_drawn_the_same_each_time(file, figure):
    pytest.importorskip("matplotlib")
    sheet = collected(file, figure)
    assert sheet.name == figure
    first = FIGURES[figure].file(sheet, "svg")
    assert first == FIGURES[figure].file(sheet, "svg")
    assert first.startswith(b"<?xml")
    assert b"unverified" in first
    assert b"Results not verified by MLCommons" in first


def test_last_digits_of_the_layout_do_not_reach_the_file(file, monkeypatch):
    """The solver's last digits follow from addresses in memory; here they are moved by as much as was seen."""
    pytest.importorskip("matplotlib")
    from matplotlib.axes import Axes

    drawn = [FIGURES["summary"].file(collected(file, "summary"), "svg")]
    solved = Axes._set_position

    def shaken(self, position, which="both"):
        of_layout = which == "both" and not isinstance(position, tuple)
        solved(self, position.translated(1e-8, -1e-8) if of_layout else position, which)

    monkeypatch.setattr(Axes, "_set_position", shaken)
    drawn.append(FIGURES["summary"].file(collected(file, "summary"), "svg"))
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(("form", "begin"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_forms_are_what_they_say_and_carry_no_date(file, form, begin):
    pytest.importorskip("matplotlib")
    sheet = collected(file, "speedup")
    drawn = FIGURES["speedup"].file(sheet, form)
    assert drawn.startswith(begin)
    assert drawn == FIGURES["speedup"].file(sheet, form)
    assert not re.search(rb"\b20\d\d-\d\d-\d\d|CreationDate", drawn)
    assert form in FORMS


def test_speedup_is_that_of_the_fastest_entries_at_so_many_chips(file):
    sheet = rounds.speedup(file, Choice(chips=16))
    assert sheet.texts("benchmark") == ["resnet"]
    assert sheet.numbers("speedup") == pytest.approx([3])
    assert (sheet.facts["earlier"], sheet.facts["later"], sheet.facts["mean_of_comparable"]) == ("v3.1", "v4.0", pytest.approx(3))


def test_growth_is_that_of_the_fastest_entries(file):
    sheet = rounds.growth(file, Choice())
    assert (sheet.numbers("earlier_chips"), sheet.numbers("later_chips"), sheet.numbers("growth")) == ([16], [64], [4])


def test_pairs_that_may_not_be_compared_are_marked_and_kept_apart(file):
    sheet = rounds.speedup(file, Choice())
    place = sheet.table.columns.index("comparable")
    unfair = rounds._with_mean(sheet.with_rows(tuple((*row[:place], 0, *row[place + 1:]) for row in sheet.table.rows)), "speedup", "times")
    assert unfair.facts["mean_of_comparable"] is None
    assert any("not comparable" in note for note in unfair.notes)
    assert b"url(#h" in FIGURES["speedup"].file(unfair, "svg")  # a pattern of lines
    assert b"url(#h" not in FIGURES["speedup"].file(sheet, "svg")


def test_targets_are_told_in_one_unit_where_they_differ():
    assert rounds._change(21.8, 0.24) == "\ntarget 21.8, then 24"
    assert rounds._change(25.0, 0.25) == rounds._change(0.759, 0.759) == rounds._change(None, 1.0) == ""


def test_scaling_has_every_score_of_the_round(file):
    sheet = scales.scaling(file, choice(round="v4.0"))
    assert sheet.numbers("chips") == [8, 16, 64]
    assert sheet.numbers("minutes") == sorted(sheet.numbers("minutes"), reverse=True)


def test_convergence_has_points_band_and_results(file):
    sheet = scales.convergence(file, choice(round="v4.0"))
    kinds = sheet.texts("kind")
    assert {"band", "point in use", "point pruned"} <= set(kinds)
    assert kinds.count("result passes") + kinds.count("result fails") == 3


def test_trend_has_fixed_scales_and_any(file):
    sheet = rounds.trend(file, choice())
    assert {(row[1], row[2]) for row in sheet.table.rows} == {("v3.1", 0), ("v3.1", 8), ("v4.0", 0), ("v4.0", 8), ("v4.0", 64)}


def test_epochs_are_those_of_every_run_that_converged(file):
    sheet = runs.epochs(file, choice(round="v4.0"))
    assert sheet.column("needed") == [35] * 15
    assert sheet.notes[0] == "15 runs of 3 results reached the target."


def test_run_that_did_not_converge_is_counted_but_not_drawn(tmp_path):
    home = write_result(tmp_path, "ACME", runs=4)
    write_run(home / "results" / "box" / "resnet" / "result_4.txt", submitter="ACME", seed=9, start_ms=START, epochs=3, every=4)
    path = home / "results" / "box" / "resnet" / "result_4.txt"
    path.write_text(path.read_text().replace("0.76", "0.1").replace("success", "aborted"))
    sheet = runs.epochs(store_of(tmp_path, home), Choice())
    assert sheet.notes[0] == "4 runs of 1 results reached the target; 1 did not and are left out."
    assert FIGURES["epochs"].file(sheet, "svg")


def test_quality_shows_the_runs_of_the_fastest_result(file):
    sheet = runs.quality(file, choice(round="v4.0"))
    assert (sheet.facts["target"], sheet.facts["unit"]) == (0.759, "epochs")
    assert set(sheet.numbers("run")) == {0, 1, 2, 3, 4}
    assert "64 chips" in sheet.subtitle


def test_summary_counts_the_round_and_what_became_faster(file):
    found = summary.summary(file, Choice())
    assert (found.round, found.totals["results"], found.totals["submitters"], found.totals["runs"]) == ("v4.0", 3, 1, 15)
    (row,) = summary.objects(found.benchmarks)
    assert (row["previous"], row["first"], row["faster_same_chips"]) == ("v3.1", "v3.1", pytest.approx(3))
    assert row["faster"] == pytest.approx(3 * 42 / 14)  # at any number of chips: the earlier round has no 64
    assert found.totals["most_faster_benchmark"] == "resnet"
    assert summary.objects(found.latest)[0]["latest"] == "v4.0"


def test_summary_of_the_first_round_compares_with_nothing(file):
    (row,) = summary.objects(summary.summary(file, Choice(round="3.1")).benchmarks)
    assert (row["previous"], row["faster"], row["faster_same_chips"]) == (None, None, None)
    assert FIGURES["summary"].file(summary.sheet(file, Choice(round="v3.1")), "png")


def test_geometric_mean_is_of_ratios():
    assert rounds._mean([2.0, 8.0]) == pytest.approx(4)


@pytest.mark.parametrize("values", [[], [1.0], [1.0] * 50, [1.0, 1.0, 5.0], [float(value) for value in range(200)]])
def test_every_dot_has_a_place_of_its_own(values):
    xs, ys = runs.spread(values)
    assert sorted(ys) == sorted(values)
    assert len(set(zip(xs, ys, strict=True))) == len(values)
    assert all(abs(x) <= 0.41 for x in xs)


@pytest.mark.parametrize(("given", "said"), [
    ({"benchmark": "resnot"}, "Did you mean 'resnet'"), ({"benchmark": "resnet", "round": "v9.9"}, "no round 'v9.9'"),
    ({"benchmark": "resnet", "division": "open"}, "no score of resnet"), ({"benchmark": "resnet", "accelerator": "abacus"}, "to draw")])
def test_choice_that_the_store_does_not_have_is_refused(file, given, said):
    with pytest.raises((UserError, UnknownName), match=said):
        scales.scaling(file, Choice(**given))


def test_two_rounds_are_needed_to_compare(tmp_path):
    with pytest.raises(UserError, match="expected two rounds"):
        choose.two_rounds(store_of(tmp_path), Choice())


def test_empty_store_has_no_figure(tmp_path):
    path = tmp_path / "empty.sqlite"
    with store.writing(path):
        pass
    for drawing in FIGURES.values():
        with pytest.raises(UserError):
            drawing.collect(path, Choice())


def test_benchmark_must_be_said_where_there_are_several(file):
    assert choose.benchmark_of(file, Choice()) == "resnet"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    top = tmp_path_factory.mktemp("hostile")
    home = write_result(top, "A$_x^$")
    write_description(home, "box", system_name=HOSTILE * 20, accelerator_model_name=HOSTILE, framework=HOSTILE)
    return store_of(top, home)


@pytest.mark.parametrize("figure", ["epochs", "quality", "scaling", "convergence", "summary"])
def test_hostile_names_come_out_harmless(hostile, figure):
    sheet = FIGURES[figure].collect(hostile, Choice())
    text = page(sheet, FIGURES[figure].file(sheet, "svg"))
    assert "<script" not in text
    assert "\x1b" not in text
    assert "http-equiv" in text
    assert "default-src 'none'" in text
    assert set(re.findall(r"https?://[^\"'<> ]+", text)) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_page_holds_every_number_and_the_notice(file):
    sheet = scales.scaling(file, choice(round="v4.0"))
    text = page(sheet, FIGURES["scaling"].file(sheet, "svg"))
    assert text.count("<tr>") == 1 + len(sheet.table.rows)
    assert "not verified by MLCommons" in text
    assert "<!DOCTYPE svg" not in text
    assert "<metadata>" not in text


def test_clips_of_a_drawing_are_named_after_what_they_are():
    def svg(first, second):
        return b'<g clip-path="url(#%b)"/><g clip-path="url(#%b)"/><defs>%b</defs>' % (first, second, b"".join(
            b'\n <clipPath id="%b"><rect/></clipPath>' % each for each in dict.fromkeys((first, second))))

    once = canvas._numbered(svg(b"p0123456789", b"p0123456789"))
    assert once == canvas._numbered(svg(b"pabcdefabcd", b"p0000000000"))
    assert once.count(b"<clipPath") == 1


def test_long_name_is_cut_to_one_printable_line():
    assert name("a\nb" * 100, 10) == "a ba ba b…"
    assert name("x\x1b") == "x\\x1b"


def test_numbers_of_a_sheet_are_numbers():
    sheet = Sheet("x", "", "", Answer(("a", "b"), ((1, "u"), (2.5, None))))
    assert sheet.numbers("a") == [1.0, 2.5]
    assert sheet.where(b="u").column("a") == [1]
    with pytest.raises(ValueError, match="expected a number"):
        number("u")
    assert math.isnan(number(math.nan))


def test_round_of_one_result_can_be_drawn_whatever_the_figure(tmp_path):
    path = store_of(tmp_path, write_round(tmp_path))
    for figure in ("epochs", "quality", "scaling", "trend", "convergence", "summary"):
        sheet = FIGURES[figure].collect(path, Choice())
        assert FIGURES[figure].file(sheet, "svg")
