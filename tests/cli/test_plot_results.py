"""plot of a store's figures and the summary of a round: what a reader types and gets."""

import csv
import io
import json

import pytest
from stores import store_of

from laptime.cli.plot import reference_labels
from laptime.results.figures.catalogue import FIGURES
from laptime.rules.load import load_round


@pytest.fixture
def file(tmp_path):
    return store_of(tmp_path)


@pytest.mark.parametrize(("ending", "begin"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF"), (".html", b"<!doctype html>")])
def test_figure_of_a_store_is_written_in_every_form(run, file, tmp_path, ending, begin):
    out = tmp_path / f"figure{ending}"
    answer = run("plot", "scaling", "--store", file, "--out", out)
    assert (answer.code, answer.out, answer.err) == (0, f"{out}\n", "")
    assert out.read_bytes().startswith(begin)


def test_figure_is_named_after_itself_where_nothing_is_said(run, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("plot", "trend", "--store", file).out == "trend.png\n"
    assert (tmp_path / "trend.png").is_file()


def test_data_of_a_figure_in_json_tell_their_source(run, file):
    found = json.loads(run("plot", "scaling", "--store", file, "--json").out)
    assert (found["figure"], found["unverified"], len(found["rows"])) == ("scaling", True, 3)
    assert "not verified" in found["source"]
    assert {"chips", "minutes", "submitter"} <= set(found["rows"][0])


def test_data_of_a_figure_as_csv(run, file):
    rows = list(csv.DictReader(io.StringIO(run("plot", "epochs", "--store", file, "--csv").out)))
    assert [row["needed"] for row in rows] == ["35.0"] * 15


def test_data_go_into_a_file_where_one_is_named(run, file, tmp_path):
    answer = run("plot", "quality", "--store", file, "--json", "--out", tmp_path / "a.json")
    assert (answer.code, answer.out) == (0, "")
    assert json.loads((tmp_path / "a.json").read_text())["facts"]["target"] == 0.759


def test_data_need_no_matplotlib_but_a_figure_does(run, file, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    assert run("plot", "scaling", "--store", file, "--csv").code == 0
    answer = run("plot", "scaling", "--store", file, "--out", tmp_path / "a.png")
    assert answer.code == 2
    assert "laptime[plot]" in answer.err


def test_list_tells_every_figure(run):
    answer = run("plot", "--list")
    assert answer.code == 0
    assert all(name in answer.out for name in FIGURES)


@pytest.mark.parametrize(("arguments", "said"), [
    ([], "expected a folder of runs, a benchmark or a figure"),
    (["speedup", "--benchmark", "resnet"], "figure 'speedup' has no --benchmark"),
    (["scaling", "--out", "a.gif"], "ending in .png, .svg, .pdf, .html"),
    (["speedup"], "expected two rounds with scores"),
    (["scaling", "--benchmark", "resnot"], "Did you mean 'resnet'?"),
    (["resnet", "--json"], "'resnet' is no figure of a store"),
    (["quality", "--submitter", "nobody"], "no scored result")])
def test_wrong_use_is_one_line(run, file, arguments, said):
    answer = run("plot", *arguments, "--store", file)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


def test_figure_without_a_store_says_how_to_make_one(run, tmp_path):
    answer = run("plot", "trend", "--store", tmp_path / "none.sqlite")
    assert answer.code == 2
    assert "laptime ingest" in answer.err


def test_figure_that_cannot_be_written_is_one_line(run, file, tmp_path):
    for ending in ("svg", "html"):
        answer = run("plot", "trend", "--store", file, "--out", tmp_path / "no" / f"a.{ending}")
        assert answer.code != 0
        assert len(answer.err.splitlines()) <= 2


def test_summary_of_a_round_as_text_markdown_and_json(run, file):
    text = run("results", "--summary", "--store", file).out
    assert text.startswith("Round v4.0\n")
    assert "3 of 3 results with a score, from 2 submitters" in text
    assert "Unverified" in text
    assert run("results", "--summary", "--store", file, "--format", "markdown").out.startswith("# Round v4.0\n")
    found = json.loads(run("results", "--summary", "--round", "4.0", "--store", file, "--format", "json").out)
    assert (found["results"], found["unverified"], found["benchmarks"][0]["benchmark"]) == (3, True, "resnet")
    assert [row["submitter"] for row in found["submitters"]] == ["ACME", "Other"]


def test_summary_goes_into_a_file(run, file, tmp_path):
    assert run("results", "--summary", "--store", file, "--out", tmp_path / "a.txt").out == ""
    assert (tmp_path / "a.txt").read_text().startswith("Round v4.0\n")


def test_summary_is_of_one_round_in_a_form_that_holds_several_tables(run, file):
    assert "one --round" in run("results", "--summary", "--store", file, "--format", "csv").err


def test_published_minutes_are_read_at_ingest(run, tmp_path, file):
    (tmp_path / "table.csv").write_text("round,submitter,system,benchmark,minutes\nv4.0,ACME,big,resnet,12\n")
    answer = run("ingest", tmp_path / "v4.0", "--store", file, "--published", tmp_path / "table.csv")
    assert answer.code == 0
    rows = json.loads(run("query", "published", "--store", file, "--format", "json").out)
    assert [row["published_minutes"] for row in rows] == [12.0]


@pytest.mark.parametrize(("benchmark", "axis"), [("stable_diffusion", "FID (CLIP counts too)"), ("resnet", "Top-1 accuracy")])
def test_axis_of_a_curve_names_what_is_drawn(benchmark, axis):
    rules = load_round("mini-1").benchmarks[benchmark]
    assert reference_labels(rules).metric == axis
