"""Worker processes of runs: one per rank, started, listened to and ended together when a run or the set has to stop.

Every worker inherits the reading end of a pipe as its standard input and never gets a byte from it: when the launcher
is gone, however that happened, the pipe ends, and so do they (`harness.worker.watch`). The ranks are started here and
not by torchrun, because then the death of each one has a name and a time; what they are told is what torchrun tells.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import BinaryIO, Protocol

import orjson

from laptime.config import from_json
from laptime.errors import RunFailed, UserError
from laptime.harness.one_run import Job, Outcome, Status
from laptime.harness.place import Meeting, Place, free_port, variables
from laptime.harness.processes import Process, below, living, send
from laptime.harness.progress import RunEvent

PATIENCE_SECONDS = 20.0  # for workers to finish their logs; they give themselves less (worker.GRACE_SECONDS)
START_SECONDS = 300.0  # for the first sign of life, where less is asked for: importing over a network takes a while
COURTESY_SECONDS = 1.0  # for the other ranks to say what they saw when one has failed
NAP_SECONDS = 0.05
STARTING = "starting"
EXPLAINS: tuple[Status, ...] = ("failed", "interrupted", "not converged", "converged")  # what is told first
BAD: tuple[Status, ...] = ("failed", "interrupted")


class Listener(Protocol):
    """Who is told what a run says."""

    def event(self, index: int, event: RunEvent) -> None: ...


def no_trouble() -> Outcome | None:
    """Elsewhere all is well."""
    return None


class Launcher:
    """Runs jobs, several threads at a time; `stop` ends all of them. `place`: which ranks of a run are started here."""

    def __init__(self, place: Place | None = None) -> None:
        self._place = place
        self._live: set[Crew] = set()
        self._lock = threading.Lock()
        self.stopped = False

    def run(self, job_file: Path, job: Job, output_path: Path, listener: Listener, *, meeting: Meeting | None = None,
            trouble: Callable[[], Outcome | None] = no_trouble) -> Outcome:
        """The outcome of one job; a worker that dies without a word is a failed run.

        `trouble` is asked again and again: an outcome from elsewhere that ends the run here, too.
        """
        place = self._place or Place(local=job.request.nproc, local_size=job.request.nproc)
        meeting = meeting or Meeting(place.address, free_port(place.address) if place.size > 1 else 0)
        with output_path.open("wb") as output:
            crew = Crew(place, job, output, output_path, listener)
            with self._lock:
                if self.stopped:
                    return Outcome("interrupted", None, "not started")
                self._live.add(crew)
            try:
                crew.start(job_file, meeting)
                return crew.followed(trouble)
            finally:
                crew.end()
                with self._lock:
                    self._live.discard(crew)

    def stop(self) -> None:
        """Ask every worker to finish its log and end; whoever waits for a run's outcome insists after a while."""
        with self._lock:
            self.stopped = True
            for crew in self._live:
                crew.dismissed = True


