"""Worker processes that talk, babble, die and are stopped; each is a few lines of Python instead of a run."""

import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict

import orjson
import pytest
from harness_runs import Quiet, request_of

from laptime.harness import launcher
from laptime.harness.launcher import Launcher
from laptime.harness.one_run import Job, Outcome
from laptime.harness.progress import RunEvent

pytestmark = pytest.mark.seconds
FLUSHED = "import os, sys, time\ndef say(line): os.write(1, line)\n"


def ending(status, seconds=1.5, message=""):
    """The line of a worker that tells its outcome."""
    return RunEvent("end", text=orjson.dumps(asdict(Outcome(status, seconds, message))).decode()).to_line()


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Run a program as a worker: (outcome, reporter, what it left in its output file)."""
    def run(program, launched=None, index=3):
        monkeypatch.setattr(launcher, "_command", lambda *_: [sys.executable, "-S", "-c", FLUSHED + program])
        job = Job(request_of(tmp_path), index, 1, tmp_path / "log", tmp_path / "record", tmp_path)
        reporter = Quiet()
        outcome = (launched or Launcher()).run(tmp_path / "job.json", job, tmp_path / "output.txt", reporter)
        return outcome, reporter, (tmp_path / "output.txt").read_bytes()
    return run


def test_outcome_is_what_the_worker_tells(work):
    outcome, _, _ = work(f"say({ending('converged', 2.5)!r})")
    assert outcome == Outcome("converged", 2.5, "")


def test_events_are_relayed_and_everything_else_is_kept_as_output(work):
    events = [RunEvent("phase", "build"), RunEvent("epoch", epoch=1)]
    junk = b"hello\n\xff\xfe\n@laptime {broken\n"
    outcome, reporter, output = work(f"say({events[0].to_line()!r}); say({junk!r}); say({events[1].to_line()!r}); "
                                     f"os.write(2, b'warning'); say({ending('not converged')!r})")
    assert reporter.events == events
    assert sorted(output) == sorted(junk + b"warning")
    assert outcome.status == "not converged"


@pytest.mark.parametrize(("program", "words"), [
    ("pass", "ended with exit code 0 and no result"),
    ("sys.exit(7)", "ended with exit code 7 and no result"),
    ("raise ValueError", "ended with exit code 1 and no result"),
    ("os.kill(os.getpid(), 9)", "was killed by SIGKILL (out of memory?)"),
    ("os.kill(os.getpid(), 11)", "was killed by SIGSEGV;"),
    (f"say({ending('converged')[:-9]!r}); os.kill(os.getpid(), 9)", "was killed by SIGKILL"),
])
def test_worker_that_dies_without_a_word_is_a_failed_run(work, tmp_path, program, words):
    outcome, _, _ = work(program)
    assert (outcome.status, outcome.seconds) == ("failed", None)
    assert words in outcome.message
    assert str(tmp_path / "output.txt") in outcome.message


def test_output_of_a_worker_that_raises_is_kept(work):
    _, _, output = work("raise ValueError('the reason')")
    assert b"ValueError: the reason" in output


def test_outcome_counts_even_when_the_process_dies_afterwards(work):
    outcome, _, _ = work(f"say({ending('converged')!r}); os.kill(os.getpid(), 9)")
    assert outcome.status == "converged"


@pytest.mark.parametrize(("told", "expected"), [
    (["interrupted", "failed"], "failed"), (["failed", "interrupted"], "failed"), (["converged", "interrupted"], "interrupted"),
    (["converged", "not converged"], "not converged"), (["converged", "converged"], "converged")])
def test_of_the_endings_of_several_ranks_the_one_that_explains_counts(work, told, expected):
    outcome, _, _ = work("; ".join(f"say({ending(status)!r})" for status in told))
    assert outcome.status == expected


@pytest.mark.parametrize("text", ["", "null", "[]", "{", '{"status": "converged"}', '{"status": "x", "seconds": 1, "message": ""}',
                                  '{"status": "converged", "seconds": 1, "message": "", "more": 1}'])
def test_ending_that_cannot_be_read_is_a_failed_run(work, text):
    outcome, _, output = work(f"say({RunEvent('end', text=text).to_line()!r})")
    assert outcome.status == "failed"
    assert output.startswith(b"@laptime ")


def run_in_thread(work, launched, program):
    found = []
    thread = threading.Thread(target=lambda: found.append(work(program, launched)[0]))
    thread.start()
    deadline = time.monotonic() + 20
    while not launched._live and time.monotonic() < deadline:
        time.sleep(0.005)
    return thread, found


def test_stop_asks_workers_and_their_children_to_finish(work, tmp_path):
    ready, child = tmp_path / "ready", tmp_path / "child"
    program = (f"import signal, subprocess\n"
               f"one = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)'])\n"
               f"open({str(child)!r}, 'w').write(str(one.pid))\n"
               f"def end(*_): say({ending('interrupted', None, 'stopped by SIGTERM')!r}); one.wait(); sys.exit(0)\n"
               f"signal.signal(signal.SIGTERM, end)\nopen({str(ready)!r}, 'w').close()\ntime.sleep(60)")
    launched = Launcher()
    thread, found = run_in_thread(work, launched, program)
    wait_for(ready.exists)
    launched.stop()
    thread.join(20)
    assert found == [Outcome("interrupted", None, "stopped by SIGTERM")]
    assert launched._live == set()
    assert not alive(int(child.read_text()))


def test_stop_insists_where_a_worker_does_not_listen(work, tmp_path, monkeypatch):
    monkeypatch.setattr(launcher, "PATIENCE_SECONDS", 0.1)
    ready = tmp_path / "ready"
    launched = Launcher()
    thread, found = run_in_thread(work, launched, f"import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
                                                  f"open({str(ready)!r}, 'w').close()\ntime.sleep(60)")
    wait_for(ready.exists)
    launched.stop()
    thread.join(20)
    assert found[0].status == "failed"
    assert "was killed by SIGKILL" in found[0].message


@pytest.mark.parametrize(("killer", "consequence"), [("os.kill(os.getpid(), 9)", False), ("os.kill(os.getpid(), 15)", True),
                                                     ("time.sleep(60)", True)])
def test_worker_killed_by_somebody_else_while_it_was_asked_to_end_is_a_cause(work, tmp_path, monkeypatch, killer, consequence):
    """It may have died before it was asked, and be the reason why."""
    monkeypatch.setattr(launcher, "PATIENCE_SECONDS", 0.3)
    launched, ready = Launcher(), tmp_path / "ready"
    program = f"import signal\ndef end(*_):\n  signal.signal(signal.SIGTERM, signal.SIG_DFL); {killer}\nsignal.signal(signal.SIGTERM, end)\nopen({str(ready)!r}, 'w').close()\ntime.sleep(60)"
    thread, found = run_in_thread(work, launched, program)
    wait_for(ready.exists)
    launched.stop()
    thread.join(20)
    assert (found[0].status, found[0].consequence) == ("failed", consequence)


def test_nothing_starts_after_stop(work, tmp_path):
    launched = Launcher()
    launched.stop()
    outcome, _, _ = work(f"open({str(tmp_path / 'started')!r}, 'w')", launched)
    assert outcome == Outcome("interrupted", None, "not started")
    assert not (tmp_path / "started").exists()


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def alive(pid):
    """Whether a process still runs (a zombie does not)."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout.strip()
    return bool(shown) and not shown.startswith("Z")


def test_command_starts_a_worker_with_this_python(tmp_path):
    assert launcher._command(tmp_path / "job.json") == [sys.executable, "-m", "laptime.harness.worker",
                                                        str(tmp_path / "job.json")]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGBUS])
def test_death_by_a_signal_has_its_name(number):
    assert number.name in launcher._death(-number)
