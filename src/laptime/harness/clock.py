"""The clock of a run: one reading of the wall clock, then monotonic time, so that no adjustment can bend a result."""

import time


class Clock:
    """Milliseconds since 1970, never running backwards."""

    def __init__(self) -> None:
        self._wall_ns = time.time_ns()
        self._monotonic_ns = time.monotonic_ns()

    def now_ms(self) -> int:
        return (self._wall_ns + time.monotonic_ns() - self._monotonic_ns) // 1_000_000

    def not_before(self, stamp_ms: int) -> None:
        """Go on from a stamp of an earlier clock, where the wall clock was put back since."""
        self._wall_ns += max(0, stamp_ms - self.now_ms()) * 1_000_000


class Stopwatch:
    """Seconds since it was made, monotonic."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def seconds(self) -> float:
        return time.monotonic() - self._start
