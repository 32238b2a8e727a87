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
from laptime.harness.worker import save_job, stop_signals
from laptime.training.data.store import Manifest

SEED_BITS = 32
POLL_SECONDS = 0.1
OTHERS = "the same command makes the others"


@dataclass(frozen=True)
class RunOutcome:
    """How run `index` (from 0) ended. `seconds`: from run_start to run_stop; `log`: None when there is none.

    `exit_code`: what went wrong, where the run told it.
    """

    index: int
    status: Status
    seconds: float | None
    log: Path | None
    message: str
    exit_code: int = errors.FINE


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
    """SIGINT, SIGTERM or SIGHUP reached the set."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run_set(request: RunRequest, reporter: Reporter) -> SetOutcome:
    """Make the runs that are missing. Raises UserErrors for whatever is wrong before or during a run."""
    flight = resolve(request)
    with SetFolder.open(flight) as folder:
        for note in folder.notes:
            reporter.message(note)
        outcomes: list[RunOutcome] = []
        missing = folder.missing()
        if missing:
            try:
                _complete(folder, missing, reporter, outcomes)
            except _Interrupt as stop:
                return _interrupted(folder, outcomes, stop.number)
        return _summary(folder, tuple(outcomes), flight)


def _complete(folder: SetFolder, missing: list[int], reporter: Reporter, outcomes: list[RunOutcome]) -> None:
    with _signals():
        data = prepare(folder.request, reporter)
        folder.agree_on_data(Manifest.load(data).content_hash)
        _make(folder, missing, Launcher(), reporter, outcomes)


def _make(folder: SetFolder, missing: list[int], launcher: Launcher, reporter: Reporter,
          outcomes: list[RunOutcome]) -> None:
    """Run `missing`, `jobs` at a time; the first failed run ends the set. Appends to `outcomes` as runs end."""

    def one(index: int) -> None:
        if not launcher.stopped:
            outcome = _one(folder, index, launcher, reporter)
            outcomes.append(outcome)
            if outcome.status != "interrupted" or not launcher.stopped:  # else the set as a whole says why
                reporter.run_ended(outcome)
            launcher.stopped |= outcome.status in ("failed", "interrupted")

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
    return RunOutcome(index, outcome.status, outcome.seconds, log, outcome.message, outcome.exit_code)


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP become `_Interrupt` inside the block."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise _Interrupt(number)

    before = {number: signal.signal(number, interrupt) for number in stop_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Further signals are ignored while the workers finish their logs."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in stop_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupted(folder: SetFolder, outcomes: list[RunOutcome], number: int) -> SetOutcome:
    code = errors.INTERRUPTED if number == signal.SIGINT else errors.TERMINATED
    message = f"stopped by {signal.Signals(number).name}; {_kept(folder)}; {OTHERS}"
    return SetOutcome(folder.results, tuple(outcomes), code, message)


def _summary(folder: SetFolder, outcomes: tuple[RunOutcome, ...], flight: Preflight) -> SetOutcome:
    """The set as it stands now, with the runs of earlier calls. Raises RunFailed when a run of this call did."""
    for outcome in outcomes:
        if outcome.status in ("failed", "interrupted"):
            raise _failure(folder, outcome)
    reached = folder.reached()
    tolerated = flight.rules.max_failures if folder.total >= flight.rules.runs else 0
    code = errors.NOT_CONVERGED if folder.total - reached > tolerated else errors.FINE
    before = "" if outcomes else f"all {folder.total} runs are already there; "
    message = f"{before}{reached} of {folder.total} runs reached the target"
    return SetOutcome(folder.results, outcomes, code, message)


def _failure(folder: SetFolder, outcome: RunOutcome) -> RunFailed:
    """What a broken run means for the set. What is wrong for good is not worth the same command again."""
    run, reason = f"run {outcome.index + 1} of {folder.total}", outcome.message.rstrip(".")
    if outcome.status == "interrupted":
        reason += f", but not by this set; its output is in {folder.output(outcome.index)}"
    for_good = outcome.exit_code in (errors.FINDINGS, errors.WRONG_USE)
    failure = RunFailed(f"{run} failed: {reason}; {_kept(folder)}" + ("" if for_good else f"; {OTHERS}"))
    failure.exit_code = outcome.exit_code or errors.RUN_FAILED
    return failure


def _kept(folder: SetFolder) -> str:
    return f"{folder.total - len(folder.missing())} of {folder.total} runs are finished and kept"