class Crew:
    """The workers of one run on this node. `dismissed`: somebody asks them to end."""

    def __init__(self, place: Place, job: Job, output: BinaryIO, output_path: Path, listener: Listener) -> None:
        self.dismissed = False
        self._place, self._job, self._listener = place, job, listener
        self._output, self._output_path = output, output_path
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._readers: list[threading.Thread] = []
        self._lines: SimpleQueue[tuple[int, bytes]] = SimpleQueue()
        self._verdicts: dict[int, Outcome] = {}
        self._told: dict[int, Outcome] = {}
        self._heard = time.monotonic()
        self._deadline: float | None = None  # after which workers that were asked to end are killed
        self._killed = False
        self._reason: Outcome | None = None  # why they were asked
        self._doing = STARTING
        self._family: list[Process] = []

    def start(self, job_file: Path, meeting: Meeting) -> None:
        for rank in self._place.ranks:
            try:
                process = subprocess.Popen(_command(job_file), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                           stderr=self._output, start_new_session=True,
                                           env=variables(self._place, rank, meeting))
            except OSError as error:
                raise RunFailed(f"cannot start the process of rank {rank}: {error.strerror or error}",
                                hint="Is there enough memory, and are enough processes allowed (ulimit -u)?") from None
            self._processes[rank] = process
            reader = threading.Thread(target=self._read, args=(rank, process), daemon=True)
            reader.start()
            self._readers.append(reader)

    def followed(self, trouble: Callable[[], Outcome | None]) -> Outcome:
        """Relay what the workers tell until all have ended; the outcome that explains most."""
        failed_at: float | None = None
        while len(self._verdicts) < len(self._processes):
            self._relay(NAP_SECONDS)
            self._judge()
            if self._reason is None:
                failed = any(verdict.status in BAD for verdict in self._verdicts.values())
                failed_at = failed_at or (time.monotonic() if failed else None)
                self._end_where_needed(trouble(), failed_at)
            if self._deadline is not None and time.monotonic() > self._deadline:
                self._kill()
        self._relay(0)
        return explained([*self._verdicts.values(), *([self._reason] if self._reason else [])])

    def end(self) -> None:
        """Whatever happened: nothing of this run is left behind."""
        if any(process.poll() is None for process in self._processes.values()):
            self._ask(None)
            deadline = time.monotonic() + PATIENCE_SECONDS
            while any(process.poll() is None for process in self._processes.values()) and time.monotonic() < deadline:
                time.sleep(NAP_SECONDS)
        self._kill()
        for process in self._processes.values():
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()

    def _end_where_needed(self, trouble: Outcome | None, failed_at: float | None) -> None:
        silent = time.monotonic() - self._heard
        if self.dismissed:
            self._ask(Outcome("interrupted", None, "stopped", consequence=True))
        elif trouble is not None:
            self._ask(replace(trouble, consequence=True))
        elif failed_at is not None and time.monotonic() - failed_at > COURTESY_SECONDS:
            self._ask(Outcome("interrupted", None, "stopped because another process failed", consequence=True))
        elif 0 in self._processes and silent > self._allowed_silence():  # the other ranks say nothing anyway
            text = f"no sign of life for {silent:.0f} s while {self._doing}{self._stopped()}"
            self._ask(Outcome("failed", None, f"{text}; what each process was doing is in {self._output_path}"))

    def _allowed_silence(self) -> float:
        asked = self._job.request.silence_s
        return max(asked, START_SECONDS) if self._doing == STARTING else asked

    def _ask(self, reason: Outcome | None) -> None:
        """Ask all workers to finish their logs and end; the stopped ones go on first."""
        self._reason = self._reason or reason
        self._deadline = self._deadline or time.monotonic() + PATIENCE_SECONDS
        for process in self._processes.values():
            self._family += below(process.pid)
            _signal_group(process, signal.SIGTERM)
            _signal_group(process, signal.SIGCONT)

    def _kill(self) -> None:
        self._killed = True
        for process in self._processes.values():
            if process.poll() is None:
                self._family += below(process.pid)
                _signal_group(process, signal.SIGKILL)
        send(living(self._family), signal.SIGKILL)

    def _stopped(self) -> str:
        """Which processes hang because somebody stopped them."""
        ranks = [str(rank) for rank, process in self._processes.items() if _state(process.pid) in ("T", "t")]
        return f" (rank {', '.join(ranks)} is stopped)" if ranks else ""

    def _read(self, rank: int, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with contextlib.suppress(ValueError):  # closed
            for line in process.stdout:
                self._lines.put((rank, line))

    def _relay(self, patience: float) -> None:
        """Pass on what has come in, waiting a moment where nothing has."""
        with contextlib.suppress(Empty):
            self._take(*self._lines.get(timeout=patience) if patience else self._lines.get_nowait())
            while True:
                self._take(*self._lines.get_nowait())

    def _take(self, rank: int, line: bytes) -> None:
        event = RunEvent.from_line(line)
        ending = _ending(event) if event is not None else None
        if ending is not None:
            self._told[rank] = explained([ending, *([self._told[rank]] if rank in self._told else [])])
        elif event is None or event.kind == "end":
            with contextlib.suppress(OSError):  # no room: the run itself says so, where it matters
                self._output.write(line)
        else:
            self._heard = time.monotonic()
            self._doing = self._doing if event.kind == "warning" else _activity(event)
            self._listener.event(self._job.index, event)

    def _judge(self) -> None:
        """The verdict of each worker that has ended and whose last words were read."""
        for (rank, process), reader in zip(self._processes.items(), self._readers, strict=True):
            if rank not in self._verdicts and process.poll() is not None:
                if process.returncode:
                    _sweep(process.pid)
                reader.join(COURTESY_SECONDS)  # a child that outlived it may hold the pipe
                self._relay(0)
                verdict = self._told.get(rank) or self._death(rank, process.returncode)
                ordered = verdict.status == "interrupted" and self._deadline is not None and not self.dismissed
                self._verdicts[rank] = replace(verdict, consequence=verdict.consequence or ordered)

    def _death(self, rank: int, code: int) -> Outcome:
        who = "the worker process" if self._place.size == 1 else f"the process of rank {rank}"
        text = f"{who} {_death(code)}; its output is in {self._output_path}"
        ours = self._deadline is not None and (self._killed or code != -signal.SIGKILL)  # else nobody here did that
        return Outcome("failed", None, text, consequence=ours)


def explained(outcomes: list[Outcome]) -> Outcome:
    """Of several outcomes of one run, the one that explains most: a cause beats what follows from it."""
    def weight(outcome: Outcome) -> tuple[bool, bool, int]:
        bad = outcome.status in BAD
        return not bad, bad and outcome.consequence, EXPLAINS.index(outcome.status)

    return min(outcomes, key=weight)


def _activity(event: RunEvent) -> str:
    match event.kind:
        case "phase":
            return {"warm_up": "warming up", "train": "training"}.get(event.text, f"in the phase '{event.text}'")
        case "evaluated":
            return f"training after the evaluation in epoch {event.epoch}"
        case _:
            return f"training in epoch {event.epoch}, after {event.samples:,} samples"


def _ending(event: RunEvent) -> Outcome | None:
    """The outcome that an event tells, None where it is no ending or says nothing that can be read."""
    if event.kind != "end":
        return None
    try:
        return from_json(Outcome, orjson.loads(event.text))
    except (orjson.JSONDecodeError, UserError):
        return None


def _command(job_file: Path) -> list[str]:
    return [sys.executable, "-m", "laptime.harness.worker", str(job_file)]


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """To a worker and the processes of its session; one that has been waited for is gone, and its number not ours."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)


def _sweep(leader: int) -> None:
    """End what a worker that has just died has left in its session."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _state(pid: int) -> str:
    """The letter for what a process does (proc(5)), "" where nobody knows."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def _death(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"ended with exit code {code} and no result"
