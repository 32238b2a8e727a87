"""The exported folder: complete, the same for the same store, brought up to date, and never over somebody else's files."""

import json
import math
import re

import pytest
from scipy.stats.mstats import trimmed_stde
from stores import store_of
from trees import write_result

from laptime.dashboard.export import MARK, SITE, Exporter
from laptime.dashboard.index import trimmed_error
from laptime.errors import UserError
from laptime.results import store
from laptime.results.ingest import Ask, ingest


def payload(path):
    """The value of a data file."""
    match = re.fullmatch(r'Laptime\.receive\("[^"]*", "[^"]*", (.*)\);\n', path.read_text(), re.DOTALL)
    return json.loads(match[1])


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_result_has_a_file_and_a_row(small_store, tmp_path):
    done = Exporter(small_store, tmp_path / "site").write("today")
    found = payload(tmp_path / "site/data/index.js")
    entries = found["results"]["entry"]["values"]
    assert done.results == len(entries) == 3
    assert {f"{entry:x}.js" for entry in entries} == {path.name for path in (tmp_path / "site/data/entry").iterdir()}
    assert done.index == (tmp_path / "site/data/index.js").stat().st_size


def test_rows_hold_the_numbers_of_the_store(small_store, tmp_path):
    Exporter(small_store, tmp_path / "site").write("today")
    found = payload(tmp_path / "site/data/index.js")["results"]
    with store.reading(small_store) as connection:
        wanted = dict(connection.execute("SELECT entry, minutes FROM results"))
    assert dict(zip(found["entry"]["values"], found["minutes"]["values"], strict=True)) == pytest.approx(wanted)


def test_a_result_holds_runs_curves_settings_and_the_system(small_store, tmp_path):
    Exporter(small_store, tmp_path / "site").write("today")
    one = payload(next((tmp_path / "site/data/entry").iterdir()))
    assert [run["number"] for run in one["runs"]] == [0, 1, 2, 3, 4]
    curve = one["runs"][0]["curves"]["eval_accuracy"]
    assert curve["y"][-1] == 0.76
    assert curve["met"] == len(curve["x"]) - 1
    assert len(curve["x"]) == len(curve["y"]) == len(curve["t"])
    assert {setting["name"] for setting in one["settings"]} >= {"global_batch_size"}
    assert one["reference"]["batch_size"] == 3264
    assert one["system"]["accelerator_model_name"] == "Chip X"


def test_pages_name_only_files_that_are_there(small_store, tmp_path):
    Exporter(small_store, tmp_path / "site").write("today")
    page = (tmp_path / "site/index.html").read_text()
    for place in re.findall(r'(?:src|href)="([^"#:]+)"', page):
        assert (tmp_path / "site" / place).is_file(), place


def test_two_exports_of_a_store_are_equal(small_store, tmp_path):
    for name in ("a", "b"):
        Exporter(small_store, tmp_path / name).write("today")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_export_of_a_store_without_results_has_an_empty_table(tmp_path):
    with store.writing(tmp_path / "empty.sqlite"):
        pass
    assert Exporter(tmp_path / "empty.sqlite", tmp_path / "site").write("today").results == 0
    assert payload(tmp_path / "site/data/index.js")["results"]["minutes"]["values"] == []


def test_second_export_takes_in_new_results_and_leaves_old_files_alone(tmp_path):
    file = store_of(tmp_path)
    exporter = Exporter(file, tmp_path / "site")
    exporter.write("today")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "site").rglob("*.js")}
    version = (tmp_path / "site/data/version.json").read_text()
    write_result(tmp_path, "Third", minutes=50, first_seed=77)
    ingest([tmp_path / "v4.0"], file, Ask(), processes=1)
    assert exporter.write("today").results == 4
    assert (tmp_path / "site/data/version.json").read_text() != version
    kept = [path for path, time in before.items() if path.parent.name == "entry" and path.stat().st_mtime_ns == time]
    assert len(kept) == 3


def test_what_is_gone_from_the_store_is_gone_from_the_site(small_store, tmp_path):
    Exporter(store_of(tmp_path), tmp_path / "site").write("today")
    other = store_of(tmp_path / "other", write_result(tmp_path / "other", "Alone"))
    assert Exporter(other, tmp_path / "site").write("today").results == 1
    assert len(list((tmp_path / "site/data/entry").iterdir())) == 1


def test_same_store_gives_the_same_version(small_store, tmp_path):
    exporter = Exporter(small_store, tmp_path / "site")
    versions = set()
    for _ in range(2):
        exporter.write("today")
        versions.add((tmp_path / "site/data/version.json").read_text())
    assert len(versions) == 1
    assert payload(tmp_path / "site/data/index.js")["version"] in versions.pop()


def test_folder_with_other_files_is_refused_and_kept(small_store, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="expected an empty folder or an earlier export, found other files"):
        Exporter(small_store, tmp_path).write("today")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_file_in_place_of_the_folder_is_refused(small_store, tmp_path):
    (tmp_path / "site").write_text("")
    with pytest.raises(UserError, match="found a file at"):
        Exporter(small_store, tmp_path / "site").write("today")


def test_missing_store_is_refused(tmp_path):
    with pytest.raises(UserError, match="expected a store of results"):
        Exporter(tmp_path / "none.sqlite", tmp_path / "site").write("today")


def test_mark_says_whose_folder_it_is(small_store, tmp_path):
    Exporter(small_store, tmp_path / "site").write("today")
    assert "laptime dashboard export" in (tmp_path / "site" / MARK).read_text()


def test_names_of_submitters_name_no_file(hostile):
    from pathlib import Path
    from urllib.parse import unquote, urlsplit
    folder = Path(unquote(urlsplit(hostile).path)).parent
    assert all(re.fullmatch(r"[A-Za-z0-9.-]+", path.name) for path in folder.rglob("*"))


@pytest.mark.parametrize("path", sorted(SITE.rglob("*.*")), ids=lambda path: path.name)
def test_no_page_reaches_for_a_network_or_markup(path):
    text = path.read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\(.on", text)
    assert not re.search(r"(?:src|href)=\"https?:|@import|url\(http|XMLHttpRequest|WebSocket|EventSource|sendBeacon", text)


@pytest.mark.parametrize(("sets", "whole", "cut"), [
    ({"kept": [10, 11, 13], "fastest": [7], "slowest": [20]}, [7, 10, 11, 13, 20], 0.2),
    ({"kept": [5.0, 5.5, 6, 6.1, 7, 7.2, 7.3, 8], "fastest": [4], "slowest": [9]}, [4, 5.0, 5.5, 6, 6.1, 7, 7.2, 7.3, 8, 9], 0.1)])
def test_error_of_a_trimmed_mean_is_that_of_scipy(sets, whole, cut):
    error, freedom = trimmed_error(sets)
    mean = math.fsum(sets["kept"]) / len(sets["kept"])
    assert error * mean == pytest.approx(float(trimmed_stde(whole, limits=(cut, cut))))
    assert freedom == len(sets["kept"]) - 1


def test_error_of_a_trimmed_mean_takes_a_failed_run_for_the_slowest():
    assert trimmed_error({"kept": [10, 11, 13], "fastest": [7], "slowest": [math.inf]}) == trimmed_error(
        {"kept": [10, 11, 13], "fastest": [7], "slowest": [20]})


@pytest.mark.parametrize("sets", [{"kept": [3.0]}, {}, {"kept": [0.0, 0.0]}, {"kept": [1.0, math.inf]}])
def test_error_of_too_little_is_none(sets):
    assert trimmed_error(sets) is None


