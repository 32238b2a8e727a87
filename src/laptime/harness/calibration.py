"""Calibration of a house round: reference runs that make its convergence points, and planted faults that must miss.

A reference run goes on to the limit even after it reached the target, so that the target can be chosen from whole
curves; where it would have stopped is exact, since a run up to there is the same. The benchmark names its faults.
"""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import orjson

from laptime.config import Config, RunRequest, flat
from laptime.errors import FINE, NOT_CONVERGED, Incomplete, UserError
from laptime.harness.preflight import Preflight, resolve
from laptime.harness.preparation import Listener, data_folder, prepare
from laptime.harness.runset import Reporter, run_set
from laptime.rules.model import BenchmarkRules, Interval
from laptime.suite import load
from laptime.training.data.store import MANIFEST, Manifest, Store

REFERENCE = "reference"
TABLE = "calibration.csv"
SEPARATOR = "/"  # between the metrics of one evaluation
POINT_FIELDS = ("in", "name", "batch_size", "unit", "values", "hyperparameters")
FIELDS = ("round", "kind", "seed", "units", "best", "curve")

Measured = float | Mapping[str, float]  # of a shortcut: the target's metric, or each of them in the target's order


@dataclass(frozen=True)
class CalibrationRun:
    """One run. `units`: evaluation position (in the round's unit) that first met the target, None: never; `best`: value
    of the target's first metric; `curve`: (position, value of that metric) of every evaluation; `others`: the values of
    the target's other metrics, evaluation by evaluation, where it has any."""

    round: str
    kind: str
    seed: int
    units: float | None
    best: float
    curve: tuple[tuple[float, float], ...]
    others: tuple[tuple[float, ...], ...] = ()

    def values(self) -> tuple[tuple[float, tuple[float, ...]], ...]:
        """(position, values of all metrics) of every evaluation."""
        others = self.others or ((),) * len(self.curve)
        return tuple((position, (value, *rest)) for (position, value), rest in zip(self.curve, others, strict=True))


def reference_runs(request: RunRequest, reporter: Reporter) -> list[CalibrationRun]:
    """Make (or complete) the reference runs of a request and read them.

    Raises Incomplete when they were interrupted, UserError for an official round: its points are published.
    """
    if resolve(request).round.kind != "house":
        raise UserError(f"expected a house round, found {request.round}: the points of official rounds are published",
                        hint="See: laptime rcp show")
    return _made(replace(request, stop_at_target=False), REFERENCE, reporter)


def fault_runs(request: RunRequest, reporter: Reporter) -> list[CalibrationRun]:
    """Make (or complete) the runs of every planted fault of a benchmark, each in a folder of its own below `out`."""
    faults: Mapping[str, Sequence[str]] = load(request.benchmark, "config", request.suite).FAULTS
    assert request.out is not None
    runs: list[CalibrationRun] = []
    for name, overrides in faults.items():
        reporter.message(f"planted fault: {name} ({', '.join(overrides)})")
        broken = replace(request, division="open", overrides=(*request.overrides, *overrides),
                         out=request.out / name.replace(" ", "-"))
        runs += _made(broken, name, reporter)
    return runs


def measure_shortcuts(request: RunRequest, listener: Listener) -> tuple[BenchmarkRules, dict[str, Measured]]:
    """The target's metrics as each shortcut of the benchmark's module `shortcuts` gets it, on prepared data."""
    root = prepare(request, listener)
    flight = resolve(request)
    store = Store.open(root)
    store.unlock()  # no clock runs here
    measures: Mapping[str, Callable[[Config, Store], Measured]] = load(request.benchmark, "shortcuts",
                                                                       request.suite).SHORTCUTS
    return flight.rules, {name: measure(flight.config, store) for name, measure in measures.items()}


def write_shortcuts(path: Path, found: Mapping[str, Measured]) -> None:
    """The table of measured shortcuts."""
    _write(path, "shortcut,value\n" + "".join(f"{name},{shown(values)}\n" for name, values in found.items()))


def shown(measured: Measured) -> str:
    """A measurement as tables have it."""
    return _joined(list(measured.values()) if isinstance(measured, Mapping) else [measured])


def _joined(values: Sequence[float]) -> str:
    return SEPARATOR.join(f"{value:.4f}" for value in values)


def values_of(text: str) -> tuple[float, ...]:
    """The values of one evaluation or shortcut as a table has them: one per metric of the target."""
    return tuple(float(value) for value in text.split(SEPARATOR))


def write_table(path: Path, runs: Iterable[CalibrationRun]) -> None:
    """Replace, in a calibration table, the rows of the rounds and kinds that `runs` has."""
    runs = list(runs)
    kinds = {(run.round, run.kind) for run in runs}
    rows = [row for row in read_table(path) if (row.round, row.kind) not in kinds] + runs
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FIELDS)
    for run in rows:
        units = "" if run.units is None else f"{run.units:g}"
        curve = " ".join(f"{position:g}:{_joined(values)}" for position, values in run.values())
        writer.writerow([run.round, run.kind, run.seed, units, f"{run.best:.4f}", curve])
    _write(path, text.getvalue())


