"""Worker processes: started, listened to, and ended together when the set has to stop.

Every worker, rank or not, inherits the reading end of a pipe as its standard input and never gets a byte from it: when
the launcher is gone, however that happened, the pipe ends, and so do they (`harness.worker.watch`).
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO, Protocol

import orjson

from laptime.config import from_json
from laptime.errors import UserError
from laptime.harness.one_run import Job, Outcome, Status
from laptime.harness.processes import below, living, send
from laptime.harness.progress import RunEvent

PATIENCE_SECONDS = 35.0  # for workers to finish their logs; longer than the 30 s that torchrun gives its ranks
NAP_SECONDS = 0.05
EXPLAINS: tuple[Status, ...] = ("failed", "interrupted", "not converged", "converged")  # what is told first


class Listener(Protocol):
    """Who is told what a run says."""

    def event(self, index: int, event: RunEvent) -> None: ...


class Launcher:
    """Runs jobs, several threads at a time; `stop` ends all of them."""

    def __init__(self) -> None:
        self._live: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self.stopped = False

    def run(self, job_file: Path, job: Job, output_path: Path, listener: Listener) -> Outcome:
        """The outcome of one job; a worker that dies without a word is a failed run."""
        with output_path.open("wb") as output:
            process = self._start(_command(job_file, job.request.nproc), output)
            if process is None:
                return Outcome("interrupted", None, "not started")
            with process:
                told = _listen(process, output, job.index, listener)
            code = process.returncode
        with self._lock:
            self._live.discard(process)
        return told or Outcome("failed", None, f"the worker process {_death(code)}; its output is in {output_path}")

    def stop(self) -> None:
        """Ask every worker (and its ranks) to finish its log and end; insist after a while."""
        with self._lock:
            self.stopped = True
            live = list(self._live)
        family = [one for process in live for one in below(process.pid)]  # torchrun's ranks have groups of their own
        for process in live:
            _signal_group(process, signal.SIGTERM)
        send(family, signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while any(process.poll() is None for process in live) or living(family):
            if time.monotonic() > deadline:
                family += [one for process in live for one in below(process.pid)]
                for process in live:
                    _signal_group(process, signal.SIGKILL)
                send(family, signal.SIGKILL)
                break
            time.sleep(NAP_SECONDS)

    def _start(self, command: list[str], output: BinaryIO) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self.stopped:
                return None
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output,
                                       start_new_session=True)
            self._live.add(process)
            return process


def _listen(process: subprocess.Popen[bytes], output: BinaryIO, index: int, listener: Listener) -> Outcome | None:
    """Relay what a worker tells until it closes its output; returns the ending it told."""
    told: Outcome | None = None
    assert process.stdout is not None
    for line in process.stdout:
        event = RunEvent.from_line(line)
        ending = _ending(event) if event is not None else None
        if ending is not None:
            told = _better(told, ending)
        elif event is None or event.kind == "end":
            output.write(line)
        else:
            listener.event(index, event)
    return told


def _ending(event: RunEvent) -> Outcome | None:
    """The outcome that an event tells, None where it is no ending or says nothing that can be read."""
    if event.kind != "end":
        return None
    try:
        return from_json(Outcome, orjson.loads(event.text))
    except (orjson.JSONDecodeError, UserError):
        return None


def _better(told: Outcome | None, new: Outcome) -> Outcome:
    """Of several ranks' endings, the one that explains most: a failure beats being stopped because of it."""
    return new if told is None or EXPLAINS.index(new.status) < EXPLAINS.index(told.status) else told


def _command(job_file: Path, nproc: int) -> list[str]:
    if nproc == 1:
        return [sys.executable, "-m", "laptime.harness.worker", str(job_file)]
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={nproc}",
            "-m", "laptime.harness.worker", str(job_file)]


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _death(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"ended with exit code {code} and no result"
