"""Runs that are interrupted and go on by the same command: what is left, what the log says, and that nothing is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise

import pytest
from harness_runs import SUITE, Quiet, request_of

from laptime import errors
from laptime.cli.main import main
from laptime.config import RunRequest
from laptime.errors import InvalidConfiguration, RunFailed
from laptime.harness import generations
from laptime.harness.place import free_port
from laptime.harness.processes import below, living
from laptime.harness.runset import run_set
from laptime.log.read import read_log

pytestmark = pytest.mark.seconds
LONG = ("limit_epochs=6", "reaches_at=6", "pause=0.4")
OFTEN = 0.05  # seconds


def results(folder, name="standin"):
    return folder / "out" / "laptime" / "results" / "box" / name


def records(log):
    found = read_log(log)
    assert found.problems == ()
    return found.records


def values(log, key):
    return [record.value for record in records(log) if record.key == key]


def statuses(log):
    return [record.metadata["status"] for record in records(log) if record.key == "run_stop"]


def whole_log(log, resumed):
    """What holds for the log of every run that went on after an interruption."""
    times, keys = [record.time_ms for record in records(log)], [record.key for record in records(log)]
    assert all(one <= other for one, other in pairwise(times))
    assert [keys.count(key) for key in ("seed", "init_start", "run_start", "run_stop")] == [1, 1, 1, 1]
    assert values(log, "laptime_resumed")[-1] == resumed
    assert statuses(log) == ["success"]


def finished(folder, capsys, resumed=1, name="standin"):
    """The log of the run, after what holds for all; the official way of looking at it finds nothing."""
    log = results(folder, name) / "result_0.txt"
    whole_log(log, resumed)
    assert not (results(folder, name) / "saved_0").exists()
    record = json.loads((results(folder, name) / "record_0.json").read_text())
    assert len(record["interruptions"]) == resumed
    assert record["outcome"]["seconds"] == (records(log)[-1].time_ms - next(r.time_ms for r in records(log) if r.key == "run_start")) / 1000
    capsys.readouterr()
    suite = ["--suite", str(SUITE.extra)] if name == "standin" else []
    assert main(["check", str(log), *suite]) == errors.FINE
    assert "nothing found" in capsys.readouterr().out
    return log


def test_run_whose_rank_was_killed_goes_on_with_the_same_command(tmp_path, capsys):
    request = request_of(tmp_path, *LONG, "behaviour=rank 1 is killed", "once=true", nproc=2, threads=1, runs=1, save_every_s=OFTEN)
    with pytest.raises(RunFailed, match=r"run 1 of 1 failed: the process of rank 1 was killed by SIGKILL .*0 of 1 runs are finished and kept; "
                                        "the same command goes on with run 1 where it was saved"):
        run_set(request, Quiet())
    assert statuses(results(tmp_path) / "unfinished_0_0.log") == ["aborted"]
    state = generations.whole(results(tmp_path) / "saved_0")[-1]
    foreign = {**state.identity, "version of torch": "1.0"}
    content = json.loads((state.path / "run.json").read_text())
    (state.path / "run.json").write_text(json.dumps({**content, "identity": foreign}))
    with pytest.raises(InvalidConfiguration, match="run 1 was saved with another version of torch"):
        run_set(request, Quiet())
    (state.path / "run.json").write_text(json.dumps(content))
    reporter = Quiet()
    assert run_set(request, reporter).message == "1 of 1 runs reached the target"
    assert f"  goes on where it was saved: epoch {state.position.at.epoch}, {state.position.at.samples} samples, the same clock" in reporter.messages
    log = finished(tmp_path, capsys)
    assert values(log, "seed") == [state.position.seed]
    assert len(values(log, "eval_accuracy")) == 6
    before = records(results(tmp_path) / "unfinished_0_0.log")
    again = next(record for record in records(log) if record.key == "laptime_resumed")
    assert again.time_ms >= before[-1].time_ms
    assert again.time_ms - before[-1].time_ms == pytest.approx(1000 * again.metadata["away_seconds"])
    assert records(log)[:20] == before[:20]


def started(folder, *words):
    command = [sys.executable, "-m", "laptime", "run", *words, "--system", "box", "--runs", "1", "--out", str(folder / "out"),
               "--data", str(folder / "data"), "--threads", "1"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def newest(folder, name):
    """The step of the newest state, 0 when nothing was saved."""
    return max((one.step for one in generations.whole(results(folder, name) / "saved_0")), default=0)


def interrupted(folder, number, *words, name="standin"):
    """Run the program until two states were saved, at least one of them now, then end it and whoever it started."""
    before, process = newest(folder, name), started(folder, *words)
    try:
        deadline = time.monotonic() + 90
        while newest(folder, name) <= before or len(generations.whole(results(folder, name) / "saved_0")) < 2:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        family = below(process.pid)
        if number == signal.SIGKILL:
            for one in family:
                os.kill(one.pid, number)
        process.send_signal(number)
    except BaseException:
        process.kill()
        raise
    finally:
        said = "".join(process.communicate(timeout=60))
    while living(family):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return said


@pytest.mark.slow
def test_run_goes_on_after_everything_was_killed(tmp_path, capsys):
    words = ["standin", "--suite", str(SUITE.extra), *(f"--set={one}" for one in LONG), "--save-every", f"{OFTEN}s"]
    interrupted(tmp_path, signal.SIGKILL, *words)
    folder = results(tmp_path) / "saved_0"
    last, before = (one.step for one in reversed(generations.whole(folder)[-2:]))
    metadata = folder / f"step-{last}" / ".metadata"
    metadata.write_bytes(metadata.read_bytes()[:-1])  # and the disk lost something, too
    said = "".join(started(tmp_path, *words).communicate(timeout=90))
    assert f"{before * 8} samples, the same clock" in said
    finished(tmp_path, capsys)
    assert statuses(results(tmp_path) / "unfinished_0_0.log") == ["aborted"]


def measured(log):
    """What a run measured, to the last bit."""
    return [(record.key, record.value) for record in records(log) if record.key in ("eval_accuracy", "tracked_stats")]


@pytest.mark.slow
@pytest.mark.parametrize(("nproc", "numbers"), [(1, [signal.SIGTERM]), (2, [signal.SIGKILL, signal.SIGTERM])])
def test_interrupted_run_of_a_real_benchmark_measures_what_it_would_have(tmp_path, capsys, nproc, numbers):
    request = RunRequest("resnet", round="smoke", seed=3, runs=1, threads=1, nproc=nproc, system="box", data=tmp_path / "data")
    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "data").symlink_to(tmp_path / "data", target_is_directory=True)
    run_set(RunRequest(**{**vars(request), "out": tmp_path / "whole" / "out"}), Quiet())
    words = ["resnet", "--round=smoke", "--seed=3", f"--nproc={nproc}", "--save-every=0.3"]
    for number in numbers:
        said = interrupted(tmp_path / "parts", number, *words, name="resnet")
        assert "Traceback" not in said
    said = "".join(started(tmp_path / "parts", *words).communicate(timeout=120))
    assert "1 of 1 runs reached the target" in said
    log = finished(tmp_path / "parts", capsys, resumed=len(numbers), name="resnet")
    assert measured(log) == measured(results(tmp_path / "whole", "resnet") / "result_0.txt")
    assert len(measured(log)) >= 4


def nodes(folders, address):
    """Two programs, one for each node, that make a run together, each in its folder."""
    words = ["standin", "--suite", str(SUITE.extra), *(f"--set={one}" for one in (*LONG, "behaviour=together")), "--save-every", f"{OFTEN}s",
             "--device=cpu", "--nodes=2", f"--rendezvous={address}"]
    return [started(folder, *words, f"--node-rank={rank}") for rank, folder in enumerate(folders)]


def ends(processes):
    """What the programs said, and how they ended."""
    said = ["".join(process.communicate(timeout=120)) for process in processes]
    return said, [process.returncode for process in processes]


@pytest.mark.slow
def test_run_that_lost_a_node_goes_on_and_needs_a_folder_that_both_see(tmp_path, capsys):
    address = f"127.0.0.2:{free_port('127.0.0.2')}"
    first, second = running = nodes((tmp_path, tmp_path), address)
    try:
        while newest(tmp_path, "standin") == 0:
            assert first.poll() is None
            time.sleep(0.05)
        second.kill()
        said, codes = ends(running)
        assert "is lost: its connection ended" in said[0]
        assert "the same command goes on with run 1 where it was saved" in said[0]
        running = nodes((tmp_path, tmp_path), address)
        said, codes = ends(running)
        assert codes == [errors.FINE, errors.FINE], said
        finished(tmp_path, capsys)
        running = nodes((tmp_path / "mine", tmp_path / "theirs"), address)
        said, codes = ends(running)
        assert codes == [errors.WRONG_USE, errors.WRONG_USE]
        assert all("expected that all nodes see the folder of saved states" in text for text in said)
    finally:
        for process in running:
            process.kill()
            process.communicate()
