"""ingest, query and results: what a reader types and sees."""

import csv
import io
import json
import sys

import pytest
from stores import store_of, write_description, write_round
from trees import write_result

HOSTILE = "=HYPERLINK(\"x\")\x1b[31m<b>|"


@pytest.fixture
def file(tmp_path):
    return store_of(tmp_path)


def test_ingest_tells_what_it_did_and_what_the_store_holds(run, tmp_path):
    answer = run("ingest", write_round(tmp_path), "--store", tmp_path / "a.sqlite")
    assert answer.code == 0
    assert answer.out.startswith("3 new results, 0 changed, 0 unchanged.\n")
    assert "3 results of 1 round and 2 submitters: 15 runs," in answer.out


def test_ingest_in_json_counts_rows(run, tmp_path):
    found = json.loads(run("ingest", write_round(tmp_path), "--store", tmp_path / "a.sqlite", "--json").out)
    assert (found["new"], found["left_out"], found["rows"]["run"]) == (3, [], 15)


def test_ingest_that_leaves_something_out_says_so(run, tmp_path):
    first, second = write_result(tmp_path / "a", "ACME"), write_result(tmp_path / "b", "ACME")
    answer = run("ingest", first, second, "--store", tmp_path / "a.sqlite")
    assert answer.code == 1
    assert "v4.0/ACME/results/box/resnet: another folder" in answer.out


def test_results_show_minutes_per_system(run, file):
    answer = run("results", "--store", file, "--benchmark", "resnet", "--accelerators", "8..16")
    assert answer.code == 0
    assert [line.split()[1] for line in answer.out.splitlines()[1:3]] == ["ACME", "Other"]
    assert "Unverified" in answer.out


def test_results_of_an_unknown_name_offer_the_nearest(run, file):
    answer = run("results", "--store", file, "--benchmark", "resnot")
    assert answer.code == 2
    assert "Did you mean 'resnet'?" in answer.err


def test_results_without_a_store_say_how_to_make_one(run, tmp_path):
    answer = run("results", "--store", tmp_path / "none.sqlite")
    assert answer.code == 2
    assert "laptime ingest" in answer.err


@pytest.mark.parametrize("wide", [[], ["--wide"]])
@pytest.mark.parametrize("form", ["text", "csv", "json", "markdown"])
def test_hostile_names_are_harmless_in_every_form(run, tmp_path, form, wide):
    home = write_result(tmp_path, "ACME")
    write_description(home, "box", system_name=HOSTILE, framework=HOSTILE, accelerator_model_name=HOSTILE)
    out = run("results", "--store", store_of(tmp_path, home), "--format", form, *wide).out
    assert "\x1b" not in out
    assert "HYPERLINK" in out
    if form == "csv":
        assert all(not cell.startswith("=") for row in csv.reader(io.StringIO(out)) for cell in row)
    if form == "markdown":
        assert "<b>" not in out


def test_query_by_name_and_in_sql_agree(run, file):
    named = json.loads(run("query", "fastest", "-p", "benchmark=resnet", "--store", file, "--format", "json").out)
    told = json.loads(run("query", "SELECT chips FROM fastest ORDER BY chips", "--store", file, "--format", "json").out)
    assert [row["chips"] for row in named] == [row["chips"] for row in told] == [8, 32]


def test_query_that_would_write_is_refused(run, file):
    answer = run("query", "DELETE FROM run", "--store", file)
    assert answer.code == 2
    assert "may only read" in answer.err


def test_query_lists_questions_and_tables(run, file):
    assert "near-bound" in run("query", "--list").out
    assert "chip_minutes" in run("query", "--tables", "--store", file).out


def test_query_says_where_there_is_more(run, file):
    assert "give --rows" in run("query", "SELECT file FROM run", "--rows", "3", "--store", file).out


def test_query_writes_a_file(run, file, tmp_path):
    answer = run("query", "SELECT 1 AS one", "--store", file, "--format", "csv", "--out", tmp_path / "a.csv")
    assert (answer.code, answer.out) == (0, "")
    assert (tmp_path / "a.csv").read_text() == "one\n1\n"


def test_parquet_without_its_package_says_what_to_install(run, file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    answer = run("query", "SELECT 1 AS one", "--store", file, "--format", "parquet", "--out", tmp_path / "a.parquet")
    assert answer.code == 2
    assert "laptime[parquet]" in answer.err


@pytest.mark.parametrize("arguments", [["query"], ["query", "fastest", "-p", "nothing"], ["results", "--accelerators", "x"],
                                       ["query", "fastest", "--format", "parquet"]])
def test_wrong_use_is_one_line(run, file, arguments):
    answer = run(*arguments, "--store", file)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("laptime: expected")
