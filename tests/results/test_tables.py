"""Tables of results, filtered, and what their cells may do to a reader's programs."""

import csv
import io
import json

import pytest
from stores import store_of

from laptime.compliance.finding import printable
from laptime.errors import UserError
from laptime.results.export import as_csv, as_json, as_markdown, text_of, unformulated, write_parquet
from laptime.results.query import Answer
from laptime.results.tables import Filters, count_range, results_table, systems_table


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return store_of(tmp_path_factory.mktemp("tables"))


def column(found, name):
    return [row[found.columns.index(name)] for row in found.rows]


def test_without_filters_every_result_fastest_first(file):
    found = results_table(file, Filters())
    assert column(found, "system_name") == ["ACME big", "ACME box", "Other box"]
    assert column(found, "accelerators") == [32, 8, 8]


@pytest.mark.parametrize(("filters", "systems"), [
    (Filters(submitters=("acme",)), ["ACME big", "ACME box"]), (Filters(rounds=("v4.0",), accelerators=(None, 8)), ["ACME box", "Other box"]),
    (Filters(accelerators=(9, 64)), ["ACME big"]), (Filters(accelerator="chip x", framework="FRAME"), ["ACME big", "ACME box", "Other box"]),
    (Filters(accelerator="chip y"), []), (Filters(benchmarks=("bert",)), []), (Filters(divisions=("open",)), []),
    (Filters(availabilities=("available on-premise",), submitters=("Other", "none")), ["Other box"]),
    (Filters(submitters=("x' OR 1 = 1 --",)), [])])
def test_filters_choose(file, filters, systems):
    assert column(results_table(file, filters), "system_name") == systems


@pytest.mark.parametrize(("text", "bounds"), [("8", (8, 8)), ("8..", (8, None)), ("..64", (None, 64)), (" 8..64 ", (8, 64))])
def test_count_range_is_read(text, bounds):
    assert count_range(text) == bounds


@pytest.mark.parametrize("text", ["", "..", "many", "64..8", "-8", "8..x", "8...9", "99999999999"])
def test_count_range_of_another_form_is_refused(text):
    with pytest.raises(UserError):
        count_range(text)


def test_wide_table_has_the_public_columns(file):
    found = systems_table(file, Filters())
    assert found.columns == ("round", "division", "availability", "submitter", "system_name", "framework", "nodes",
                             "processor", "processors", "accelerator", "accelerators", "resnet", "details", "code", "model", "notes")
    assert column(found, "resnet")[0] == pytest.approx(12.0527, abs=1e-4)
    assert column(found, "details")[0] == "https://github.com/mlcommons/training_results_v4.0/blob/HEAD/ACME/systems/big.json"
    assert column(found, "code")[0] == "https://github.com/mlcommons/training_results_v4.0/tree/HEAD/ACME/benchmarks"
    assert column(found, "notes") == [None, None, None]  # of the open division only


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "\n", "＝1"])
def test_text_that_a_spreadsheet_would_compute_is_marked(text):
    (row,) = list(csv.reader(io.StringIO(as_csv(Answer(("x",), ((text,),))), newline="")))[1:]
    assert row == ["'" + "\n".join(map(printable, text.replace("\r", "\n").split("\n")))]


@pytest.mark.parametrize("text", ["a\x1b[31mb", "a\x9b31m", "a\rb", "a\x07"])
def test_no_cell_or_value_steers_a_terminal(text):
    found = Answer(("x",), ((text,),))
    for written in (as_csv(found), as_json(found), as_markdown(found)):
        assert all(sign.isprintable() or sign == "\n" for sign in written)
    assert json.loads(as_json(found)) == [{"x": text}]


@pytest.mark.parametrize("value", ["plain", "a=b", "1x A100", -1.5, -3, "v4.0", ""])
def test_other_values_stay_as_they_are(value):
    assert unformulated(value) == value


def test_markdown_has_no_tag_link_or_cell_of_a_submitter():
    text = as_markdown(Answer(("name", "n"), (("<script>alert(1)</script>|x|[a](javascript:b)\n| y\x1b[0m", 1),)))
    assert text.count("\n") == 3
    assert "<" not in text
    assert r"\|x\|\[a\]" in text
    assert "\x1b" not in text


def test_json_is_a_list_of_objects():
    assert json.loads(as_json(Answer(("a", "b"), ((1, None), ("=x", 0.5))))) == [{"a": 1, "b": None}, {"a": "=x", "b": 0.5}]


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (12.0, "12"), (0.1234567, "0.123457"), (3, "3"), (1e20, "1e+20"), ("x", "x")])
def test_values_as_people_read_them(value, text):
    assert text_of(value) == text


def test_parquet_holds_the_same_values(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    write_parquet(Answer(("a", "a", "b"), ((1, "x", 0.5), (None, 2, 1))), tmp_path / "a.parquet")
    assert parquet.read_table(tmp_path / "a.parquet").to_pydict() == {"a": [1, None], "a_2": ["x", "2"], "b": [0.5, 1.0]}
