"""Faults of a run with two processes, each in a collective in every epoch: it ends in time, says why, and is `aborted`.

Times are counted from the fault (the last line of the log before it) to the end of the set, with room for a busy machine;
docs/launching.md states them.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness_runs import SUITE, Quiet, request_of

from laptime import errors
from laptime.cli.main import main
from laptime.errors import RunFailed
from laptime.harness import launcher
from laptime.harness.aftermath import close_log
from laptime.harness.preflight import resolve
from laptime.harness.processes import below, living
from laptime.harness.runset import run_set
from laptime.log.read import read_log
from laptime.log.write import LogWriter

pytestmark = pytest.mark.seconds
ROOM_SECONDS = 15.0  # for a busy machine
SILENCE_SECONDS = 5.0


def results(folder):
    return folder / "out" / "laptime" / "results" / "box" / "standin"


def faulty(folder, behaviour, **more):
    return request_of(folder, f"behaviour={behaviour}", **{"nproc": 2, "threads": 1, "runs": 2, **more})


def kept_run(folder, request):
    """Pretend that the first run was made before; what it left must stay as it is."""
    from laptime.harness.set_folder import SetFolder

    with SetFolder.open(resolve(request)) as opened:
        opened.log(0).write_text("a finished run\n")


class Timed(Quiet):
    """When the last sign of life came."""

    last = 0.0

    def event(self, index, event):
        super().event(index, event)
        self.last = time.monotonic()


def status_of(log):
    found = read_log(log)
    assert found.problems == ()
    return [record.metadata["status"] for record in found.records if record.key == "run_stop"]


def ends(folder, request):
    """Run a set whose second run fails: (message, seconds from the fault to the end)."""
    kept_run(folder, request)
    reporter, others = Timed(), below(os.getpid())  # such as a browser that tests share
    with pytest.raises(RunFailed) as error:
        run_set(request, reporter)
    seconds = time.monotonic() - reporter.last
    assert set(living(below(os.getpid()))) <= set(others)
    message = str(error.value)
    assert "\n" not in message
    assert "1 of 2 runs are finished and kept; the same command makes the others" in message
    assert (results(folder) / "result_0.txt").read_text() == "a finished run\n"
    assert status_of(results(folder) / "unfinished_1_0.log") == ["aborted"]
    return message, seconds


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A set that ended because a rank was killed: (its folder, message, seconds from the fault to the end)."""
    folder = tmp_path_factory.mktemp("killed")
    return folder, *ends(folder, faulty(folder, "rank 1 is killed"))


def test_rank_that_is_killed_ends_the_run_at_once(killed):
    _, message, seconds = killed
    assert pytest.approx(0, abs=3 + ROOM_SECONDS) == seconds
    assert re.match(r"run 2 of 2 failed: the process of rank 1 was killed by SIGKILL \(out of memory\?\)", message), message


def test_rank_that_raises_ends_the_run_at_once(tmp_path):
    message, seconds = ends(tmp_path, faulty(tmp_path, "rank 1 raises"))
    assert pytest.approx(0, abs=3 + ROOM_SECONDS) == seconds
    assert re.match("run 2 of 2 failed: RuntimeError: the network exploded", message), message


@pytest.mark.parametrize(("behaviour", "more"), [("rank 1 hangs", ""), ("rank 1 stops", r" \(rank 1 is stopped\)")])
def test_rank_that_hangs_is_noticed_by_its_silence(tmp_path, behaviour, more):
    message, seconds = ends(tmp_path, faulty(tmp_path, behaviour, silence_s=SILENCE_SECONDS))
    assert SILENCE_SECONDS <= seconds < SILENCE_SECONDS + 10 + ROOM_SECONDS
    assert re.match(rf"run 2 of 2 failed: no sign of life for \d+ s while training in epoch \d, after \d+ samples{more}; "
                                  rf"what each process was doing is in .*output_1.txt", message), message


def test_rank_that_hears_no_signal_is_killed_and_the_log_closed_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(launcher, "PATIENCE_SECONDS", 12.0)
    message, seconds = ends(tmp_path, faulty(tmp_path, "rank 1 is deaf", silence_s=SILENCE_SECONDS))
    assert seconds < SILENCE_SECONDS + 12 + ROOM_SECONDS
    assert "no sign of life" in message
    output = (results(tmp_path) / "output_1.txt").read_text()
    assert "most recent call first" in output  # where rank 0 was waiting: it ended itself without being killed
    assert "in sum" in output


def test_set_goes_on_after_a_fault(killed, tmp_path):
    shutil.copytree(killed[0], tmp_path, dirs_exist_ok=True)
    (results(tmp_path) / "set.json").unlink()  # so that the behaviour may change
    outcome = run_set(faulty(tmp_path, "together"), Quiet())
    assert [(one.index, one.status) for one in outcome.outcomes] == [(1, "converged")]


def test_sleep_of_a_run_without_hang_timeout_is_no_fault(tmp_path):
    """The first sign of life may take longer than the others."""
    outcome = run_set(request_of(tmp_path, "pause=0.2", runs=1, threads=1, silence_s=3.0), Quiet())
    assert outcome.exit_code == errors.FINE


