"""Sets of runs in real worker processes: whole, resumed, interrupted, broken."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness_runs import SUITE, Quiet, request_of

from laptime import errors
from laptime.errors import InvalidConfiguration, RunFailed, UserError
from laptime.harness.runset import run_set
from laptime.log.read import read_log


def results(folder):
    return folder / "out" / "laptime" / "results" / "box" / "standin"


def seeds_of(folder):
    return [record.value for log in sorted(results(folder).glob("result_*.txt")) for record in read_log(log).records
            if record.key == "seed"]


def test_set_has_the_layout_of_a_submission_and_a_record_beside_each_log(tmp_path):
    outcome = run_set(request_of(tmp_path), Quiet())
    assert (outcome.exit_code, len(outcome.outcomes)) == (errors.FINE, 3)
    assert sorted(p.name for p in results(tmp_path).glob("result_*")) == ["result_0.txt", "result_1.txt", "result_2.txt"]
    assert (tmp_path / "out" / "laptime" / "systems" / "box.json").is_file()
    scripts = tmp_path / "out" / "laptime" / "benchmarks" / "standin" / "box"
    assert {p.name for p in scripts.iterdir()} >= {"box_laptime.json", "README.md", "setup.sh", "run_and_time.sh"}
    record = json.loads((results(tmp_path) / "record_1.json").read_text())
    assert record["outcome"]["status"] == "converged"
    assert record["configuration"]["opt_weight"] == 0.5
    assert set(record["phases"]) == {"caches", "build", "warm_up", "train"}
    assert record["environment"]["packages"]["torch"]
    assert record["machine"]["processor"]
    assert len(set(seeds_of(tmp_path))) == 3


def test_set_resumes_with_the_runs_that_are_missing(tmp_path):
    run_set(request_of(tmp_path), Quiet())
    (results(tmp_path) / "result_1.txt").unlink()
    kept = (results(tmp_path) / "result_0.txt").read_bytes()
    reporter = Quiet()
    outcome = run_set(request_of(tmp_path), reporter)
    assert [o.index for o in outcome.outcomes] == [1]
    assert (results(tmp_path) / "result_0.txt").read_bytes() == kept
    assert run_set(request_of(tmp_path), reporter).message == "all 3 runs are already there"


def test_folder_with_runs_of_another_configuration_is_refused(tmp_path):
    run_set(request_of(tmp_path, runs=1), Quiet())
    with pytest.raises(InvalidConfiguration, match="another configuration"):
        run_set(request_of(tmp_path, "opt_weight=0.25", runs=1), Quiet())


def test_fixed_seed_is_used_and_marked_as_not_submittable(tmp_path):
    run_set(request_of(tmp_path, runs=1, seed=41), Quiet())
    assert seeds_of(tmp_path) == [41]
    assert json.loads((results(tmp_path) / "record_0.json").read_text())["submittable"] is False


def test_runs_that_miss_the_target_are_kept_and_give_exit_code_3(tmp_path):
    outcome = run_set(request_of(tmp_path, "reaches_at=0", runs=2), Quiet())
    assert outcome.exit_code == errors.NOT_CONVERGED
    assert [o.status for o in outcome.outcomes] == ["not converged"] * 2
    assert len(list(results(tmp_path).glob("result_*.txt"))) == 2


@pytest.mark.parametrize(("behaviour", "words"), [("killed", "killed by SIGKILL"), ("crash", "the network exploded"),
                                                  ("early data", "before the clock ran")])
def test_broken_run_ends_the_set_in_one_line_and_keeps_what_is_finished(tmp_path, behaviour, words):
    run_set(request_of(tmp_path, runs=1), Quiet())
    set_file = results(tmp_path) / "set.json"
    content = json.loads(set_file.read_text())
    content["configuration"]["behaviour"] = behaviour
    set_file.write_text(json.dumps(content))
    kept = (results(tmp_path) / "result_0.txt").read_bytes()
    with pytest.raises(RunFailed, match=words) as error:
        run_set(request_of(tmp_path, f"behaviour={behaviour}"), Quiet())
    assert "1 of 3 runs are finished and kept" in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == errors.RUN_FAILED
    assert (results(tmp_path) / "result_0.txt").read_bytes() == kept
    assert list(results(tmp_path).glob("result_*.txt")) == [results(tmp_path) / "result_0.txt"]
    for log in results(tmp_path).glob("unfinished_1_*.log"):
        assert read_log(log).problems == ()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device without room")
def test_full_disk_is_said_in_one_line(tmp_path, monkeypatch):
    from laptime.log import write

    run_set(request_of(tmp_path, runs=1), Quiet())
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "full_disk"))
    assert write
    with pytest.raises(RunFailed, match="no room left for the log") as error:
        run_set(request_of(tmp_path), Quiet())
    assert "1 of 3 runs are finished and kept" in str(error.value)


def test_unwritable_folder_is_said_before_anything_runs(tmp_path):
    (tmp_path / "out").write_text("a file, not a folder")
    with pytest.raises(UserError, match="cannot write to"):
        run_set(request_of(tmp_path), Quiet())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, errors.INTERRUPTED), (signal.SIGTERM, errors.TERMINATED)])
def test_signal_ends_the_set_with_a_log_that_says_aborted(tmp_path, number, code):
    command = [sys.executable, "-m", "laptime", "run", "standin", "--suite", str(SUITE.extra), "--system", "box",
               "--out", str(tmp_path / "out"), "--data", str(tmp_path / "data"), "--set", "pause=0.4",
               "--set", "limit_epochs=60", "--set", "reaches_at=0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(lambda: any("run_start" in p.read_text() for p in results(tmp_path).glob("running_0.log")))
    os.kill(process.pid, number)
    said = "".join(process.communicate(timeout=30))
    assert process.returncode == code, said
    assert f"stopped by {number.name}; 0 of 3 runs are finished" in said
    assert "Traceback" not in said
    (log,) = results(tmp_path).glob("unfinished_0_0.log")
    last = read_log(log).records[-1]
    assert (last.key, last.metadata["status"]) == ("run_stop", "aborted")


def wait_for(condition, seconds=40):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_two_processes_log_once_and_agree(tmp_path):
    outcome = run_set(request_of(tmp_path, nproc=2, runs=1, threads=1), Quiet())
    assert outcome.exit_code == errors.FINE, outcome
    keys = [record.key for record in read_log(results(tmp_path) / "result_0.txt").records]
    assert keys.count("run_start") == keys.count("run_stop") == 1


def test_one_killed_rank_of_two_fails_the_run(tmp_path):
    with pytest.raises(RunFailed, match="run 0 failed"):
        run_set(request_of(tmp_path, "behaviour=killed", nproc=2, runs=1, threads=1), Quiet())
    assert not list(results(tmp_path).glob("result_*.txt"))


def test_jobs_run_side_by_side(tmp_path):
    outcome = run_set(request_of(tmp_path, jobs=2), Quiet())
    assert sorted(o.index for o in outcome.outcomes) == [0, 1, 2]
    assert len(set(seeds_of(tmp_path))) == 3
