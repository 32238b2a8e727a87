"""How long the first screen takes: user CPU seconds of whole commands, Python's own start included."""

import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from laptime.bench.estimate import Estimate
from laptime.bench.row import Budget, Row, measured, skipped
from laptime.errors import FINDINGS, FINE

BUDGET = Budget(0.3, "<=")  # seconds of user CPU (docs/bench.md)
REPEATS = 9
PROGRAM = (sys.executable, "-m", "laptime")


def measure(name: str, log: Path, *, repeats: int) -> list[Row]:
    """Commands that need no torch. `log`: a log to check."""
    commands = {"--help": ["--help"], "list": ["list"], f"show {name}": ["show", name],
                "check ONE_LOG": ["check", str(log)]}
    rows = [_row("python itself (pass)", (sys.executable, "-c", "pass"), repeats, None)]
    return rows + [_row(f"laptime {what}", (*PROGRAM, *words), repeats, BUDGET) for what, words in commands.items()]


def user_seconds(command: Sequence[str]) -> tuple[float, int]:
    """User CPU seconds and exit code of one process."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet, stdin=quiet) as child:
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime, child.returncode


def _row(what: str, command: Sequence[str], repeats: int, budget: Budget | None) -> Row:
    _, code = user_seconds(command)  # once unmeasured: byte code is cached now
    if code not in (FINE, FINDINGS):
        return skipped("start", what, "s", f"exit code {code}")
    times = sorted(user_seconds(command)[0] for _ in range(repeats))
    middle = statistics.median(times)
    spread = Estimate(middle, times[len(times) // 4], times[-1 - len(times) // 4])
    return measured("start", what, "s", spread, budget, note="median and quartiles",
                    details={"repeats": repeats, "exit_code": code})
