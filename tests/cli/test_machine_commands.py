"""doctor, prepare and run: what needs a machine and torch."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from laptime.cli.doctor import Check, examine, report, verdict
from laptime.system.limits import Limits
from laptime.system.machine import Machine

SUITE = Path(__file__).parents[1] / "harness" / "suite"
SMALL = Machine(memory_bytes=1 << 30, limits=Limits(1))


def test_doctor_of_this_machine_finds_it_able(run):
    answer = run("doctor")
    assert answer.code == 0
    assert "this machine runs: " in answer.out
    assert "resnet" in answer.out.splitlines()[-1]


def test_doctor_in_json_has_every_check(run):
    found = json.loads(run("doctor", "--json").out)
    assert {check["what"] for check in found["checks"]} >= {"python", "torch", "C compiler", "memory", "disk", "accelerator"}
    assert found["benchmarks"]["resnet"] == []


def test_examine_of_a_small_machine_says_what_is_missing(tmp_path):
    found = {check.what: check for check in examine(SMALL, tmp_path)}
    assert found["memory"].ok == "no"
    assert found["processors"].ok == "limited"
    assert found["accelerator"].ok == "limited"


def test_examine_of_a_machine_of_unknown_memory_does_not_refuse(tmp_path):
    found = {check.what: check for check in examine(replace(SMALL, memory_bytes=0), tmp_path)}
    assert found["memory"].found == "unknown"


def test_examine_measures_the_disk_of_a_folder_that_is_still_to_be_made(tmp_path):
    found = {check.what: check for check in examine(SMALL, tmp_path / "not" / "yet")}
    assert str(tmp_path) in found["disk"].found


def test_report_gives_advice_only_where_it_is_needed():
    shown = report([Check("a", "yes", "fine", "advice one"), Check("b", "no", "none", "advice two")], 80)
    assert "advice two" in shown
    assert "advice one" not in shown


def test_verdict_gives_the_reason_for_each_benchmark():
    assert verdict({"x": [], "y": ["torch: not installed"]}).splitlines() == [
        "At laptop scale (rounds mini and smoke) this machine runs: x.", "y cannot run: torch: not installed"]


@pytest.mark.seconds
def test_run_of_a_set_answers_in_json_with_progress_beside(tmp_path):
    command = [sys.executable, "-m", "laptime", "run", "standin", "--suite", str(SUITE), "--runs", "1", "--out", "out", "--json"]
    environment = {**os.environ, "MALLOC_ARENA_MAX": "2", "SECRET": "never told"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, env=environment)
    found = json.loads(done.stdout)
    assert done.returncode == found["exit_code"] == 0, done.stderr
    assert found["runs"][0]["status"] == "converged"
    assert "run 1 of 1" in done.stderr
    assert (tmp_path / found["folder"] / "result_0.txt").is_file()
    record = json.loads((tmp_path / found["folder"] / "record_0.json").read_text())["environment"]
    assert record["variables"]["MALLOC_ARENA_MAX"] == "2"
    assert "SECRET" not in record["variables"]
    assert record["command"][1:3] == ["run", "standin"]


@pytest.mark.seconds
def test_run_that_misses_its_target_has_its_own_exit_code(tmp_path):
    command = [sys.executable, "-m", "laptime", "run", "standin", "--suite", str(SUITE), "--runs", "1", "--set", "reaches_at=0"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 3
    assert "0 of 1 runs reached the target" in done.stdout


@pytest.mark.seconds
@pytest.mark.parametrize(("arguments", "message"), [
    (["resnt"], "unknown benchmark 'resnt'. Did you mean 'resnet'?"),
    (["resnet", "--set", "optimizer.lr=1"], "unknown setting 'lr' in override 'optimizer.lr=1'"),
    (["resnet", "--set", "global_batch_size=many"], "expected int, found 'many'"),
    (["resnet", "--round", "v5.9"], "unknown round 'v5.9'")], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_run_of_what_cannot_be_is_one_line(run, arguments, message):
    answer = run("run", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("laptime: ")
    assert message in answer.err.splitlines()[0]


@pytest.mark.seconds
def test_prepare_prints_the_folder_of_the_data(tmp_path):
    command = [sys.executable, "-m", "laptime", "prepare", "standin", "--suite", str(SUITE), "--data", "data"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / done.stdout.strip() / "manifest.json").is_file()
