"""A set of runs: each in a fresh process with a fresh seed, into a folder with the layout of a submission.

An interrupted set resumes with the runs that are missing; whatever happens, finished runs stay as they are.
"""

import contextlib
import secrets
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Protocol

from laptime import errors
from laptime.config import RunRequest
from laptime.errors import Incomplete, RunFailed
from laptime.harness.company import Company, Follower, company, followed
from laptime.harness.generations import SCRATCH, Generation, whole
from laptime.harness.launcher import Launcher
from laptime.harness.one_run import Job, Status
from laptime.harness.place import Place
from laptime.harness.preflight import Preflight, resolve
from laptime.harness.preparation import prepare
from laptime.harness.progress import RunEvent
from laptime.harness.set_folder import SetFolder
from laptime.harness.worker import save_job, stop_signals
from laptime.training.data.store import Manifest

SEED_BITS = 32
POLL_SECONDS = 0.1
OTHERS = "the same command makes the others"
GOES_ON = "the same command goes on with run {} where it was saved, and makes the others"


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
    """A set, after this call. `outcomes`: the runs made now, in the order they ended; other members than the first one
    make none that they know of."""

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


def run_set(request: RunRequest, reporter: Reporter, place: Place | None = None) -> SetOutcome:
    """Make the runs that are missing, alone or as one of several members (`place`), of which the first one leads.

    Raises UserErrors for whatever is wrong before or during a run.
    """
    place = place or Place(local=request.nproc, local_size=request.nproc)
    flight = resolve(request)
    if not place.first:
        return _follow(place, flight, reporter)
    with _waiting(place), company(place, flight) as others, SetFolder.open(flight) as folder:
        outcome = _completed(folder, flight, place, others, reporter)
        others.end(outcome.exit_code, outcome.message)
    return outcome


def _follow(place: Place, flight: Preflight, reporter: Reporter) -> SetOutcome:
    """The set as another member than the first one sees it: how it ended."""
    follower = Follower(place, flight, reporter)

    def note(number: int, frame: FrameType | None) -> None:
        if follower.stopped is not None or not follower.joined:
            raise _Interrupt(number)  # there is nobody to tell, or it was told
        follower.stopped = signal.Signals(number)

    with _waiting(place), _handled(note):
        code, message = followed(place, flight, reporter, follower)
    return SetOutcome(flight.request.out or Path(), (), code, message)


@contextlib.contextmanager
def _waiting(place: Place) -> Iterator[None]:
    """A signal while members wait for each other ends this one."""
    try:
        with _signals() if place.members > 1 else contextlib.nullcontext():
            yield
    except _Interrupt as stop:
        raise Incomplete(f"stopped by {signal.Signals(stop.number).name}", exit_code=_code(stop.number)) from None


def _completed(folder: SetFolder, flight: Preflight, place: Place, others: Company, reporter: Reporter) -> SetOutcome:
    outcomes: list[RunOutcome] = []
    missing = folder.missing()
    _tell(folder, reporter)
    if missing:
        try:
            with _signals():
                data = prepare(folder.request, reporter)
                content_hash = Manifest.load(data).content_hash
                folder.agree_on_data(content_hash)
                saved = folder.going_on(content_hash)
                others.prepare(content_hash)
                _tell(folder, reporter)
                _make(folder, missing, Launcher(place), others, reporter=reporter, outcomes=outcomes, saved=saved)
        except _Interrupt as stop:
            return _interrupted(folder, outcomes, stop.number)
    return _summary(folder, tuple(outcomes), flight)


def _tell(folder: SetFolder, reporter: Reporter) -> None:
    """What the user should know, once."""
    while folder.notes:
        reporter.message(folder.notes.pop(0))