def started(folder, *options):
    """The program, running a set of two processes; returns when its first run trains."""
    command = [sys.executable, "-m", "laptime", "run", "standin", "--suite", str(SUITE.extra), "--system", "box", "--runs", "2",
               "--out", str(folder / "out"), "--data", str(folder / "data"), "--threads", "1", "--nproc", "2", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        wait_for(lambda: process.poll() is not None or any("run_start" in p.read_text() for p in results(folder).glob("running_0.log")))
        assert process.poll() is None, process.communicate()
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return process


def wait_for(condition, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(("number", "code"), [
    (signal.SIGTERM, errors.TERMINATED), pytest.param(signal.SIGINT, errors.INTERRUPTED, marks=pytest.mark.slow)])
def test_signal_ends_ranks_that_wait_in_a_collective(tmp_path, number, code):
    process = started(tmp_path, "--set", "behaviour=rank 1 hangs", "--set", "reaches_at=0")
    time.sleep(1)  # rank 0 is now in the collective to which rank 1 does not come
    family, begin = below(process.pid), time.monotonic()
    os.kill(process.pid, number)
    said = "".join(process.communicate(timeout=60))
    assert time.monotonic() - begin < 10 + ROOM_SECONDS
    assert process.returncode == code, said
    assert f"stopped by {number.name}; 0 of 2 runs are finished" in said
    assert "Traceback" not in said
    assert living(family) == []
    assert status_of(results(tmp_path) / "unfinished_0_0.log") == ["aborted"]


def test_aborted_log_is_one_that_check_reads(killed, capsys):
    code = main(["check", str(results(killed[0]) / "unfinished_1_0.log"), "--suite", str(SUITE.extra)])
    out, err = capsys.readouterr()
    assert (code, err) == (errors.FINE, "")  # no result, and no finding against the rules
    assert "aborted" in out


def test_log_of_a_dead_worker_is_closed_once_and_in_order(tmp_path):
    flight = resolve(request_of(tmp_path))
    path, vocabulary = tmp_path / "log", flight.round.vocabulary
    lines = [":::MLLOG " + f'{{"namespace": "", "time_ms": {1000 + i}, "event_type": "{kind}", "key": "{vocabulary[moment]}", "value": null, '
             f'"metadata": {{"file": "a", "lineno": 1, "epoch_num": 1}}}}' for i, (moment, kind) in enumerate(
             [("init_start", "INTERVAL_START"), ("run_start", "INTERVAL_START"), ("block_start", "INTERVAL_START"),
              ("eval_start", "INTERVAL_START"), ("eval_stop", "INTERVAL_END"), ("eval_start", "INTERVAL_START")])]
    path.write_text("\n".join(lines) + '\n:::MLLOG {"cut in the mi')
    assert close_log(path, flight.round, flight.rules)
    assert not close_log(path, flight.round, flight.rules)
    found = read_log(path)
    assert found.problems == ()
    assert [record.key for record in found.records[len(lines):]][:3] == [vocabulary["eval_stop"], vocabulary["block_stop"], vocabulary["run_stop"]]
    assert found.records[-1].time_ms >= found.records[0].time_ms


def test_log_whose_clock_never_ran_stays_as_it_is(tmp_path):
    flight = resolve(request_of(tmp_path))
    with LogWriter(tmp_path / "log"):
        pass
    assert not close_log(tmp_path / "log", flight.round, flight.rules)
    assert (tmp_path / "log").read_bytes() == b""


FULL = """
import os, sys
from pathlib import Path
from harness_runs import Quiet, request_of
from laptime.errors import RunFailed
from laptime.harness.runset import run_set
disk, folder = Path(sys.argv[1]), Path(sys.argv[2])
class Filler(Quiet):
    "Takes all room when the second run trains."
    def event(self, index, event):
        if index == 1 and event.kind == "epoch":
            with open(disk / "filler", "wb", buffering=0) as file:
                try:
                    while True: file.write(bytes(1 << 12))
                except OSError: pass
request = request_of(folder, "pause=0.5", "limit_epochs=40", "reaches_at=30", runs=2, threads=1, out=disk / "out")
from laptime.harness.set_folder import SetFolder
from laptime.harness.preflight import resolve
with SetFolder.open(resolve(request)) as opened: opened.log(0).write_text("a finished run")
try:
    run_set(request, Filler())
except RunFailed as error:
    print("FAILED", error)
(disk / "filler").unlink()
logs = disk / "out/laptime/results/box/standin"
print("KEPT", (logs / "result_0.txt").read_text())
from laptime.harness.aftermath import close_log
for log in logs.glob("*_1*.log"):
    flight = resolve(request)
    from laptime.log.read import read_log
    print("PROBLEMS", len(read_log(log).problems), close_log(log, flight.round, flight.rules), read_log(log).records[-1].key)
"""


def can_mount():
    return subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="needs leave to mount a small disk (user namespaces)")
def test_disk_that_fills_up_during_a_run_ends_it_in_one_line(tmp_path):
    disk, script = tmp_path / "disk", tmp_path / "full.py"
    disk.mkdir()
    script.write_text(FULL)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "support")}
    command = f"mount -t tmpfs -o size=400k tmpfs {disk} && exec {sys.executable} {script} {disk} {tmp_path}"
    done = subprocess.run(["unshare", "-rm", "sh", "-c", command], capture_output=True, text=True, env=environment, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert re.search("FAILED run 2 of 2 failed: (no room left for the log|cannot write) .*No space left on device", said), said
    assert "1 of 2 runs are finished and kept" in said
    assert "KEPT a finished run" in said
    assert "PROBLEMS 0 True" in said
