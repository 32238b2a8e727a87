"""Verdicts, scores and convergence of logs and folders: the only place where they become one result.

Needs no terminal and no training: the command line, the results store and the packager all ask here.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from laptime import config
from laptime.compliance import clock, folder, grammar, keys, numbering, order, scaling, tensors
from laptime.compliance import outcome as outcomes
from laptime.compliance.finding import Finding, Level
from laptime.compliance.rounds import check_round, round_of, rounds_of
from laptime.compliance.run import Run, catalogued
from laptime.config import Json, SuitePath, nearest
from laptime.layout import ResultFolder, find_results
from laptime.log.read import Log, read_log
from laptime.rules.load import by_log_name, load_round
from laptime.rules.model import BenchmarkRules, Round
from laptime.scoring.olympic import mean, olympic, olympic_mean, run_minutes
from laptime.scoring.rcp import RcpDecision, check_convergence
from laptime.scoring.spread import Range, bootstrap_interval, sample_deviation, student_interval, variation

BUILT_IN = SuitePath()
Status = Literal["converged", "not converged", "invalid", "not judged"]

_OFFICIAL: tuple[Callable[[Run], Iterator[Finding]], ...] = (
    keys.check_keys, order.check_clock_order, clock.check_initialisation, tensors.check_tensors)
_STRUCTURE: tuple[Callable[[Run], Iterator[Finding]], ...] = (
    outcomes.check_outcome, order.check_event_types, order.check_time_order, order.check_intervals,
    order.check_late_keys, order.check_cache_order, numbering.check_epochs, numbering.check_blocks,
    numbering.check_evaluations)
_MOST = 5  # findings of one rule in one log
_EXCUSABLE = {"run-status", "target-missed"}  # what a run that did not converge is allowed to say


@dataclass(frozen=True)
class RunVerdict:
    """One log, judged. `convergence` and the positions of `curve` are in the unit of the round (epochs, samples)."""

    path: Path
    round: str
    benchmark: str
    status: Status
    minutes: float | None
    convergence: float | None
    seed: Json
    curve: tuple[tuple[float, float], ...]
    init_seconds: float | None
    findings: tuple[Finding, ...]

    def to_json(self) -> Mapping[str, Json]:
        return _json(self, findings=[finding.to_json() for finding in self.findings])


@dataclass(frozen=True)
class Score:
    """The time of a set of runs. `minutes`: olympic mean; `kept`, `dropped`: places in the result's runs.

    `interval95`: Student's t on the kept runs; `bootstrap95`: percentile bootstrap of the olympic mean of all runs.
    `published_factor`: from scaling.json, where there is one; it then counts instead of the computed factor.
    """

    minutes: float
    kept: tuple[int, ...]
    dropped: tuple[int, ...]
    convergence_mean: float | None
    rcp: RcpDecision
    published_factor: float | None
    normalised_minutes: float
    sd: float | None
    variation: float | None
    interval95: Range | None
    bootstrap95: Range | None
    unit: str

    def to_json(self) -> Mapping[str, Json]:
        return _json(self, rcp=_json(self.rcp, max_speedup=self.rcp.max_speedup))


@dataclass(frozen=True)
class Result:
    """The logs of one folder, judged together. `findings`: those of the folder; each run has its own."""

    folder: ResultFolder
    round: str
    benchmark: str
    division: str
    runs: tuple[RunVerdict, ...]
    findings: tuple[Finding, ...]
    score: Score | None

    @property
    def ok(self) -> bool:
        """Nothing in the way of publishing: no error of the folder, no invalid run; failures within the tolerance."""
        return self.score is not None and not any(finding.severity == "error" for finding in self.findings) \
            and all(run.status in ("converged", "not converged") for run in self.runs)

    def to_json(self) -> Mapping[str, Json]:
        return _json(self, ok=self.ok, runs=[run.to_json() for run in self.runs],
                     findings=[finding.to_json() for finding in self.findings],
                     score=self.score.to_json() if self.score else None)


@dataclass(frozen=True)
class _Judged:
    verdict: RunVerdict
    run: Run | None  # None: no rules to judge by


def judge_log(path: Path, *, round_name: str | None = None, level: Level = "rules",
              suite: SuitePath = BUILT_IN) -> RunVerdict:
    """One log under the rules of its round. Raises UserError when the file cannot be read or its round is unknown."""
    log = read_log(path)
    round_ = load_round(round_of(log, round_name), suite)
    return _judge(log, round_, round_name, find_results(path)[0].benchmark, level).verdict


def judge_folder(path: Path, *, round_name: str | None = None, level: Level = "rules",
                 suite: SuitePath = BUILT_IN) -> tuple[Result, ...]:
    """Every result at `path`: a log, a benchmark's or system's folder, a submission, a round. Raises UserError."""
    return tuple(_result(found, round_name, level, suite) for found in find_results(path))


def _judge(log: Log, round_: Round, asked: str | None, fallback: str, level: Level) -> _Judged:
    """`asked`: the round as the caller gave it; `fallback`: the benchmark of a log that names none of the round."""
    log_name = _log_name(log, round_) or fallback
    rules = by_log_name(round_, log_name)
    if rules is None:
        return _Judged(_not_judged(log, round_, log_name), None)
    run = Run(log, round_, rules, level)
    findings = _findings(run, asked)
    found = outcomes.outcome(run)
    start, stop, init = run.start(), run.stop(), clock.init_milliseconds(run)
    return _Judged(RunVerdict(
        path=log.path, round=round_.name, benchmark=rules.name, status=_status(run, found, findings),
        minutes=run_minutes(start.time_ms, stop.time_ms) if start and stop else None,
        convergence=outcomes.convergence(run, found), seed=next((r.value for r in run.of("seed")), None),
        curve=outcomes.curve(run, found), init_seconds=None if init is None else init / 1000, findings=findings), run)


def _log_name(log: Log, round_: Round) -> str | None:
    """What the log calls its benchmark, if the round has one of that name."""
    key = round_.vocabulary.get("submission_benchmark")
    logged = next((record.value for record in log.records if record.key == key), None)
    if logged is None and log.dialect == "mlp05" and log.records:
        logged = log.records[0].namespace
    return logged if isinstance(logged, str) and logged in round_.suite else None


def _not_judged(log: Log, round_: Round, log_name: str) -> RunVerdict:
    if not log.records:
        findings = tuple(grammar.check_grammar(log, round_))
        return RunVerdict(log.path, round_.name, log_name, "not judged", None, None, None, (), None, findings)
    if log_name in round_.suite:
        finding = catalogued("benchmark-unjudged", f"there are no rules here for '{log_name}' in round {round_.name}",
                             log.path, severity="note")
    else:
        finding = catalogued("benchmark-unknown", f"round {round_.name} has no benchmark '{log_name}'."
                                                  f"{nearest(log_name, round_.suite)}", log.path)
    return RunVerdict(log.path, round_.name, log_name, "not judged", None, None, None, (), None, (finding,))


def _findings(run: Run, asked: str | None) -> tuple[Finding, ...]:
    """All findings, by line; a log of another dialect or without lines gets no more than that said."""
    first = (*grammar.check_grammar(run.log, run.round), *check_round(run.log, run.round.name, asked))
    if any(finding.rule in ("log-empty", "log-dialect") for finding in first):
        return first
    found = [*first] + [finding for check in _OFFICIAL + _STRUCTURE for finding in check(run)]
    return tuple(_collapsed(sorted(found, key=lambda finding: (finding.line or math.inf, finding.severity))))


def _collapsed(findings: Sequence[Finding]) -> Iterator[Finding]:
    """At most a handful of findings of one rule: the last of them says how many more there are."""
    counts = Counter((finding.rule, finding.severity) for finding in findings)
    told: Counter[tuple[str, str]] = Counter()
    for finding in findings:
        kind = (finding.rule, finding.severity)
        told[kind] += 1
        if told[kind] < _MOST or told[kind] == counts[kind] == _MOST:
            yield finding
        elif told[kind] == _MOST:
            yield replace(finding, message=f"{finding.message} (and {counts[kind] - _MOST} more such findings)")


def _status(run: Run, found: outcomes.Outcome, findings: Sequence[Finding]) -> Status:
    """Errors beyond not reaching the target make a run invalid."""
    excusable = _EXCUSABLE | {rule.id for rule in run.rules.keys
                              if rule.occurrences == "any" or rule.key == run.round.vocabulary.get("run_stop")}
    converged = found.success and found.reached
    errors = {finding.rule for finding in findings if finding.severity == "error"}
    if errors - (set() if converged else excusable):
        return "invalid"
    return "converged" if converged else "not converged"


def _result(found: ResultFolder, round_name: str | None, level: Level, suite: SuitePath) -> Result:
    logs = [read_log(path) for path in found.logs]
    rounds = [load_round(name, suite) for name in rounds_of(logs, round_name)]
    names = [name for log, round_ in zip(logs, rounds, strict=True) if (name := _log_name(log, round_))]
    fallback = names[0] if names and found.benchmark not in rounds[0].suite else found.benchmark
    judged = [_judge(log, round_, round_name, fallback, level) for log, round_ in zip(logs, rounds, strict=True)]
    verdicts = tuple(each.verdict for each in judged)
    runs = [each.run for each in judged if each.run is not None]
    first = verdicts[0]
    if not runs:
        return Result(found, first.round, first.benchmark, "", verdicts, (), None)
    factor, findings = scaling.published_factor(found)
    findings += tuple(folder.check_folder(found, runs))
    score = _score(runs, verdicts, factor)
    if score:
        findings += tuple(scaling.check_factor(found, factor, score.rcp))
    findings += _tolerance(found, runs[0].rules, verdicts, score)
    return Result(found, runs[0].round.name, runs[0].rules.name, runs[0].division, verdicts, findings, score)


def _tolerance(found: ResultFolder, rules: BenchmarkRules, verdicts: Sequence[RunVerdict],
               score: Score | None) -> tuple[Finding, ...]:
    failed = [verdict.path.name for verdict in verdicts if verdict.status != "converged"]
    findings = []
    if len(failed) > rules.max_failures:
        findings.append(catalogued("too-many-failures", f"{len(failed)} of {len(verdicts)} runs did not converge or "
                                                        f"are invalid ({', '.join(failed[:5])}), expected at "
                                                        f"most {rules.max_failures}", found.path))
    if score and not score.rcp.passed:
        findings.append(catalogued("convergence-check", _rcp_words(score.rcp), found.path))
    return tuple(findings)


def _rcp_words(decision: RcpDecision) -> str:
    if decision.submission_mean is None or decision.minimum_mean is None:
        return decision.text
    return f"{decision.text}: mean {decision.submission_mean:g}, expected at least {decision.minimum_mean:g}"


def _score(runs: Sequence[Run], verdicts: Sequence[RunVerdict], published: float | None) -> Score | None:
    """None where too many runs failed or too few were made for a mean."""
    rules = runs[0].rules
    times = [verdict.minutes if verdict.status == "converged" and verdict.minutes is not None else math.inf
             for verdict in verdicts]
    if sum(map(math.isinf, times)) > rules.max_failures or len(times) <= 2 * rules.drop:
        return None
    middle = olympic(times, rules.drop)
    if math.isinf(middle.mean):
        return None
    decision = _convergence_check(runs, verdicts)
    kept = [times[i] for i in middle.kept]
    finite = all(map(math.isfinite, times))
    return Score(
        minutes=middle.mean, kept=middle.kept, dropped=middle.dropped,
        convergence_mean=_convergence_mean(verdicts, rules.drop), rcp=decision, published_factor=published,
        normalised_minutes=middle.mean * (decision.factor if published is None else published),
        sd=sample_deviation(kept), variation=variation(kept), interval95=student_interval(kept),
        bootstrap95=bootstrap_interval(times, rules.drop) if finite else None, unit=rules.convergence_unit)


def _convergence_mean(verdicts: Sequence[RunVerdict], drop: int) -> float | None:
    values = [math.inf if verdict.convergence is None else verdict.convergence for verdict in verdicts]
    found = olympic_mean(values, drop) if len(values) > 2 * drop else mean(values)
    return found if math.isfinite(found) else None


def _convergence_check(runs: Sequence[Run], verdicts: Sequence[RunVerdict]) -> RcpDecision:
    round_, rules = runs[0].round, runs[0].rules
    if not round_.rcp_check:
        return RcpDecision(True, "this round has no convergence check")
    if runs[0].division != "closed":
        return RcpDecision(True, "the convergence check is for the closed division")
    if not rules.references and round_.kind == "house":
        return RcpDecision(True, "no reference points in this round yet")
    values = [math.inf if verdict.convergence is None else verdict.convergence for verdict in verdicts]
    sizes = {folder.batch_size(run) for run in runs if run.log.records}
    return check_convergence(rules.references, batch_size=sizes.pop() if len(sizes) == 1 else None, values=values,
                             runs=rules.runs, drop=rules.drop, max_failures=rules.max_failures)


def _json(value: object, **more: Json) -> Mapping[str, Json]:
    """A dataclass as JSON data, with `more` in place of or beside its fields; numbers that JSON has not become null."""
    fields = config.to_json(value)
    assert isinstance(fields, Mapping)
    return {name: _finite(item) for name, item in {**fields, **more}.items()}


def _finite(value: Json) -> Json:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value
