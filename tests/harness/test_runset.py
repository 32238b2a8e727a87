"""Sets of runs: whole, resumed, interrupted, broken. Real worker processes where processes are what is tested."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from harness_runs import SUITE, Quiet, request_of

from laptime import errors
from laptime.errors import InvalidConfiguration, RunFailed, UserError
from laptime.harness import runset, worker
from laptime.harness.one_run import Outcome
from laptime.harness.processes import below, living
from laptime.harness.record import save
from laptime.harness.runset import run_set
from laptime.log.read import read_log

CONVERGED, MISSED = Outcome("converged", 1.5, ""), Outcome("not converged", 2.5, "")


class Played:
    """Instead of a launcher: runs that end as `endings` say (then converge), in no time and no process."""

    endings: tuple = ()
    started: tuple = ()

    def __init__(self, place):
        self.stopped = False

    def run(self, job_file, job, output_path, listener, **_):
        Played.started += (job,)
        outcome = Played.endings[job.index] if job.index < len(Played.endings) else CONVERGED
        job.log.write_text(f"log of seed {job.seed}")
        save(job.record, {"outcome": asdict(outcome)})
        if outcome.message.startswith("SIG"):
            os.kill(os.getpid(), getattr(signal, outcome.message))
            while not self.stopped:
                time.sleep(0.01)
        return outcome

    def stop(self):
        self.stopped = True


@pytest.fixture
def play(monkeypatch):
    """Make a set whose runs are only played: play(request, *endings)."""

    def run(request, *endings, reporter=None):
        Played.endings, Played.started = endings, ()
        with monkeypatch.context() as context:
            context.setattr(runset, "Launcher", Played)
            return run_set(request, reporter or Quiet())

    return run


def results(folder):
    return folder / "out" / "laptime" / "results" / "box" / "standin"


def files(folder, pattern):
    return sorted(path.name for path in results(folder).glob(pattern))


def last_line(log):
    found = read_log(log)
    assert found.problems == ()
    record = [record for record in found.records if record.key == "run_stop"][-1]
    return record.key, record.metadata["status"]


def test_set_has_the_layout_of_a_submission_and_a_record_beside_each_log(tmp_path):
    outcome = run_set(request_of(tmp_path, runs=2, jobs=2), Quiet())
    assert (outcome.exit_code, sorted(o.index for o in outcome.outcomes)) == (errors.FINE, [0, 1])
    assert outcome.message == "2 of 2 runs reached the target"
    assert files(tmp_path, "*") == ["output_0.txt", "output_1.txt", "record_0.json", "record_1.json", "result_0.txt",
                                    "result_1.txt", "set.json"]
    records = [json.loads((results(tmp_path) / f"record_{index}.json").read_text()) for index in (0, 1)]
    for index, record in enumerate(records):
        assert record["outcome"]["status"] == "converged"
        assert record["shared_machine"] is True
        assert record["configuration"]["opt_weight"] == 0.5
        assert set(record["phases"]) == {"caches", "build", "warm_up", "train"}
        assert record["environment"]["packages"]["torch"]
        assert record["machine"]["processor"]
        log = read_log(results(tmp_path) / f"result_{index}.txt")
        assert [line.value for line in log.records if line.key == "seed"] == [record["seed"]]
    assert records[0]["seed"] != records[1]["seed"]


def test_set_resumes_with_the_runs_that_are_missing(tmp_path, play):
    play(request_of(tmp_path))
    seeds = {job.seed for job in Played.started}
    (results(tmp_path) / "result_1.txt").unlink()
    kept = (results(tmp_path) / "result_0.txt").read_bytes()
    outcome = play(request_of(tmp_path))
    assert [o.index for o in outcome.outcomes] == [1]
    assert (results(tmp_path) / "result_0.txt").read_bytes() == kept
    assert len(seeds | {job.seed for job in Played.started}) == 4
    assert outcome.message == "3 of 3 runs reached the target"


@pytest.mark.parametrize(("endings", "reached", "code"), [
    ([CONVERGED] * 3, 3, errors.FINE), ([CONVERGED, MISSED, CONVERGED], 2, errors.FINE),
    ([MISSED, CONVERGED, MISSED], 1, errors.NOT_CONVERGED)])
def test_whole_set_that_is_asked_for_again_tells_what_it_holds(tmp_path, play, endings, reached, code):
    first = play(request_of(tmp_path), *endings)
    again = play(request_of(tmp_path))
    assert Played.started == ()
    assert (first.exit_code, again.exit_code) == (code, code)
    assert again.message == f"all 3 runs are already there; {first.message}"
    assert first.message == f"{reached} of 3 runs reached the target"


def test_runs_of_earlier_calls_count_when_a_set_is_resumed(tmp_path, play):
    play(request_of(tmp_path, runs=2), MISSED, MISSED)
    outcome = play(request_of(tmp_path), MISSED, MISSED, CONVERGED)
    assert [o.index for o in outcome.outcomes] == [2]
    assert (outcome.message, outcome.exit_code) == ("1 of 3 runs reached the target", errors.NOT_CONVERGED)


def test_run_without_its_record_does_not_count_as_converged(tmp_path, play):
    play(request_of(tmp_path))
    (results(tmp_path) / "record_1.json").unlink()
    assert play(request_of(tmp_path)).message.endswith("2 of 3 runs reached the target")


def test_damaged_record_is_said_in_one_line(tmp_path, play):
    play(request_of(tmp_path))
    (results(tmp_path) / "record_1.json").write_text("{")
    with pytest.raises(UserError, match=r"record_1.json is damaged"):
        play(request_of(tmp_path))


def test_fixed_seed_is_that_of_the_first_run_and_grows(tmp_path, play):
    play(request_of(tmp_path, seed=41))
    assert [job.seed for job in Played.started] == [41, 42, 43]


def test_data_of_another_content_are_refused(tmp_path, play):
    play(request_of(tmp_path, runs=1))
    manifest = tmp_path / "data" / "standin" / "mini" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"0123"', '"4567"'))
    with pytest.raises(InvalidConfiguration, match="runs of another data: 0123, asked for 4567"):
        play(request_of(tmp_path))
    assert Played.started == ()


@pytest.fixture
def hang_ups_heard():
    """Whatever started the tests (nohup, a service) may ignore them."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hang_ups_heard")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, errors.INTERRUPTED), (signal.SIGTERM, errors.TERMINATED),
                                              (signal.SIGHUP, errors.TERMINATED)])
