"""The command: table, JSON, file, refusals."""

import json

import click
import pytest

from laptime.bench.report import Report, save
from laptime.bench.row import Row
from laptime.cli import bench
from laptime.cli.main import main
from laptime.errors import UserError

ROWS = (Row("overhead", "loop", "us", 3.21, 3.0, 3.5, "<= 20", "met"),
        Row("train", "step", "samples/s", 12345.6, 12000.0, 12700.0, mark="3000"), Row("train", "ratio", "x", note="no peer"))


def report(**more):
    return Report(**{"date": "2026-11-22T10:20:30+00:00", "command": ("laptime", "bench"), "quick": False, "device": "cpu",
                     "threads": 2, "load": 0.1, "machine": {}, "versions": {}, "rows": ROWS, **more})


def test_table_shows_numbers_budgets_and_reasons():
    lines = click.unstyle(bench.text(report(), None)).splitlines()
    assert lines[0] == "cpu, 2 threads, 2026-11-22T10:20:30+00:00"
    assert [line.split() for line in lines[2:6]] == [
        ["what", "value", "95", "%", "interval", "unit", "budget", "verdict", "mark", "note"],
        ["loop", "3.21", "3", "..", "3.5", "us", "<=", "20", "met"],
        ["step", "12346", "12000", "..", "12700", "samples/s", "3000"],
        ["ratio", "x", "no", "peer"]]


def test_table_leaves_empty_columns_out():
    assert "mark" not in bench.text(report(rows=ROWS[:1]), None)


@pytest.mark.parametrize(("more", "words"), [({"load": 3.0}, "not quiet"), ({"quick": True}, "no number here")])
def test_table_warns_of_numbers_that_say_little(more, words):
    assert words in bench.text(report(**more), None)
    assert words not in bench.text(report(), None)


def test_kept_file_is_named_by_date_and_device_and_holds_everything(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = save(report(device="cuda (NVIDIA H200)"))
    assert path.as_posix() == "bench/results/20261122T102030-cuda_NVIDIA_H200.json"
    content = json.loads(path.read_text())
    assert [row["value"] for row in content["rows"]] == [3.21, 12345.6, None]
    assert set(content) == {"date", "command", "quick", "device", "threads", "load", "machine", "versions", "rows"}


def test_unwritable_file_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write the measurements"):
        save(report(), tmp_path / "file" / "x.json")


def test_cases_without_a_benchmark_are_refused():
    with pytest.raises(click.BadParameter, match="NAME of the benchmark"):
        bench.command.callback(name=None, quick=True, only="train", cases=("mini",), rounds=(), device="cpu", threads=1,
                               processes=2, out=None, suite=None, as_json=False)


def test_unknown_group_is_refused():
    with pytest.raises(click.BadParameter, match="found 'tain'"):
        bench._groups("train,tain")


def test_unknown_benchmark_offers_the_nearest(capsys):
    assert main(["bench", "resnett", "--quick"]) == 2
    assert "'resnet'" in capsys.readouterr().err


@pytest.mark.seconds
def test_quick_bench_measures_everything(capsys, tmp_path):
    out = tmp_path / "deep" / "bench.json"
    assert main(["bench", "resnet", "--quick", "--threads", "1", "--device", "cpu", "--json", "--out", str(out)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert {row["group"] for row in answer["rows"]} == {"overhead", "start", "train", "scale", "data", "judge"}
    assert all(row["value"] is not None and row["value"] > 0 for row in answer["rows"]
               if row["group"] not in ("overhead", "judge"))  # no public round is at hand here
    kept = json.loads(out.read_text())
    assert kept["rows"] == answer["rows"]
    assert kept["versions"]["packages"]["torch"]
    assert kept["machine"]["processor"]
