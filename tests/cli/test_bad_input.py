"""Whatever a user may type or point at: one line and an exit code, or findings; never a traceback, nothing left behind."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

from laptime.errors import FINDINGS, WRONG_USE

SUITE = Path(__file__).parents[1] / "harness" / "suite"


def one_line(answer, code=WRONG_USE):
    """The line that an answer must consist of, perhaps with a hint below."""
    assert (answer.code, answer.out) == (code, "")
    first, *hints = answer.err.splitlines()
    assert first.startswith("laptime: ")
    assert "this is a bug" not in first
    assert len(first) < 1100
    assert answer.err.replace("\n", "").isprintable()
    assert len(hints) <= 1
    assert all(hint.startswith("  ") for hint in hints)
    return first


def findings(answer):
    """The text of an answer that must hold findings."""
    assert answer.code == FINDINGS, answer
    assert answer.err == ""
    assert "Traceback" not in answer.out
    assert " error " in answer.out
    return answer.out


@pytest.mark.parametrize(("arguments", "words"), [
    (["chekc", "runs"], "unknown command 'chekc'. Did you mean 'check'?"),
    (["\x1b[31m"], "unknown command"),
    ([""], "unknown command ''"),
    (["../check"], "unknown command '../check'"),
    (["--verbsoe"], "No such option"),
    (["run", "resnet", "--roud", "mini"], "No such option"),
    (["run", "resnet", "--runs", "many"], "many"),
    (["run", "resnet", "--runs", "-1"], "-1"),
    (["run", "resnet", "--seed", "1e3"], "1e3"),
    (["run", "resnet", "--threads", "9" * 5000], "9"),
    (["run", "resnet", "ssd"], "unexpected extra argument"),
    (["run", "resnt"], "unknown benchmark 'resnt'. Did you mean 'resnet'?"),
    (["run", "../suite/resnet"], "unknown benchmark"),
    (["run", "resnet\n--seed"], "unknown benchmark"),
    (["run", ""], "unknown benchmark ''"),
    (["run", "resnet", "--round", "v9.9"], "unknown round 'v9.9'"),
    (["run", "resnet", "--round", "../mini-1"], "unknown round"),
    (["run", "resnet", "--round", ""], "unknown round ''"),
    (["run", "resnet", "--round", "common"], "unknown round 'common'"),
    (["run", "resnet", "--status", "researhc"], "Did you mean 'research'?"),
    (["prepare", "resnt"], "Did you mean 'resnet'?"),
    (["prepare", "resnet", "--round", "v4.0", "--data", "nowhere"], "no prepared ImageNet"),
    (["show", "resnet", "--round", "latest?"], "unknown round 'latest?'"),
    (["rcp", "show", "resnt"], "Did you mean 'resnet'?"),
    (["rcp", "make", "resnt"], "Did you mean 'resnet'?"),
    (["explain", "R999"], "R999"),
    (["explain", ""], "unknown rule or key ''"),
    (["list", "--suite", "nowhere"], "nowhere"),
    (["check"], "Missing argument"),
    (["check", "nowhere"], "found nothing at nowhere"),
    (["check", "nowhere/result_0.txt"], "found nothing at nowhere/result_0.txt"),
    (["check", "no\nwhere"], "found nothing at no where"),
    (["score", "nowhere"], "found nothing at nowhere"),
    (["plot", "nowhere"], "found nothing at nowhere"),
], ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "")
def test_name_that_does_not_exist_is_one_line(run, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert words in one_line(run(*arguments))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("change", [
    "global_batch_size=__import__('os').system('touch evaluated')", "global_batch_size=1e999", "global_batch_size=nan",
    "global_batch_size=" + "9" * 100_000, "optimizer.base_learning_rate=inf", "optimizer.base_learning_rate=nan",
    "global_batch_size=1\n2", "global_batch_size", "=1", ".=1", "a.b.c.d=1", "__class__.x=1", "model=1", "", "=", "optimizer.name=adam",
    "global_batch_size=\x00", "\ud800=1", "x" * 10_000 + "=1",
], ids=lambda value: ascii(value)[:40])
def test_hostile_override_is_one_line_and_nothing_is_run(run, tmp_path, monkeypatch, change):
    monkeypatch.chdir(tmp_path)
    one_line(run("run", "resnet", "--round", "smoke", "--set", change))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("change", ["global_batch_size=0", "global_batch_size=-8", "global_batch_size=99999999", "model.width=0",
                                    "model.blocks=", "schedule.train_epochs=0", "schedule.warmup_epochs=99",
                                    "parallel.accumulation_steps=0"])
def test_value_that_cannot_be_run_is_one_line(run, tmp_path, monkeypatch, change):
    from laptime.harness import preparation

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(preparation, "_make", lambda *_: pytest.fail("made data before the configuration was known to be sound"))
    one_line(run("run", "resnet", "--round", "smoke", "--set", change))


def test_setting_outside_the_rules_is_a_finding_of_one_line(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = one_line(run("run", "resnet", "--round", "smoke", "--set", "label_smoothing=0.3"), FINDINGS)
    assert "label_smoothing is 0.3" in line


@pytest.mark.parametrize("option", ["--data", "--out"])
def test_folder_that_cannot_be_written_is_one_line(run, tmp_path, option):
    (tmp_path / "file").write_text("kept")
    places = {"--data": tmp_path / "data", "--out": tmp_path / "out"} | {option: tmp_path / "file" / "inner"}
    answer = run("run", "standin", "--suite", SUITE, *[word for pair in places.items() for word in pair])
    assert str(tmp_path / "file") in answer.err.splitlines()[0].replace("\n", "")
    last = answer.err.splitlines()[-2:]
    assert (answer.code, answer.out) == (WRONG_USE, "")
    assert any(line.startswith("laptime: cannot ") for line in answer.err.splitlines()), last
    assert "Traceback" not in answer.err
    assert (tmp_path / "file").read_text() == "kept"


def test_file_in_place_of_a_folder_is_one_line(run, tmp_path):
    (tmp_path / "file").write_text("kept")
    for command in (["run", "standin", "--out"], ["prepare", "standin", "--data"], ["list", "--suite"]):
        assert "file" in one_line(run(*command, tmp_path / "file"))


@pytest.mark.parametrize("command", ["check", "score", "plot"])
def test_empty_folder_is_one_line_that_says_what_is_looked_for(run, tmp_path, command):
    assert str(tmp_path) in one_line(run(command, tmp_path))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.995])
def test_log_cut_in_mid_line_is_a_finding_at_its_last_line(run, folder, share):
    path = folder() / "result_0.txt"
    whole = path.read_text()
    cut = whole[: int(len(whole) * share)].rstrip("\n")[:-3]
    path.write_text(cut)
    said = findings(run("check", path, "--round", "v4.0"))
    assert f"result_0.txt:{len(cut.splitlines())}:" in said


def test_folder_with_a_cut_log_has_findings_and_no_score(run, folder):
    where = folder()
    path = where / "result_2.txt"
    path.write_text(path.read_text()[:-200])
    findings(run("check", where))
    scored = run("score", where)
    assert scored.code == FINDINGS
    assert "Traceback" not in scored.out + scored.err


JUNK = {
    "every byte": bytes(range(256)) * 64, "zeros": bytes(5000), "gzip": gzip.compress(b":::MLLOG {}\n" * 9, mtime=0), "empty": b"",
    "newlines": b"\n" * 999, "utf-16": ":::MLLOG {}\n".encode("utf-16"), "one long line": b"x" * 2_000_000,
    "broken json": b":::MLLOG {broken\n" * 5, "json of another kind": b":::MLLOG [1, 2]\n:::MLLOG null\n:::MLLOG 5\n",
    "nested": b":::MLLOG " + b"[" * 100_000 + b"\n", "no fields": b":::MLLOG {}\n",
    "wrong fields": b':::MLLOG {"key": 5, "value": {}, "time_ms": "x", "event_type": [], "metadata": 3, "namespace": null}\n',
    "huge numbers": b':::MLLOG {"namespace": "", "time_ms": 1e999, "event_type": "POINT_IN_TIME", "key": "seed", "value": '
                    + b"9" * 9999 + b', "metadata": {}}\n',
    "escape codes": b"\x1b]0;title\x07\x1b[2J\n",
}


@pytest.mark.parametrize("content", JUNK.values(), ids=JUNK)
def test_junk_in_place_of_a_log_is_a_finding(run, tmp_path, content):
    (tmp_path / "result_0.txt").write_bytes(content)
    said = findings(run("check", tmp_path / "result_0.txt", "--round", "v4.0"))
    assert "\x1b" not in said
    assert "\x00" not in said


@pytest.mark.parametrize("content", JUNK.values(), ids=JUNK)
def test_junk_among_the_logs_of_a_folder_spoils_check_and_score(run, folder, content):
    where = folder()
    (where / "result_2.txt").write_bytes(content)
    assert "result_2.txt" in findings(run("check", where))
    scored = run("score", where)
    assert scored.code == FINDINGS
    assert "Traceback" not in scored.out + scored.err


@pytest.mark.parametrize("level", ["rules", "official"])
@pytest.mark.parametrize("round_name", ["v0.5", "v0.6"])
def test_log_of_another_dialect_than_the_round_is_a_finding(run, folder, round_name, level):
    findings(run("check", folder() / "result_0.txt", "--round", round_name, "--level", level))


def test_round_that_lacks_the_benchmark_is_said(run, folder):
    path = folder() / "result_0.txt"
    path.write_text(path.read_text().replace('"resnet"', '"minigo"'))
    answer = run("check", path, "--round", "v4.0")
    assert answer.code in (FINDINGS, WRONG_USE)
    assert "minigo" in answer.out + answer.err
    assert "Traceback" not in answer.out + answer.err


def test_folder_in_place_of_a_log_is_no_log(run, folder):
    where = folder()
    (where / "result_2.txt").unlink()
    (where / "result_2.txt").mkdir()
    answer = run("check", where)
    assert answer.code in (FINDINGS, WRONG_USE)
    assert "Traceback" not in answer.out + answer.err


def test_link_to_nowhere_in_place_of_a_log_is_told(run, folder):
    where = folder()
    (where / "result_2.txt").unlink()
    (where / "result_2.txt").symlink_to("nowhere")
    answer = run("check", where)
    assert answer.code in (FINDINGS, WRONG_USE)
    assert "this is a bug" not in answer.err


def test_plot_of_junk_is_one_line(run, tmp_path):
    where = tmp_path / "v4.0" / "laptime" / "results" / "box" / "resnet"
    where.mkdir(parents=True)
    (where / "result_0.txt").write_bytes(JUNK["every byte"])
    one_line(run("plot", where, "--out", tmp_path / "a.svg"))
    assert not (tmp_path / "a.svg").exists()


@pytest.mark.seconds
def test_program_itself_prints_no_traceback(tmp_path):
    (tmp_path / "result_0.txt").write_bytes(JUNK["every byte"])
    command = [sys.executable, "-X", "dev", "-m", "laptime", "check", "result_0.txt", "--round", "v4.0"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == FINDINGS
    assert done.stderr == ""
