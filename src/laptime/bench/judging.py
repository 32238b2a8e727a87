"""How fast whole rounds are judged, beside the official compliance checker on logs of the same round, in turn.

Ours does all there is to do (compliance, seeds, convergence, scores), the official one its compliance check only.
"""

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from laptime.bench import estimate
from laptime.bench.estimate import Estimate
from laptime.bench.judged import MIB, Cost, Task
from laptime.bench.row import Budget, Row, measured, skipped
from laptime.errors import UserError
from laptime.layout import find_results, rounds_in_path
from laptime.rules.load import round_names

RATE = Budget(172, ">=")  # logs per CPU second: 1,717 logs in 10 s (docs/bench.md)
RATIO = Budget(50, ">=")
PEAK = Budget(150, "<=")  # MiB
SPEEDUP = Budget(1.8, ">=")
SAMPLED = 60  # the official checker takes every so-many-th log in each turn
TURNS = 3
LEAST_LOGS = 10  # of a submitter that the official summarizer is measured on


def measure(rounds: tuple[Path, ...], *, quick: bool, tell: Callable[[str], None]) -> Iterator[Row]:
    """Rows for every round: a folder of its submitters, or an archive of one. Raises UserError."""
    if not rounds:
        yield skipped("judge", "whole rounds", "logs/s", "no public round at hand: name one with --rounds")
    for path in rounds:
        with _folder(path, tell) as folder:
            name = next((name for name in rounds_in_path(folder) if name in round_names()), None)
            if name is None:
                raise UserError(f"expected a folder or archive named like its round, found {path}")
            yield from _round(folder, name, TURNS if not quick else 1, SAMPLED if not quick else 20 * SAMPLED, tell)


def _round(folder: Path, name: str, turns: int, step: int, tell: Callable[[str], None]) -> Iterator[Row]:
    official_at_hand = find_spec("mlperf_logging") is not None
    ours, official = [], []
    for turn in range(turns):
        tell(f"judging {name}, turn {turn + 1} of {turns}")
        ours.append(_cost(Task("ours", str(folder), name)))
        if official_at_hand:
            official.append(_cost(Task("official", str(folder), name, first=turn * step // turns, step=step)))
    first, what = ours[0], f"check and score {name}"
    details = {"logs": first.logs, "mebibytes": first.bytes / MIB, "turns": turns}
    rates = [cost.logs / cost.cpu for cost in ours]
    yield measured("judge", what, "logs/s", estimate.mean(rates), RATE, note="of one core", details=details)
    yield measured("judge", what, "MB/s", estimate.mean([cost.bytes / 1e6 / cost.cpu for cost in ours]))
    yield measured("judge", what, "CPU s", estimate.mean([cost.cpu for cost in ours]))
    yield _exact(f"{what}, peak memory", "MiB", max(cost.peak_mib for cost in ours), PEAK)
    yield from _beside_official(name, rates, official, step)
    yield from _beside_summarizer(folder, name, rates)
    yield _side_by_side(folder, name, ours)


def _beside_official(name: str, rates: list[float], official: list[Cost], step: int) -> Iterator[Row]:
    what = f"official compliance check of {name}"
    if not official:
        yield skipped("judge", what, "logs/s", "mlperf-logging is not installed: pip install mlperf-logging")
        return
    theirs = [cost.logs / cost.cpu for cost in official]
    sample = f"every {step}th log in each turn, {sum(cost.logs for cost in official)} in all"
    yield measured("judge", what, "logs/s", estimate.mean(theirs), note=sample)
    yield measured("judge", what, "MB/s", estimate.mean([cost.bytes / 1e6 / cost.cpu for cost in official]),
                   note=sample)
    yield measured("judge", f"ours / official on {name}", "x", estimate.ratio(rates, theirs), RATIO,
                   note="ours also scores")


def _beside_summarizer(folder: Path, name: str, rates: list[float]) -> Iterator[Row]:
    """Its whole table would take minutes: the smallest submitter of some size stands for the round."""
    sizes = {path: [log for result in find_results(path) for log in result.logs]
             for path in sorted(folder.iterdir()) if (path / "results").is_dir()}
    enough = {path: sum(log.stat().st_size for log in logs) for path, logs in sizes.items() if len(logs) >= LEAST_LOGS}
    if find_spec("mlperf_logging") is None or not enough:
        return
    smallest = min(enough, key=lambda path: enough[path])
    cost = _cost(Task("summarizer", str(smallest), name))
    note = f"{cost.logs} logs of {smallest.name}"
    rate = cost.logs / cost.cpu
    yield measured("judge", f"official summarizer on {name}", "logs/s", Estimate(rate, rate, rate), note=note)
    yield measured("judge", f"ours / official summarizer on {name}", "x", estimate.ratio(rates, [rate] * len(rates)),
                   note="ours on the whole round")


def _side_by_side(folder: Path, name: str, alone: list[Cost]) -> Row:
    what, cores = f"processes side by side on {name}", len(os.sched_getaffinity(0))
    if cores < 2:
        return skipped("judge", what, "x", "one core only")
    both = [_cost(Task("ours", str(folder), name, processes=2)) for _ in alone]
    found = estimate.ratio([cost.wall for cost in alone], [cost.wall for cost in both])
    return measured("judge", f"two {what}", "x", found, SPEEDUP, note="times as fast as one")


def _exact(what: str, unit: str, value: float, budget: Budget) -> Row:
    return measured("judge", what, unit, Estimate(value, value, value), budget)


def _cost(task: Task) -> Cost:
    words = [sys.executable, "-m", "laptime.bench.judged", json.dumps(asdict(task))]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"judging for measurement failed: {done.stderr.strip().splitlines()[-1:]}")
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


@contextmanager
def _folder(path: Path, tell: Callable[[str], None]) -> Iterator[Path]:
    """The folder itself, or what an archive holds, unpacked for as long as it is needed."""
    if path.is_dir():
        yield path
        return
    with TemporaryDirectory(prefix="laptime-bench-") as name:
        tell(f"unpacking {path}")
        try:
            with tarfile.open(path) as archive:
                archive.extractall(name, filter="data")
        except (OSError, tarfile.TarError) as problem:
            raise UserError(f"cannot unpack {path}: {problem}", hint="Give a folder or a tar archive.") from None
        inner = [found for found in Path(name).iterdir() if found.is_dir() and rounds_in_path(found)]
        yield inner[0] if len(inner) == 1 else Path(name)