def test_signal_ends_the_set_and_is_told(tmp_path, play, number, code):
    reporter = Quiet()
    outcome = play(request_of(tmp_path), CONVERGED, Outcome("interrupted", None, number.name), reporter=reporter)
    assert outcome.exit_code == code
    assert outcome.message == (f"stopped by {number.name}; 1 of 3 runs are finished and kept; the same command makes "
                               "the others")
    assert [o.index for o in reporter.outcomes] == [0]
    assert signal.getsignal(number) is not signal.SIG_IGN


def test_hang_up_is_survived_where_it_is_ignored(tmp_path, play):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        outcome = play(request_of(tmp_path, runs=1), Outcome("converged", 1.0, ""))
        assert signal.SIGHUP not in worker.stop_signals()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert outcome.exit_code == errors.FINE


@pytest.mark.parametrize(("told", "code", "promise"), [
    (0, errors.RUN_FAILED, True), (errors.RUN_FAILED, errors.RUN_FAILED, True),
    (errors.FINDINGS, errors.FINDINGS, False), (errors.WRONG_USE, errors.WRONG_USE, False)])
def test_failed_run_says_which_and_promises_no_more_than_holds(tmp_path, play, told, code, promise):
    with pytest.raises(RunFailed) as error:
        play(request_of(tmp_path), CONVERGED, Outcome("failed", None, "it broke.", told))
    assert str(error.value).startswith("run 2 of 3 failed: it broke; 1 of 3 runs are finished and kept")
    assert str(error.value).endswith("the same command makes the others") == promise
    assert error.value.exit_code == code