def read_table(path: Path) -> list[CalibrationRun]:
    """The rows of a calibration table; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [_row(row) for row in csv.DictReader(file)]


def write_reference_point(rules: BenchmarkRules, config: Config, runs: Sequence[CalibrationRun], path: Path) -> str:
    """Put the runs into the table at `path` as the point of this round and batch size; returns its name.

    Raises UserError when a reference run never reached the target: such a target is no target.
    """
    missed = [run.seed for run in runs if run.units is None]
    if missed:
        raise UserError(f"{len(missed)} of {len(runs)} reference runs never reached the target (seed {missed[0]}, ...)",
                        hint="Lower the target of the round or train longer; no point was written.")
    name = f"{rules.name}_{rules.round}_{config.global_batch_size}"
    fields, rows = _points(path)
    rows = [row for row in rows if row["name"] != name]
    values = " ".join(f"{run.units:g}" for run in runs)
    rows.append(dict.fromkeys(fields, "") | {
        "in": rules.round, "name": name, "batch_size": str(config.global_batch_size), "unit": rules.convergence_unit,
        "values": values, "hyperparameters": _free(rules, config)})
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    _write(path, text.getvalue())
    return name


def _points(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    if not path.exists():
        return list(POINT_FIELDS), []
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        return list(reader.fieldnames or ()), list(reader)


def reached(curve: Iterable[tuple[float, Sequence[float]]], targets: Sequence[Interval]) -> float | None:
    """The first position of a curve of (position, values) at which every metric meets its target."""
    return next((position for position, values in curve
                 if all(target.contains(value) for target, value in zip(targets, values, strict=True))), None)


def best(values: Sequence[float], target: Interval) -> float:
    """The best of some values of a metric: the lowest where the target has no lower end, else the highest."""
    return min(values) if target.low is None else max(values)


def _free(rules: BenchmarkRules, config: Config) -> str:
    """The settings that a closed run may change, as the reference runs had them."""
    leaves = flat(config).items()
    return ";".join(f"{name}={value}" for name, value in leaves if any(fnmatchcase(name, one) for one in rules.free))


def _made(request: RunRequest, kind: str, reporter: Reporter) -> list[CalibrationRun]:
    outcome = run_set(request, reporter)
    if outcome.exit_code not in (FINE, NOT_CONVERGED):
        raise Incomplete(outcome.message, exit_code=outcome.exit_code, hint="Add --resume to go on.")
    flight = resolve(request)
    epoch = _samples_per_epoch(flight)
    return [_read(path, kind, flight.rules, epoch)
            for path in sorted(outcome.folder.glob("record_*.json"), key=_number)
            if (outcome.folder / f"result_{_number(path)}.txt").exists()]


def _samples_per_epoch(flight: Preflight) -> int | None:
    """Of the prepared data, for positions that are fractions; None where there are none any more."""
    root = data_folder(flight)
    if not (root / MANIFEST).exists():
        return None
    return flight.benchmark.sizes(flight.config, Manifest.load(root)).samples_per_epoch


def _read(path: Path, kind: str, rules: BenchmarkRules, samples_per_epoch: int | None) -> CalibrationRun:
    """A calibration run from its record."""
    record = orjson.loads(path.read_bytes())
    targets = list(rules.target.values())
    names = {**record.get("hyperparameters", {}), "samples_per_epoch": samples_per_epoch}
    found = [(_position(names | one, rules),
              tuple(float(one["metrics"][metric]) for metric in rules.target)) for one in record["evaluations"]]
    return CalibrationRun(rules.round, kind, int(record["seed"]), reached(found, targets),
                          best([values[0] for _, values in found], targets[0]), *_split(found))


def _split(found: Iterable[tuple[float, tuple[float, ...]]]) -> tuple[tuple[tuple[float, float], ...],
                                                                     tuple[tuple[float, ...], ...]]:
    """The curve of the first metric, and the values of the others where there are any."""
    found = list(found)
    others = tuple(values[1:] for _, values in found)
    return tuple((position, values[0]) for position, values in found), others if any(others) else ()


def _row(row: Mapping[str, str]) -> CalibrationRun:
    units = float(row["units"]) if row["units"] else None
    return CalibrationRun(row["round"], row["kind"], int(row["seed"]), units, float(row["best"]),
                          *_split(_point(text) for text in row["curve"].split()))


def _point(text: str) -> tuple[float, tuple[float, ...]]:
    position, _, values = text.partition(":")
    return float(position), values_of(values)


def _position(names: Mapping[str, float | None], rules: BenchmarkRules) -> float:
    value = rules.position.value.value({name: number for name, number in names.items() if number is not None})
    assert isinstance(value, int | float)
    return value


def _number(path: Path) -> int:
    return int(path.stem.rpartition("_")[2])


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}", hint="Choose another --table.") from None
