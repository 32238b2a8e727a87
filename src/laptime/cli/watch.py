"""Watching a set of runs: one line per evaluation and ending; in a terminal also a live line in between.

Everything here goes to stderr: stdout is for the answer.
"""

import sys
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, TextIO

from laptime.cli.terminal import clock, minutes

if TYPE_CHECKING:
    from rich.status import Status

    from laptime.harness.progress import RunEvent
    from laptime.harness.runset import RunOutcome


class Watcher(AbstractContextManager["Watcher"], Protocol):
    """A `harness.runset.Reporter` that lives as long as a command."""

    def message(self, text: str) -> None: ...
    def run_started(self, index: int, total: int, seed: int) -> None: ...
    def event(self, index: int, event: "RunEvent") -> None: ...
    def run_ended(self, outcome: "RunOutcome") -> None: ...


def watcher() -> "Plain":
    """The watcher that suits where stderr goes."""
    return Live() if sys.stderr.isatty() else Plain(sys.stderr)


class Plain:
    """Plain lines: run starts, evaluations, endings."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __enter__(self) -> "Plain":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to tidy up."""

    def message(self, text: str) -> None:
        self.line(text)

    def run_started(self, index: int, total: int, seed: int) -> None:
        self.line(f"run {index + 1} of {total}, seed {seed}")

    def event(self, index: int, event: "RunEvent") -> None:
        if event.kind == "evaluated":
            self.line(evaluation_line(event))
        elif event.kind == "warning":
            self.line(event.text)

    def run_ended(self, outcome: "RunOutcome") -> None:
        self.line(ending_line(outcome))

    def line(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class Live(Plain):
    """Plain lines with a live line below them."""

    def __init__(self) -> None:
        from rich.console import Console

        super().__init__(sys.stderr)
        self._console = Console(stderr=True, highlight=False)
        self._status: Status | None = None

    def __enter__(self) -> "Live":
        self._status = self._console.status("starting", spinner="line", refresh_per_second=4)
        self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def event(self, index: int, event: "RunEvent") -> None:
        super().event(index, event)
        if event.kind != "warning":
            self._show(live_line(event))

    def run_ended(self, outcome: "RunOutcome") -> None:
        super().run_ended(outcome)
        self._show("")

    def line(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def _show(self, text: str) -> None:
        from rich.text import Text

        if self._status is not None:
            self._status.update(Text(text, overflow="ellipsis", no_wrap=True))


def evaluation_line(event: "RunEvent") -> str:
    """Such as "    1:05  epoch   4  eval_accuracy 0.512 (target eval_accuracy >= 0.75)  2150 samples/s"."""
    values = ", ".join(f"{name} {value:.4f}" for name, value in event.metrics.items())
    return (f"  {clock(event.elapsed_s):>7}  epoch {event.epoch:3d}  {values} (target {event.target})"
            f"  {event.samples_per_second:,.0f} samples/s{left(event)}")


def live_line(event: "RunEvent") -> str:
    """What the run is doing just now."""
    if event.kind == "phase":
        return event.text
    values = ", ".join(f"{name} {value:.4f}" for name, value in event.metrics.items())
    return (f"{clock(event.elapsed_s)}  epoch {event.epoch}  {event.samples_per_second:,.0f} samples/s  "
            f"{values + '  ' if values else ''}target {event.target}{left(event)}")


def left(event: "RunEvent") -> str:
    return "" if event.remaining_s is None else f"  about {clock(event.remaining_s)} left"


def ending_line(outcome: "RunOutcome") -> str:
    """How a run ended, in one line."""
    parts = [f"run {outcome.index + 1} {outcome.status}"]
    if outcome.seconds is not None:
        parts.append(f"after {minutes(outcome.seconds)}")
    return " ".join(parts) + (f": {outcome.message}" if outcome.message else "")


