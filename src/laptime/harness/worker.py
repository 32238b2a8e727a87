"""The process of one run: `python -m laptime.harness.worker JOB.json`, alone or once per rank under torchrun.

Its standard output carries progress lines (harness.progress.MARK); the last one is an "end" event with the outcome.
"""

import contextlib
import os
import select
import signal
import stat
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import orjson

from laptime.config import from_json, to_json
from laptime.errors import UserError
from laptime.harness.journal import Nowhere, Sink
from laptime.harness.one_run import Job, Outcome, Run, Stopped
from laptime.harness.preflight import Preflight, resolve
from laptime.harness.preparation import data_folder
from laptime.harness.progress import RunEvent
from laptime.harness.record import write_record
from laptime.log.write import LogWriter
from laptime.training.data.store import Store
from laptime.training.distributed.world import World, join, leave, set_threads

WATCH_SECONDS = 1.0  # between two looks whether the parent is there


def main(arguments: list[str]) -> int:
    """Run the job in file `arguments[0]`. Returns 0 for a whole run, converged or not.

    Else 1: then torchrun ends the other ranks, which would wait for this one.
    """
    job = from_json(Job, orjson.loads(Path(arguments[0]).read_bytes()))
    for number in stop_signals():
        signal.signal(number, _stop)
    outcome = _outcome(job)
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


def save_job(job: Job, path: Path) -> None:
    """Write `job` for a worker process."""
    path.write_bytes(orjson.dumps(to_json(job)))


def _outcome(job: Job) -> Outcome:
    """What became of the run; every error is an outcome too, its traceback on stderr."""
    try:
        return _run(job)
    except Stopped as stop:
        return Outcome("interrupted", None, f"stopped by {stop.signal_name}")
    except UserError as error:
        traceback.print_exc()
        return Outcome("failed", None, str(error) + (f" {error.hint}" if error.hint else ""), error.exit_code)
    except MemoryError:
        traceback.print_exc()
        return Outcome("failed", None, "out of memory; try --set parallel.accumulation_steps=2 or a smaller batch")
    except Exception as error:  # the boundary of the process: whatever happened must be told
        traceback.print_exc()
        return Outcome("failed", None, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")


def _run(job: Job) -> Outcome:
    flight = resolve(job.request)
    set_threads(job.request.threads, job.request.nproc)
    world = join(job.request.device)
    job.scratch.mkdir(parents=True, exist_ok=True)
    store = Store.open(data_folder(flight))
    with _sink(job, flight, world) as sink:
        run = Run(job, flight, world, store, sink=sink, emit=_tell if world.first else _silent)
        outcome = Outcome("failed", None, "")
        try:
            outcome = run.execute()
            _deaf()
        finally:
            if world.first:
                write_record(run, outcome)
    leave(world)
    return outcome


@contextlib.contextmanager
def _sink(job: Job, flight: Preflight, world: World) -> Iterator[Sink]:
    if not world.first:
        yield Nowhere()
        return
    with LogWriter(job.log, flight.round.dialect, flight.rules.log_name) as writer:
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
    sys.exit(main(sys.argv[1:]))
