"""One measurement of judging, in a process of its own: `python -m laptime.bench.judged` with a Task as JSON.

Answers with a Cost as JSON. Reading of code and rules is part of judging a round; the start of Python is not.
"""

import io
import json
import logging
import os
import re
import resource
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from laptime.compliance.result import judge_folder
from laptime.layout import find_results

MIB = 2**20
PROC = Path("/proc/self/status")


@dataclass(frozen=True)
class Task:
    """Which judge, over which folder. The official one takes every `step`-th log from `first` on; the official
    summarizer takes one submitter's folder."""

    judge: Literal["ours", "official", "summarizer"]
    folder: str
    round_name: str
    processes: int = 1
    first: int = 0
    step: int = 1
    seconds: float = 60.0  # the official one begins no further log after these


@dataclass(frozen=True)
class Cost:
    """What it took: CPU seconds of all processes, seconds that passed, peak memory of the largest process."""

    logs: int
    bytes: int
    cpu: float
    wall: float
    peak_mib: float


def main(words: Sequence[str]) -> int:
    task = Task(**json.loads(words[0]))
    folder = Path(task.folder)
    cpu, start = _cpu(), time.perf_counter()
    logs = {"ours": _ours, "official": _official, "summarizer": _summarizer}[task.judge](folder, task)
    wall, cpu = time.perf_counter() - start, _cpu() - cpu
    cost = Cost(len(logs), sum(log.stat().st_size for log in logs), cpu, wall, _peak_mib())
    sys.stdout.write(json.dumps(asdict(cost)))
    return 0


def _cpu() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _peak_mib() -> float:
    """Of this process or the largest of its workers. Linux counts the parent in `ru_maxrss` of a process it started."""
    own = re.search(r"VmHWM:\s*(\d+)", PROC.read_text()) if PROC.exists() else None
    kib = int(own[1]) if own else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return max(kib, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


def _ours(folder: Path, task: Task) -> list[Path]:
    """Everything that is judged of a round: compliance, seeds, convergence, scores."""
    results = judge_folder(folder, round_name=task.round_name, level="official", processes=task.processes)
    return [run.path for result in results for run in result.runs]


def _official(folder: Path, task: Task) -> list[Path]:
    """Compliance only, one log after the other, as its own checker of whole packages calls it."""
    from mlperf_logging.compliance_checker import mlp_compliance

    logging.disable()
    until = time.perf_counter() + task.seconds
    logs = [log for result in find_results(folder) for log in result.logs][task.first::task.step]
    done = []
    for log in logs:
        if time.perf_counter() > until:
            break
        ruleset = f"{task.round_name.lstrip('v')}.0"
        checker = mlp_compliance.make_checker("training", ruleset, True, False)
        with suppress(Exception):  # it raises on some logs; they count as checked
            mlp_compliance.main(str(log), f"training_{ruleset}/common.yaml", checker)
        done.append(log)
    return done


def _summarizer(folder: Path, task: Task) -> list[Path]:
    """Scores of one submitter, from a copy: that tool rewrites scaling files. What it prints is not asked for."""
    from mlperf_logging.result_summarizer.result_summarizer import summarize_results

    logging.disable()
    with TemporaryDirectory(prefix="laptime-bench-") as name, redirect_stdout(io.StringIO()):
        copy = shutil.copytree(folder, Path(name) / folder.name)
        with suppress(Exception):  # it ends with an error on some folders, after its work on the logs
            summarize_results(str(copy), "training", f"{task.round_name.lstrip('v')}.0")
    return [log for result in find_results(folder) for log in result.logs]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
