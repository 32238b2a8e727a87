"""What a reviewer looks at in a submission: each result as the judge sees it, and facts of each log beside it.

Verdicts, times and convergence are the judge's (`compliance.result`); this file only adds what the judge has no use
for: what was logged under which key, when, by which files, and marks by which copies are recognised.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from laptime.compliance.finding import Finding, Level
from laptime.compliance.outcome import outcome
from laptime.compliance.result import BUILT_IN, Result, RunVerdict, judge_folder
from laptime.compliance.run import Run, position
from laptime.config import Json, SuitePath
from laptime.errors import UserError
from laptime.layout import below_round
from laptime.log.read import read_log
from laptime.log.record import Record, distinct
from laptime.rules.load import load_round
from laptime.rules.model import BenchmarkRules

FEWEST_LINES = 12  # shorter logs have no rhythm to recognise them by
_BLOCK = 1 << 20
_STRUCTURAL = ("eval_accuracy", "block_start", "block_stop", "epoch_start", "epoch_stop", "eval_start", "eval_stop",
               "weights_initialization", "run_start", "run_stop", "init_start", "init_stop", "seed")


@dataclass(frozen=True)
class Times:
    """Where the time of a run went, in milliseconds; None: not logged. `rest`: neither training nor evaluation."""

    init: float | None
    run: float | None
    training: float | None
    evaluation: float | None
    rest: float | None


@dataclass(frozen=True)
class LogFacts:
    """One log. `digest`: of its bytes; `rhythm`: of the times between its lines ("": too few); `values`: first per key.

    `positions`: of evaluations, in the unit of the round; `files`: source files named by its lines.
    """

    path: Path
    digest: str
    rhythm: str
    started_ms: float | None
    stopped_ms: float | None
    times: Times
    values: Mapping[str, Json]
    seeds: tuple[str, ...]
    positions: tuple[float, ...]
    files: tuple[str, ...]

    @property
    def place(self) -> str:
        """The path below the round's folder."""
        return below_round(self.path).as_posix()


@dataclass(frozen=True)
class Entry:
    """One result with the facts of its logs, in the order of its runs. `rules`: None where it could not be judged."""

    result: Result
    rules: BenchmarkRules | None
    logs: tuple[LogFacts, ...]

    @property
    def submitter(self) -> str:
        return self.result.folder.submitter

    @property
    def system(self) -> str:
        return self.result.folder.system

    @property
    def benchmark(self) -> str:
        """The folder's name, which is the log name of the round."""
        return self.result.folder.benchmark

    @property
    def place(self) -> str:
        return below_round(self.result.folder.path / "x").parent.as_posix()

    @property
    def title(self) -> str:
        return f"{self.benchmark} on {self.system}" if self.system else self.benchmark

    @property
    def runs(self) -> Iterator[tuple[RunVerdict, LogFacts]]:
        return zip(self.result.runs, self.logs, strict=True)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Those of the folder, then those of its logs."""
        return self.result.findings + tuple(finding for run in self.result.runs for finding in run.findings)

    @cached_property
    def hyperparameters(self) -> Mapping[str, Json]:
        """What the first log gives for the keys that the round asks of this benchmark alone, by our names."""
        if self.rules is None or not self.logs:
            return {}
        return hyperparameters(self.rules, self.result.division, self.logs[0].values)

    @property
    def batch_size(self) -> float | None:
        value = self.hyperparameters.get("global_batch_size")
        return value if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None

    @property
    def convergence(self) -> float | None:
        """Mean of what the runs needed, in the unit of the round."""
        if self.result.score is not None:
            return self.result.score.convergence_mean
        return self.result.rcp.submission_mean if self.result.rcp else None


def entries(path: Path, *, round_name: str | None = None, level: Level = "rules", suite: SuitePath = BUILT_IN,
            progress: Callable[[int, int], None] | None = None) -> tuple[Entry, ...]:
    """Every result at `path`, judged, with the facts of its logs. Raises UserError where there is nothing."""
    results = judge_folder(path, round_name=round_name, level=level, suite=suite, progress=progress)
    return tuple(_entry(result, level, suite) for result in results)


def hyperparameters(rules: BenchmarkRules, division: str, values: Mapping[str, Json]) -> dict[str, Json]:
    """The logged values of a benchmark's own keys by our names, in log order; what shapes the log is left out."""
    names = {rule.name: values[rule.key] for rule in rules.keys if rule.key in values}
    return {rule.name: values[rule.key] for rule in rules.hyperparameters(division, names)
            if rule.key in values and rule.key not in _STRUCTURAL}


