"""Utilisation and floor of every benchmark, fitted on half of the published entries and tested on the other half.

`python -m laptime.planning.calibration [--store FILE]` writes published.csv (from a results store, where one is given)
and calibration.json; both are committed. The half is chosen by a hash (`Entry.for_fitting`).
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from math import exp, log
from pathlib import Path
from statistics import median
from typing import TypedDict

from laptime.errors import UserError
from laptime.planning import published
from laptime.planning.accelerators import accelerator
from laptime.planning.best import options
from laptime.planning.layouts import Spread, candidates
from laptime.planning.published import Entry
from laptime.planning.timing import Fit, Setting, step
from laptime.planning.workload import Workload, latest_rules, measured, samples_per_unit, samples_to_target, workload
from laptime.suite import load
from laptime.training.distributed.layout import Layout

FILE = "calibration.json"
FIRST_GUESS = Fit(0.35, 0.001)  # for choosing layouts in the first round of fitting
ROUNDS = 2  # of choosing layouts and fitting
UTILISATIONS = [exp(log(0.0005) + i * log(4000) / 159) for i in range(160)]  # 0.0005 .. 2: tuned runs compute in 8 bits
FLOORS = [0.0] + [exp(log(1e-5) + i * log(1e5) / 59) for i in range(60)]  # 10 microseconds .. 1 s
ENOUGH = 4  # entries, below which the floor is not fitted


class Fitted(TypedDict):
    utilisation: float
    floor_s: float


class Worst(TypedDict):
    entry: str
    accelerator: str
    count: int
    predicted_minutes: float
    measured_minutes: float


class Report(TypedDict):
    """calibration.json. Errors are shares of the measured minutes, without sign."""

    command: str
    remark: str
    benchmarks: dict[str, Fitted]
    fitted_entries: int
    tested_entries: int
    median_error: float
    median_error_by_benchmark: dict[str, float]
    worst: Worst


@dataclass(frozen=True)
class Case:
    """An entry, and the layout that planning would choose for it."""

    entry: Entry
    work: Workload
    layout: Layout
    spread: Spread


@dataclass(frozen=True)
class Tested:
    """One entry of the half that was not fitted to. `error`: predicted over measured minutes, less one."""

    entry: Entry
    minutes: float
    error: float


def fits() -> Mapping[str, Fit]:
    """What was fitted, by benchmark; "" is the median of all, for those that nobody has published."""
    return {name: Fit(one["utilisation"], one["floor_s"]) for name, one in kept()["benchmarks"].items()}


def errors() -> Mapping[str, float]:
    """Median error on the entries that were not fitted to, by benchmark."""
    return kept()["median_error_by_benchmark"]


def kept() -> Report:
    """The committed report."""
    found: Report = json.loads(files(__package__).joinpath(FILE).read_text(encoding="utf-8"))
    return found


def fitted(entries: Sequence[Entry]) -> dict[str, Fit]:
    """Fits of every benchmark in `entries`, and their medians under ""."""
    names = sorted({entry.benchmark for entry in entries})
    found = {name: _fit_one(name, [entry for entry in entries if entry.benchmark == name]) for name in names}
    found[""] = Fit(median(one.utilisation for one in found.values()), median(one.floor_s for one in found.values()))
    return found


def _fit_one(name: str, entries: Sequence[Entry]) -> Fit:
    work, layout, fit = workload(name), layout_of(name), FIRST_GUESS
    for _ in range(ROUNDS):
        cases = [Case(entry, work, layout, chosen(work, layout, entry, fit)) for entry in entries]
        fit = min((Fit(u, floor) for u in UTILISATIONS for floor in (FLOORS if len(cases) >= ENOUGH else FLOORS[:1])),
                  key=lambda one: _misfit(cases, one))
    return fit


def _misfit(cases: Sequence[Case], fit: Fit) -> float:
    """Sum of absolute log ratios of predicted to measured steps: no single entry decides."""
    return sum(abs(log(_seconds(case, fit) / case.entry.step_seconds)) for case in cases)


def _seconds(case: Case, fit: Fit) -> float:
    entry = case.entry
    return step(Setting(case.work, case.layout, accelerator(entry.accelerator), fit), case.spread, entry.batch).seconds


def chosen(work: Workload, layout: Layout, entry: Entry, fit: Fit) -> Spread:
    """The layout that planning would choose; nobody logs the one that ran."""
    kind = accelerator(entry.accelerator)
    batch = max(entry.count, round(entry.batch / entry.count) * entry.count)  # uneven shares are beyond planning
    found = options(Setting(work, layout, kind, fit), entry.count, batch)
    return found[0].spread if found else next(candidates(layout, kind, entry.count, batch))


def layout_of(name: str) -> Layout:
    benchmark = load(name, "benchmark").BENCHMARK
    found: Layout = benchmark.layout(benchmark.presets["full"]())
    return found


def tested(entries: Sequence[Entry], known: Mapping[str, Fit]) -> list[Tested]:
    """Minutes to the target by reference points and fits, against those measured; the worst first."""
    found = []
    for entry in entries:
        work, layout = workload(entry.benchmark), layout_of(entry.benchmark)
        fit = known.get(entry.benchmark, known[""])
        case = Case(entry, work, layout, chosen(work, layout, entry, fit))
        minutes = _seconds(case, fit) * samples_by_reference(entry) / entry.batch / 60
        found.append(Tested(entry, minutes, minutes / entry.minutes - 1))
    return sorted(found, key=lambda one: -abs(log(1 + one.error)))


def samples_by_reference(entry: Entry) -> float:
    """Nobody knows before a run how many samples it will need: the reference points of its round say."""
    _, rules = latest_rules(entry.benchmark, entry.round)
    if not rules.references:
        _, rules = latest_rules(entry.benchmark)
    return samples_to_target(rules, entry.batch, samples_per_unit(entry.benchmark, rules.references[0].unit))


def report(entries: Sequence[Entry]) -> Report:
    """What is kept: fits, and how well they predict the other half."""
    known = fitted([entry for entry in entries if entry.for_fitting])
    held_back = tested([entry for entry in entries if not entry.for_fitting], known)
    worst = held_back[0]
    return {
        "command": "python -m laptime.planning.calibration",
        "remark": "fitted to figures computed from public logs, not verified by anybody",
        "benchmarks": {name: {"utilisation": round(fit.utilisation, 5), "floor_s": round(fit.floor_s, 6)}
                       for name, fit in known.items()},
        "fitted_entries": sum(entry.for_fitting for entry in entries), "tested_entries": len(held_back),
        "median_error": round(median(abs(one.error) for one in held_back), 4),
        "median_error_by_benchmark": {
            name: round(median(abs(one.error) for one in held_back if one.entry.benchmark == name), 4)
            for name in sorted({one.entry.benchmark for one in held_back})},
        "worst": {"entry": f"{worst.entry.round}/{worst.entry.submitter}/{worst.entry.system}/{worst.entry.benchmark}",
                  "accelerator": worst.entry.accelerator, "count": worst.entry.count,
                  "predicted_minutes": round(worst.minutes, 2), "measured_minutes": round(worst.entry.minutes, 2)},
    }


def units() -> dict[tuple[str, str], float]:
    """Samples in one unit of convergence, of every benchmark whose work is known."""
    found = {}
    for name in measured():
        for unit in ("samples", "epochs", "tokens"):
            try:
                found[name, unit] = samples_per_unit(name, unit)
            except UserError:
                continue
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, help="results store to take the published entries from")
    arguments = parser.parse_args()
    here = Path(__file__).parent
    if arguments.store:
        published.write(published.taken(arguments.store, units()), here / published.FILE)
    text = json.dumps(report(published.entries()), indent=1) + "\n"
    (here / FILE).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
