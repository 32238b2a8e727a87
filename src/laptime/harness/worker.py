"""The process of one run: `python -m laptime.harness.worker JOB.json`, alone or once per rank.

Its standard output carries progress lines (harness.progress.MARK); the last one is an "end" event with the outcome.
"""

import contextlib
import faulthandler
import os
import select
import signal
import stat
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType

import orjson

from laptime.config import from_json, to_json
from laptime.errors import UserError
from laptime.harness.generations import identity
from laptime.harness.journal import Nowhere, Sink
from laptime.harness.one_run import Job, Outcome, Run, Stopped
from laptime.harness.preflight import Preflight, resolve
from laptime.harness.preparation import data_folder
from laptime.harness.progress import RunEvent
from laptime.harness.record import write_record
from laptime.harness.saving import Saves
from laptime.log.write import LogWriter
from laptime.training.data.store import Store
from laptime.training.distributed.arrange import arrange
from laptime.training.distributed.world import World, join, leave, set_threads

WATCH_SECONDS = 1.0  # between two looks whether the parent is there
GRACE_SECONDS = 8.0  # for the main thread to hear a signal; it may wait for other ranks in a call that never returns
MARGIN_SECONDS = 60.0  # a collective waits this much longer than the launcher does for a sign of life
NETWORK = ("gloo", "nccl", "connection closed by peer", "connection reset by peer", "broken pipe", "socket timeout")


def main(job: Job) -> int:
    """Run `job`. Returns 0 for a whole run, converged or not.

    Else 1. The launcher then ends the other ranks, which would wait for this one.
    """
    outcome = _outcome(replace(job, clears_caches=os.environ.get("LOCAL_RANK", "0") == "0"))
    _tell(RunEvent("end", text=orjson.dumps(asdict(outcome)).decode()))
    return 0 if outcome.status in ("converged", "not converged") else 1


def stop_signals() -> tuple[signal.Signals, ...]:
    """The signals that end a set or a run; a hang-up counts unless we were told to survive it (nohup)."""
    always = (signal.SIGINT, signal.SIGTERM)
    return always if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (*always, signal.SIGHUP)


def watch() -> None:
    """From now on, end this process as SIGTERM does when its parent or the launcher is gone.

    The launcher holds the other end of standard input. A worker that was started by hand has no such pipe.
    """
    with contextlib.suppress(OSError):
        if stat.S_ISFIFO(os.fstat(0).st_mode):
            threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        readable, _, _ = select.select([0], [], [], WATCH_SECONDS)
        if readable and not os.read(0, 1):
            break
    os.kill(os.getpid(), signal.SIGTERM)


def listen() -> None:
    """From now on a stop signal ends the run as interrupted; a while later it ends this process, heard or not.

    Python's handlers run between two steps of the main thread, so not while it waits for a dead rank. The system writes
    the number of every signal that has a handler into a pipe at once. The launcher finishes the log of a worker that
    ended so.
    """
    numbers = stop_signals()
    for number in numbers:
        signal.signal(number, _stop)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def wait() -> None:
        while (number := os.read(reading, 1)[0]) not in numbers:
            pass  # others have handlers too: of children that ended, of alarms
        threading.Event().wait(GRACE_SECONDS)
        with contextlib.suppress(OSError, ValueError):
            faulthandler.dump_traceback(all_threads=True)
        text = f"stopped by {signal.Signals(number).name}, while it waited for something that did not come"
        _tell(RunEvent("end", text=orjson.dumps(asdict(Outcome("interrupted", None, text, consequence=True))).decode()))
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def save_job(job: Job, path: Path) -> None:
    """Write `job` for a worker process."""
    path.write_bytes(orjson.dumps(to_json(job)))


def load_job(path: Path) -> Job:
    """The job that `save_job` wrote."""
    return from_json(Job, orjson.loads(path.read_bytes()))