def _entry(result: Result, level: Level, suite: SuitePath) -> Entry:
    round_ = load_round(result.round, suite)
    rules = round_.benchmarks.get(result.benchmark)
    return Entry(result, rules, tuple(_facts(run, rules, level, suite) for run in result.runs))


def _facts(verdict: RunVerdict, rules: BenchmarkRules | None, level: Level, suite: SuitePath) -> LogFacts:
    log = read_log(verdict.path)
    digest, nothing = _digest(verdict.path), Times(None, None, None, None, None)
    if rules is None or not log.records:
        return LogFacts(log.path, digest, "", None, None, nothing, {}, (), (), ())
    run = Run(log, load_round(verdict.round, suite), rules, level)
    start, stop = run.start(), run.stop()
    places = (position(run, record) for record in distinct(outcome(run).evaluations))
    return LogFacts(
        path=log.path, digest=digest, rhythm=_rhythm(log.records),
        started_ms=start.time_ms if start else None, stopped_ms=stop.time_ms if stop else None,
        times=times(run, verdict), values=run.names,
        seeds=tuple(dict.fromkeys(str(record.value) for record in run.of("seed") if record.value is not None)),
        positions=tuple(place for place in places if place is not None and math.isfinite(place)),
        files=tuple(sorted({str(record.metadata["file"]) for record in log.records if "file" in record.metadata})))


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                found.update(block)
    except OSError as problem:
        raise UserError(f"cannot read the log {path}: {problem.strerror or problem}") from None
    return found.hexdigest()


def _rhythm(records: Sequence[Record]) -> str:
    """The same for logs whose lines follow each other in the same times, whenever that was and whatever they say."""
    if len(records) < FEWEST_LINES:
        return ""
    steps = (f"{record.key} {record.time_ms - records[0].time_ms:.0f}\n" for record in records)
    return hashlib.sha256("".join(steps).encode(errors="surrogatepass")).hexdigest()


def times(run: Run, verdict: RunVerdict) -> Times:
    """Where the time of a run went: intervals within the run; an evaluation inside a block is not training."""
    start, stop = run.start(), run.stop()
    init = None if verdict.init_seconds is None else 1000 * verdict.init_seconds
    if start is None or stop is None or not start.time_ms <= stop.time_ms:
        return Times(init, None, None, None, None)
    bounds = (start.time_ms, stop.time_ms)
    evaluated = _spans(run, "eval", bounds)
    trained = _spans(run, "block", bounds) or _spans(run, "epoch", bounds)
    evaluation, both = _length(evaluated), _length([*trained, *evaluated])
    whole = stop.time_ms - start.time_ms
    return Times(init, whole, both - evaluation if trained else None, evaluation if evaluated else None,
                 whole - both if trained else None)


def _spans(run: Run, name: str, bounds: tuple[float, float]) -> list[tuple[float, float]]:
    """(from, to) of every interval of one kind, cut at the bounds; one that stays open ends with them."""
    spans, opened = [], None
    for record in run.structure:
        moment = run.moments[record.key]
        if moment == f"{name}_start" and opened is None:
            opened = record.time_ms
        elif moment == f"{name}_stop" and opened is not None:
            spans.append((opened, record.time_ms))
            opened = None
    if opened is not None:
        spans.append((opened, bounds[1]))
    cut = ((max(low, bounds[0]), min(high, bounds[1])) for low, high in spans)
    return [(low, high) for low, high in cut if low < high]


def _length(spans: Sequence[tuple[float, float]]) -> float:
    """Of the union."""
    total, end = 0.0, -math.inf
    for low, high in sorted(spans):
        total += max(0.0, high - max(low, end))
        end = max(end, high)
    return total