@pytest.mark.seconds
@pytest.mark.parametrize(("behaviour", "words"), [("killed", "killed by SIGKILL"), ("crash", "the network exploded")])
def test_broken_run_ends_the_set_in_one_line_and_keeps_what_is_finished(tmp_path, play, behaviour, words):
    play(request_of(tmp_path, f"behaviour={behaviour}", runs=1))
    kept = (results(tmp_path) / "result_0.txt").read_bytes()
    with pytest.raises(RunFailed, match=words) as error:
        run_set(request_of(tmp_path, f"behaviour={behaviour}"), Quiet())
    assert "1 of 3 runs are finished and kept" in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == errors.RUN_FAILED
    assert (results(tmp_path) / "result_0.txt").read_bytes() == kept
    assert files(tmp_path, "*.log") == ["unfinished_1_0.log"]
    assert files(tmp_path, "result_*") == ["result_0.txt"]
    assert read_log(results(tmp_path) / "unfinished_1_0.log").problems == ()


@pytest.mark.seconds
def test_illegal_run_is_a_finding(tmp_path):
    with pytest.raises(RunFailed, match=r"run 1 of 1 failed: .*not legal in the closed division") as error:
        run_set(request_of(tmp_path, "opt_weight=0.3", runs=1), Quiet())
    assert error.value.exit_code == errors.FINDINGS
    assert "the same command" not in str(error.value)


class Killer(Quiet):
    """Sends the worker a signal when it trains."""

    def __init__(self):
        super().__init__()
        self.others = below(os.getpid())  # such as a browser that tests share

    def event(self, index, event):
        if event.kind == "epoch":
            for process in set(below(os.getpid())) - set(self.others):
                os.kill(process.pid, signal.SIGTERM)


@pytest.mark.seconds
def test_worker_that_is_stopped_from_outside_ends_the_set(tmp_path):
    reporter = Killer()
    with pytest.raises(RunFailed, match="run 1 of 3 failed: stopped by SIGTERM, but not by this set") as error:
        run_set(request_of(tmp_path, "pause=0.4", "limit_epochs=60", "reaches_at=0"), reporter)
    assert error.value.exit_code == errors.RUN_FAILED
    assert [(o.index, o.status) for o in reporter.outcomes] == [(0, "interrupted")]
    assert last_line(results(tmp_path) / "unfinished_0_0.log") == ("run_stop", "aborted")


@pytest.mark.seconds
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device without room")
def test_full_disk_is_said_in_one_line(tmp_path, play, monkeypatch):
    play(request_of(tmp_path, runs=1))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent / "full_disk"),
                                                      os.environ.get("PYTHONPATH", "")]))
    with pytest.raises(RunFailed, match="no room left for the log") as error:
        run_set(request_of(tmp_path), Quiet())
    assert "1 of 3 runs are finished and kept" in str(error.value)