def _outcome(job: Job) -> Outcome:
    """What became of the run; every error is an outcome too, its traceback on stderr."""
    try:
        return _run(job)
    except Stopped as stop:
        return Outcome("interrupted", None, f"stopped by {stop.signal_name}")
    except UserError as error:
        _trace()
        return Outcome("failed", None, str(error) + (f" {error.hint}" if error.hint else ""), error.exit_code)
    except MemoryError:
        _trace()
        return Outcome("failed", None, "out of memory; try --set parallel.accumulation_steps=2 or a smaller batch")
    except Exception as error:  # the boundary of the process: whatever happened must be told
        _trace()
        text = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        if _is_broken_exchange(error):
            return Outcome("failed", None, f"another process of the run does not answer ({text})", consequence=True)
        return Outcome("failed", None, text)


def _trace() -> None:
    """The traceback for the run's output file; where there is no room for it, the outcome is still told."""
    with contextlib.suppress(OSError):
        traceback.print_exc()


def _is_broken_exchange(error: Exception) -> bool:
    """Whether a collective or the store behind it failed: some other process is the reason."""
    return type(error).__name__.startswith("Dist") or any(word in str(error).lower() for word in NETWORK)


def _run(job: Job) -> Outcome:
    flight = resolve(job.request)
    set_threads(job.request.threads, job.request.nproc)
    timeout_s = job.request.silence_s + MARGIN_SECONDS
    world = arrange(join(job.request.device, timeout_s=timeout_s), flight.config.parallel, timeout_s)
    job.scratch.mkdir(parents=True, exist_ok=True)
    store = Store.open(data_folder(flight))
    saves = _saves(job, flight, world, store)
    with _sink(job, flight, world) as sink:
        run = Run(job, flight, world, store, sink=sink, emit=_tell if world.first else _silent, saves=saves)
        outcome = Outcome("failed", None, "")
        try:
            outcome = run.execute()
            _deaf()
        finally:
            if world.first:
                write_record(run, outcome)
    if outcome.status in ("converged", "not converged"):  # else the others are elsewhere, and would be waited for
        _part(world)
    return outcome


def _saves(job: Job, flight: Preflight, world: World, store: Store) -> Saves | None:
    """The run's saved states, where it has or makes any."""
    if job.saves is None:
        return None
    saves = Saves(world, job.saves, identity(flight, store.metadata.content_hash), every_s=job.request.save_every_s,
                  step=job.resume_step, timeout_s=job.request.silence_s + MARGIN_SECONDS,
                  warn=lambda text: _tell(RunEvent("warning", text)))
    if job.request.nodes > 1:
        saves.check_shared()
    return saves


def _part(world: World) -> None:
    """Leave the others. The run is over: a rank that dies now changes nothing any more."""
    try:
        leave(world)
    except Exception:
        _trace()


@contextlib.contextmanager
def _sink(job: Job, flight: Preflight, world: World) -> Iterator[Sink]:
    if not world.first:
        yield Nowhere()
        return
    opened = LogWriter if job.resume_step is None else LogWriter.appending
    with opened(job.log, flight.round.dialect, flight.rules.log_name) as writer:
        yield writer


def _tell(event: RunEvent) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody watches any more; the run itself is not affected
        sys.stdout.buffer.write(event.to_line())
        sys.stdout.buffer.flush()


def _silent(event: RunEvent) -> None:
    """Ranks other than the first tell nothing."""


def _stop(number: int, frame: FrameType | None) -> None:
    _deaf()  # once is enough; the log is being finished
    raise Stopped(signal.Signals(number).name)


def _deaf() -> None:
    """From now on the process ends by itself, and soon."""
    for number in stop_signals():
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    watch()
    given = load_job(Path(sys.argv[1]))
    listen()  # from here on a stop signal has an outcome to be told in
    code = main(given)
    if code:  # taking a broken process group apart may wait for ranks that are gone
        sys.stderr.flush()
        os._exit(code)
