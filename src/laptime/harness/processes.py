"""The processes below a process, as Linux lists them under /proc; none are found where there is no such listing."""

import contextlib
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
PARENT, STARTED = 1, 19  # places in /proc/PID/stat behind the program's name: proc(5), fields 4 and 22


@dataclass(frozen=True)
class Process:
    """`started`: clock ticks from boot to its start, which tells a process from a later one of the same number."""

    pid: int
    started: int


def below(pid: int) -> list[Process]:
    """The children of `pid` and theirs, zombies left out."""
    children: dict[int, list[Process]] = {}
    for process, parent in _all():
        children.setdefault(parent, []).append(process)
    found = list(children.get(pid, ()))
    for process in found:  # grows while it is walked
        found += children.get(process.pid, ())
    return found


def living(processes: Iterable[Process]) -> list[Process]:
    """Those that have not ended."""
    return [process for process in processes if (now := _read(str(process.pid))) is not None and now[0] == process]


def send(processes: Iterable[Process], number: signal.Signals) -> None:
    """Signal those that have not ended."""
    for process in living(processes):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid, number)


def _all() -> list[tuple[Process, int]]:
    if not PROC.is_dir():
        return []
    found = (_read(entry) for entry in os.listdir(PROC) if entry.isdigit())
    return [one for one in found if one is not None]


def _read(pid: str) -> tuple[Process, int] | None:
    """A process and the number of its parent; None when it has ended."""
    try:
        words = (PROC / pid / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if words[:1] in ([], [b"Z"]) else (Process(int(pid), int(words[STARTED])), int(words[PARENT]))