def started(folder, *options):
    """The program, running a set; returns when its first run trains."""
    command = [sys.executable, "-m", "laptime", "run", "standin", "--suite", str(SUITE.extra), "--system", "box",
               "--out", str(folder / "out"), "--data", str(folder / "data"), "--threads", "1", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(lambda: any("run_start" in p.read_text() for p in results(folder).glob("running_0.log")))
    return process


def wait_for(condition, seconds=40):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


ENDLESS = ("--set", "pause=0.4", "--set", "limit_epochs=200", "--set", "reaches_at=0")


@pytest.mark.seconds
@pytest.mark.parametrize(("number", "code", "nproc"), [(signal.SIGINT, errors.INTERRUPTED, 1), (signal.SIGTERM, errors.TERMINATED, 2)])
def test_signal_leaves_no_process_and_a_log_that_says_aborted(tmp_path, number, code, nproc):
    process = started(tmp_path, "--nproc", str(nproc), *ENDLESS)
    family = below(process.pid)
    assert len(family) >= nproc
    os.kill(process.pid, number)
    said = "".join(process.communicate(timeout=30))
    assert process.returncode == code, said
    assert f"stopped by {number.name}; 0 of 3 runs are finished" in said
    assert "Traceback" not in said
    assert living(family) == []
    assert files(tmp_path, "*.log") == ["unfinished_0_0.log"]
    assert last_line(results(tmp_path) / "unfinished_0_0.log") == ("run_stop", "aborted")


@pytest.mark.seconds
def test_killed_set_leaves_no_worker_and_goes_on_when_asked_again(tmp_path):
    options = ("--runs", "1", "--set", "pause=0.5", "--set", "limit_epochs=9", "--set", "reaches_at=3")
    process = started(tmp_path, *options)
    family = below(process.pid)
    assert family
    process.kill()
    process.communicate()
    wait_for(lambda: not living(family), seconds=10)
    assert last_line(results(tmp_path) / "running_0.log") == ("run_stop", "aborted")
    again = started(tmp_path, *options)
    said = "".join(again.communicate(timeout=40))
    assert again.returncode == errors.FINE, said
    assert files(tmp_path, "*.log") == ["unfinished_0_0.log"]
    assert last_line(results(tmp_path) / "result_0.txt") == ("run_stop", "success")
    assert not list(results(tmp_path).glob("*.lock"))


@pytest.mark.seconds
def test_two_processes_log_once_and_agree(tmp_path):
    outcome = run_set(request_of(tmp_path, nproc=2, runs=1, threads=1), Quiet())
    assert outcome.exit_code == errors.FINE, outcome
    keys = [record.key for record in read_log(results(tmp_path) / "result_0.txt").records]
    assert keys.count("run_start") == keys.count("run_stop") == 1


@pytest.mark.slow  # test_faults.py has one that raises in a collective
def test_one_broken_rank_of_two_ends_the_other_and_is_the_reason(tmp_path):
    begin = time.monotonic()
    with pytest.raises(RunFailed, match="run 1 of 1 failed: RuntimeError: the network exploded"):
        run_set(request_of(tmp_path, "behaviour=one rank crashes", nproc=2, runs=1, threads=1), Quiet())
    assert time.monotonic() - begin < 60  # the other rank would sleep for two minutes
    assert not list(results(tmp_path).glob("result_*.txt"))


@pytest.mark.seconds
def test_rank_ends_when_its_agent_is_killed_although_the_launcher_lives():
    rank = ("import time\nfrom laptime.harness.worker import watch\nwatch()\nprint('watching', flush=True)\ntime.sleep(60)")
    agent = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {rank!r}]).wait()"
    with subprocess.Popen([sys.executable, "-c", agent], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"watching\n"
        family = below(process.pid)
        assert len(family) == 1
        process.kill()
        wait_for(lambda: not living(family), seconds=10)
        assert not process.stdin.closed


@pytest.mark.parametrize(("status", "code"), [("converged", 0), ("not converged", 0), ("failed", 1), ("interrupted", 1)])
def test_worker_that_did_not_finish_says_so_with_its_exit_code(tmp_path, monkeypatch, capfdbinary, status, code):
    job = worker.Job(request_of(tmp_path), 0, 1, tmp_path / "log", tmp_path / "record", tmp_path)
    worker.save_job(job, tmp_path / "job.json")
    monkeypatch.setattr(worker, "_outcome", lambda _: Outcome(status, None, ""))
    assert worker.main(worker.load_job(tmp_path / "job.json")) == code
    assert status.encode() in capfdbinary.readouterr().out


@pytest.mark.parametrize(("sent", "code"), [("SIGALRM", 0), ("SIGCHLD", 0), ("SIGTERM", 1)])
def test_only_a_stop_signal_ends_a_worker_that_does_not_hear(sent, code):
    """A data loader handles the ends of its children; no run may end of that."""
    program = ("import os, signal, time\nfrom laptime.harness import worker\nworker.GRACE_SECONDS = 0.1\nworker.listen()\n"
               f"signal.signal(signal.{sent}, lambda *_: None)\nos.kill(os.getpid(), signal.{sent})\ntime.sleep(0.6)")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert ("stopped by SIGTERM, while it waited" in done.stdout) == bool(code)


def test_a_job_done_in_this_process_leaves_its_signals_alone(tmp_path, monkeypatch, capfdbinary):
    before = [signal.getsignal(number) for number in worker.stop_signals()]
    monkeypatch.setattr(worker, "_outcome", lambda _: Outcome("converged", None, ""))
    worker.main(worker.Job(request_of(tmp_path), 0, 1, tmp_path / "log", tmp_path / "record", tmp_path))
    assert [signal.getsignal(number) for number in worker.stop_signals()] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_unwritable_folder_is_said_before_anything_runs(tmp_path):
    (tmp_path / "out").write_text("a file, not a folder")
    with pytest.raises(UserError, match="cannot write to"):
        run_set(request_of(tmp_path), Quiet())
