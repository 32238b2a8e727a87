"""Work side by side in processes: the same answers in the same order, sooner.

The work is handed out one item at a time, the largest first. A worker that dies is an error, never a missing answer.
"""

import gc
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from laptime.errors import UserError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

BYTES_WORTH = 10 * 2**20  # of logs that keep one process busy long enough to be worth its start
LOGS_WORTH = 50


class WorkerDied(UserError):
    """A process ended before its work."""


def processes_worth(sizes: Sequence[tuple[int, int]]) -> int:
    """How many processes pay for items of these sizes (logs, bytes each), on this machine."""
    if multiprocessing.current_process().daemon:  # may not have processes of its own
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    logs, total = (sum(size[i] for size in sizes) for i in (0, 1))
    return max(1, min(cores, len(sizes), max(logs // LOGS_WORTH, total // BYTES_WORTH)))


def in_order(work: Callable[[Item], Answer], items: Sequence[Item], weights: Sequence[int], processes: int,
             told: Callable[[int], None] | None = None) -> list[Answer]:
    """`work` of every item, in the order of the items. `work`, items and answers can be pickled.

    `weights`: heavy items are begun first; `told`: called with the number of answers after each. Raises WorkerDied,
    and for the first item whose work raises, the same UserError.
    """
    if processes <= 1 or len(items) <= 1:
        return list(_counted(_one_by_one(work, items), told))
    answers = dict(_counted(as_they_come(work, items, weights, processes), told))
    return [answers[place] for place in range(len(items))]


def as_they_come(work: Callable[[Item], Answer], items: Sequence[Item], weights: Sequence[int],
                 processes: int) -> Iterator[tuple[int, Answer]]:
    """(place of an item, `work` of it) as soon as it is done, none kept. Arguments and errors as of `in_order`."""
    if processes <= 1 or len(items) <= 1:
        yield from enumerate(_one_by_one(work, items))
        return
    turns = sorted(range(len(items)), key=lambda place: -weights[place])
    with _workers(work, min(processes, len(items))) as workers:
        yield from _handed_out(workers, items, turns)


@contextmanager
def collection_paused() -> Iterator[None]:
    """No search for reference cycles in between: judging makes few, and millions of records to search in vain."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


Each = TypeVar("Each")


def _counted(answers: Iterator[Each], told: Callable[[int], None] | None) -> Iterator[Each]:
    for count, answer in enumerate(answers, 1):
        yield answer
        if told:
            told(count)


def _one_by_one(work: Callable[[Item], Answer], items: Sequence[Item]) -> Iterator[Answer]:
    with collection_paused():
        for item in items:
            yield work(item)


@dataclass(frozen=True)
class _Worker:
    process: BaseProcess
    line: "Connection[Any, Any]"

    def gone(self) -> WorkerDied:
        self.process.join(1)
        code = self.process.exitcode
        how = f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"
        return WorkerDied(f"a process that judged logs was ended {how}, perhaps for want of memory",
                          hint="Try again with --processes 1.")


@dataclass(frozen=True)
class _Failure:
    """What an item's work raised: a UserError as it is, anything else as text."""

    error: UserError | None
    text: str


def _handed_out(workers: Sequence[_Worker], items: Sequence[Item], turns: Sequence[int]) -> Iterator[tuple[int, Any]]:
    """Places and answers as they come."""
    waiting = iter(turns)
    busy: dict[int, tuple[_Worker, int]] = {}
    for worker in workers:
        _hand(worker, waiting, items, busy)
    while busy:
        for line in wait([worker.line for worker, _ in busy.values()]):
            worker, place = busy.pop(id(line))
            try:
                answer = worker.line.recv()
            except (EOFError, OSError, pickle.UnpicklingError):
                raise worker.gone() from None
            if isinstance(answer, _Failure):
                raise answer.error or RuntimeError(answer.text)
            _hand(worker, waiting, items, busy)
            yield place, answer


def _hand(worker: _Worker, waiting: Iterator[int], items: Sequence[Item],
          busy: dict[int, tuple[_Worker, int]]) -> None:
    place = next(waiting, None)
    if place is None:
        return
    try:
        worker.line.send(items[place])
    except OSError:
        raise worker.gone() from None
    busy[id(worker.line)] = (worker, place)


@contextmanager
def _workers(work: Callable[[Item], Answer], count: int) -> Iterator[Sequence[_Worker]]:
    """Processes that wait for items; ended in any case."""
    context = _context()
    workers: list[_Worker] = []
    try:
        for _ in range(count):
            ours, theirs = context.Pipe()
            inherited = [worker.line for worker in workers] + [ours] if context.get_start_method() == "fork" else []
            process = context.Process(target=_serve, args=(work, theirs, inherited), daemon=True)
            process.start()
            theirs.close()
            workers.append(_Worker(process, ours))
        yield workers
    finally:
        for worker in workers:
            worker.line.close()
            worker.process.terminate()
        for worker in workers:
            worker.process.join()


def _context() -> ForkContext | SpawnContext:
    """A copy of this process is made fastest, which is safe where it has one thread and no device."""
    alone = threading.active_count() == 1 and "torch" not in sys.modules
    if alone and sys.platform == "linux":
        return multiprocessing.get_context("fork")
    return multiprocessing.get_context("spawn")


def _serve(work: Callable[[Item], Answer], line: "Connection[Any, Any]",
           inherited: Sequence["Connection[Any, Any]"]) -> None:
    """The life of a worker: it ends when nobody speaks to it any more. An interrupt is for the process that waits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for other in inherited:
        other.close()
    with collection_paused(), suppress(EOFError, OSError):
        while True:
            line.send(_done(work, line.recv()))


def _done(work: Callable[[Item], Answer], item: Item) -> "Answer | _Failure":
    try:
        return work(item)
    except UserError as error:
        return _Failure(error, str(error))
    except Exception:
        return _Failure(None, traceback.format_exc())
