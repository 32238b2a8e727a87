"""A set of runs: each in a fresh process with a fresh seed, into a folder with the layout of a submission.

An interrupted set resumes with the runs that are missing; whatever happens, finished runs stay as they are.
"""

import contextlib
import secrets
import signal
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

from laptime import errors
from laptime.config import RunRequest
from laptime.errors import RunFailed
from laptime.harness.launcher import Launcher
from laptime.harness.one_run import Job, Status
from laptime.harness.preflight import Preflight, resolve
from laptime.harness.preparation import prepare
from laptime.harness.progress import RunEvent
from laptime.harness.set_folder import SetFolder
from laptime.harness.worker import save_job

SEED_BITS = 32
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class RunOutcome:
    """How run `index` ended. `seconds`: from run_start to run_stop; `log`: None when there is no result."""

    index: int
    status: Status
    seconds: float | None
    log: Path | None
    message: str


@dataclass(frozen=True)
class SetOutcome:
    """A set, after this call. `outcomes`: the runs made now, in the order they ended."""

    folder: Path
    outcomes: tuple[RunOutcome, ...]
    exit_code: int
    message: str


class Reporter(Protocol):
    """Who is told what happens, as it happens; may be called from several threads."""

    def message(self, text: str) -> None: ...
    def run_started(self, index: int, total: int, seed: int) -> None: ...
    def event(self, index: int, event: RunEvent) -> None: ...
    def run_ended(self, outcome: RunOutcome) -> None: ...


class _Interrupt(Exception):
    """SIGINT or SIGTERM reached the set."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run_set(request: RunRequest, reporter: Reporter) -> SetOutcome:
    """Make the runs that are missing. Raises UserErrors for whatever is wrong before or during a run."""
    flight = resolve(request)
    folder = SetFolder.open(flight)
    missing = folder.missing()
    if not missing:
        return SetOutcome(folder.results, (), errors.FINE, f"all {folder.total} runs are already there")
    outcomes: list[RunOutcome] = []
    launcher = Launcher()
    try:
        with _signals():
            prepare(folder.request, reporter)
            _make(folder, missing, launcher, reporter, outcomes)
    except _Interrupt as stop:
        return _interrupted(folder, outcomes, stop.number)
    return _summary(folder, tuple(outcomes), flight)


def _make(folder: SetFolder, missing: list[int], launcher: Launcher, reporter: Reporter,
          outcomes: list[RunOutcome]) -> None:
    """Run `missing`, `jobs` at a time; the first failed run ends the set. Appends to `outcomes` as runs end."""

    def one(index: int) -> None:
        if not launcher.stopped:
            outcome = _one(folder, index, launcher, reporter)
            outcomes.append(outcome)
            if outcome.status != "interrupted":  # then the set as a whole says why
                reporter.run_ended(outcome)
            launcher.stopped |= outcome.status == "failed"

    with ThreadPoolExecutor(folder.request.jobs) as pool:
        futures = [pool.submit(one, index) for index in missing]
        try:
            _wait(futures)
        except BaseException:
            with _deaf():
                launcher.stop()
                pool.shutdown(wait=True, cancel_futures=True)
            raise


def _wait(futures: list[Future[None]]) -> None:
    """Wait in short naps, so that a signal is heard at once; raises what a run raised."""
    while not all(future.done() for future in futures):
        time.sleep(POLL_SECONDS)
        for future in futures:
            if future.done():
                future.result()


def _one(folder: SetFolder, index: int, launcher: Launcher, reporter: Reporter) -> RunOutcome:
    request = folder.request
    seed = request.seed + index if request.seed is not None else folder.fresh_seed(lambda: secrets.randbits(SEED_BITS))
    reporter.run_started(index, folder.total, seed)
    with tempfile.TemporaryDirectory(prefix="laptime-") as scratch:
        job = Job(request, index, seed, folder.log_in_progress(index), folder.record(index), Path(scratch) / "run")
        save_job(job, Path(scratch) / "job.json")
        outcome = launcher.run(Path(scratch) / "job.json", job, folder.output(index), reporter)
    log = folder.keep(index, finished=outcome.status in ("converged", "not converged"))
    return RunOutcome(index, outcome.status, outcome.seconds, log, outcome.message)


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """SIGINT and SIGTERM become `_Interrupt` inside the block."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise _Interrupt(number)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Further signals are ignored while the workers finish their logs."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupted(folder: SetFolder, outcomes: list[RunOutcome], number: int) -> SetOutcome:
    code = errors.INTERRUPTED if number == signal.SIGINT else errors.TERMINATED
    message = f"stopped by {signal.Signals(number).name}; {_kept(folder)}"
    return SetOutcome(folder.results, tuple(outcomes), code, message)


def _summary(folder: SetFolder, outcomes: tuple[RunOutcome, ...], flight: Preflight) -> SetOutcome:
    for outcome in outcomes:
        if outcome.status in ("failed", "interrupted"):
            raise RunFailed(f"run {outcome.index} failed: {outcome.message.rstrip('.')}; {_kept(folder)}")
    missed = sum(1 for outcome in outcomes if outcome.status == "not converged")
    tolerated = flight.rules.max_failures if folder.total >= flight.rules.runs else 0
    code = errors.NOT_CONVERGED if missed > tolerated else errors.FINE
    message = f"{len(outcomes) - missed} of {len(outcomes)} runs reached the target"
    return SetOutcome(folder.results, outcomes, code, message)


def _kept(folder: SetFolder) -> str:
    done = folder.total - len(folder.missing())
    return f"{done} of {folder.total} runs are finished and kept; the same command makes the others"
