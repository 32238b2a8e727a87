"""Two things timed side by side, in turn, so that whatever disturbs the machine disturbs both."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

Step = Callable[[], None]
Timer = Callable[[], float]


def nothing() -> None:
    """The default synchronisation: a CPU is always done."""


@dataclass
class Pairs:
    """Seconds per call; entry i of both lists was measured back to back."""

    first: list[float] = field(default_factory=list)
    second: list[float] = field(default_factory=list)


def timed(step: Step, calls: int, synchronise: Step = nothing, timer: Timer = time.perf_counter) -> float:
    """Seconds per call over `calls` calls, the device's work included."""
    synchronise()
    start = timer()
    for _ in range(calls):
        step()
    synchronise()
    return (timer() - start) / calls


def interleaved(first: Step, second: Step, pairs: int, *, calls: tuple[int, int] = (1, 1), synchronise: Step = nothing,
                timer: Timer = time.perf_counter) -> Pairs:
    """`pairs` pairs of `calls` calls each, in turn."""
    return in_turn(lambda: timed(first, calls[0], synchronise, timer),
                   lambda: timed(second, calls[1], synchronise, timer), pairs)


def in_turn(first: Timer, second: Timer, pairs: int) -> Pairs:
    """What both answer, the order within pairs alternating (AB BA AB ...), so that a steady drift cancels."""
    found = Pairs()
    for i in range(pairs):
        for turn in ((0, 1), (1, 0))[i % 2]:
            measure, times = ((first, found.first), (second, found.second))[turn]
            times.append(measure())
    return found


def calls_for(seconds_per_call: float, at_least: float) -> int:
    """How many calls fill `at_least` seconds."""
    return max(1, round(at_least / seconds_per_call + 0.5))


class OutOfTime(BaseException):
    """A time limit passed. No `Exception`, so that nothing in between takes it for a fault of its own."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise OutOfTime in this block after `seconds`; without effect outside the main thread, where no alarm rings."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return
    previous = signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, previous)


def _ring(number: int, frame: FrameType | None) -> None:
    raise OutOfTime