def _make(folder: SetFolder, missing: list[int], launcher: Launcher, others: Company, *, reporter: Reporter,
          outcomes: list[RunOutcome], saved: Mapping[int, Generation]) -> None:
    """Run `missing`, `jobs` at a time; the first failed run ends the set. Appends to `outcomes` as runs end.

    Those that were `saved` go on from there.
    """

    def one(index: int) -> None:
        if not launcher.stopped:
            outcome = _one(folder, index, launcher, others, reporter=reporter, begin=saved.get(index))
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


def _one(folder: SetFolder, index: int, launcher: Launcher, others: Company, *, reporter: Reporter,
         begin: Generation | None) -> RunOutcome:
    seed = _seed(folder, index, begin)
    reporter.run_started(index, folder.total, seed)
    if begin is not None:
        at = begin.position.at
        reporter.message(f"  goes on where it was saved: epoch {at.epoch}, {at.samples:,} samples, the same clock")
    with _room(), tempfile.TemporaryDirectory(prefix="laptime-", ignore_cleanup_errors=True) as scratch:
        job = _job(folder, index, seed, Path(scratch) / "run", begin)
        save_job(job, Path(scratch) / "job.json")
        outcome = others.trouble()  # somebody left after the run before
        if outcome is None:
            meeting = others.begin(index, seed, folder.place_of(job.saves), job.resume_step)
            outcome = others.finish(launcher.run(Path(scratch) / "job.json", job, folder.output(index), reporter,
                                                 meeting=meeting, trouble=others.trouble))
    for member, text in others.printed().items():
        with contextlib.suppress(OSError):  # no room: the run itself says so, where it matters
            folder.output_of(index, member).write_text(text)
    log = folder.keep(index, finished=outcome.status in ("converged", "not converged"))
    return RunOutcome(index, outcome.status, outcome.seconds, log, outcome.message, outcome.exit_code)


def _seed(folder: SetFolder, index: int, begin: Generation | None) -> int:
    if begin is not None:
        return folder.known_seed(begin.position.seed)
    fixed = folder.request.seed
    return fixed + index if fixed is not None else folder.fresh_seed(lambda: secrets.randbits(SEED_BITS))


def _job(folder: SetFolder, index: int, seed: int, scratch: Path, begin: Generation | None) -> Job:
    request, saves = folder.request, folder.saved(index).absolute()
    job = Job(request, index, seed, folder.log_in_progress(index, begin), folder.record(index), scratch)
    if not request.save_every_s and begin is None:
        return job
    step = None if begin is None else begin.step
    return replace(job, scratch=saves / SCRATCH, saves=saves, resume_step=step,
                   interrupted_ms=folder.interrupted_ms(index))


@contextlib.contextmanager
def _room() -> Iterator[None]:
    """A disk without room for the files of a run is one clear line."""
    try:
        yield
    except OSError as error:
        raise RunFailed(f"cannot write {error.filename or 'the files of a run'}: {error.strerror or error}",
                        hint="Free some space (TMPDIR names the folder of temporary files).") from None


def _signals() -> contextlib.AbstractContextManager[None]:
    """SIGINT, SIGTERM and SIGHUP become `_Interrupt` inside the block."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise _Interrupt(number)

    return _handled(interrupt)


@contextlib.contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in stop_signals()}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


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
    message = f"stopped by {signal.Signals(number).name}; {_kept(folder)}; {_again(folder)}"
    return SetOutcome(folder.results, tuple(outcomes), _code(number), message)


def _code(number: int) -> int:
    return errors.INTERRUPTED if number == signal.SIGINT else errors.TERMINATED


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
    failure = RunFailed(f"{run} failed: {reason}; {_kept(folder)}" + ("" if for_good else f"; {_again(folder)}"))
    failure.exit_code = outcome.exit_code or errors.RUN_FAILED
    return failure


def _again(folder: SetFolder) -> str:
    """What the same command would do."""
    saved = [index for index in folder.missing() if whole(folder.saved(index))]
    return GOES_ON.format(saved[0] + 1) if saved else OTHERS


def _kept(folder: SetFolder) -> str:
    return f"{folder.total - len(folder.missing())} of {folder.total} runs are finished and kept"
