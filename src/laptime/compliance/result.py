"""Verdicts, scores and convergence of logs and folders: the only place where they become one result.

Needs no terminal and no training: the command line, the results store and the packager all ask here.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from laptime.compliance import (
    causes,
    clock,
    folder,
    grammar,
    keys,
    numbering,
    order,
    power,
    scaling,
    scores,
    strict,
    tensors,
)
from laptime.compliance import outcome as outcomes
from laptime.compliance.finding import Finding, Level
from laptime.compliance.parallel import in_order, processes_worth
from laptime.compliance.rounds import RoundUnknown, check_round, round_of, rounds_of
from laptime.compliance.run import Run, catalogued
from laptime.compliance.scores import Score, as_json
from laptime.config import Json, SuitePath, nearest
from laptime.layout import ResultFolder, find_results
from laptime.log.dialects import Problem
from laptime.log.read import Log, Unreadable, read_log
from laptime.rules.load import by_log_name, load_round
from laptime.rules.model import Round
from laptime.scoring.rcp import RcpDecision

__all__ = ["Result", "RunVerdict", "Score", "Status", "energy_of", "judge_folder", "judge_log", "judge_result"]

BUILT_IN = SuitePath()
Status = Literal["converged", "not converged", "invalid", "not judged"]

_OFFICIAL: tuple[Callable[[Run], Iterator[Finding]], ...] = (
    keys.check_keys, order.check_clock_order, clock.check_initialisation, tensors.check_tensors,
    strict.check_strict_order)
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
        return as_json(self, findings=[finding.to_json() for finding in self.findings])


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
    rcp: RcpDecision | None = None  # the convergence check, also where there is no score; None: no run was judged
    energy: power.Energy | None = None  # over the runs that the score keeps; None: not asked for, or no readings

    @property
    def ok(self) -> bool:
        """Nothing in the way of publishing: no error of the folder, no invalid run; failures within the tolerance."""
        return self.score is not None and not any(finding.severity == "error" for finding in self.findings) \
            and all(run.status in ("converged", "not converged") for run in self.runs)

    def to_json(self) -> Mapping[str, Json]:
        return as_json(self, ok=self.ok, runs=[run.to_json() for run in self.runs],
                     findings=[finding.to_json() for finding in self.findings],
                     score=self.score.to_json() if self.score else None,
                     rcp=as_json(self.rcp, max_speedup=self.rcp.max_speedup) if self.rcp else None,
                     energy=as_json(self.energy, findings=[finding.to_json() for finding in self.energy.findings])
                     if self.energy else None)


@dataclass(frozen=True)
class _Judged:
    verdict: RunVerdict
    run: Run | None  # None: no rules to judge by


def judge_log(path: Path, *, round_name: str | None = None, level: Level = "rules",
              suite: SuitePath = BUILT_IN) -> RunVerdict:
    """One log under the rules of its round. Raises UserError when the file cannot be read or its round is unknown."""
    log = read_log(path, pipes=True)
    round_ = load_round(round_of(log, round_name), suite)
    benchmark = find_results(path)[0].benchmark if path.is_file() else ""
    return _judge(log, round_, round_name, benchmark, level).verdict


def judge_folder(path: Path, *, round_name: str | None = None, level: Level = "rules",
                 suite: SuitePath = BUILT_IN, processes: int | None = None,
                 progress: Callable[[int, int], None] | None = None, energy: bool = False) -> tuple[Result, ...]:
    """Every result at `path`: a log, a benchmark's or system's folder, a submission, a round. Raises UserError.

    `processes`: as many work side by side; None: as many as pay. `progress`: called with (done, all) results. `energy`:
    power readings are read too; where there are any, they are more than the logs.
    """
    found = find_results(path)
    sizes = [(len(result.logs), sum(map(_size, result.logs))) for result in found]
    work = partial(_result, round_name=round_name, level=level, suite=suite, alone=len(found) == 1, energy=energy)
    count = processes_worth(sizes) if processes is None else processes
    return tuple(in_order(work, found, [size for _, size in sizes], count,
                          progress and (lambda done: progress(done, len(found)))))


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0


def _judge(log: Log, round_: Round, asked: str | None, fallback: str, level: Level) -> _Judged:
    """`asked`: the round as the caller gave it; `fallback`: the benchmark of a log that names none of the round."""
    log_name = _log_name(log, round_) or fallback
    rules = by_log_name(round_, log_name)
    if rules is None:
        return _Judged(_not_judged(log, round_, log_name), None)
    run = Run(log, round_, rules, level)
    findings = _findings(run, asked)
    found = outcomes.outcome(run)
    init = clock.init_milliseconds(run)
    return _Judged(RunVerdict(
        path=log.path, round=round_.name, benchmark=rules.name, status=_status(run, found, findings),
        minutes=outcomes.minutes(run),
        convergence=outcomes.convergence(run, found), seed=next((r.value for r in run.of("seed")), None),
        curve=outcomes.curve(run, found), init_seconds=None if init is None else init / 1000, findings=findings), run)


def _log_name(log: Log, round_: Round) -> str | None:
    """What the log calls its benchmark, if the round has one of that name."""
    key = round_.vocabulary.get("submission_benchmark")
    logged = next((record.value for record in log.by_key.get(key or "", ())), None)
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
    ordered = sorted(found, key=lambda finding: (finding.line or math.inf, finding.severity))
    return causes.attributed(tuple(_collapsed(ordered)), run)


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
    """Errors beyond not reaching the target make a run invalid, in rounds that scored no such run."""
    excusable = _EXCUSABLE | {rule.id for rule in run.rules.keys
                              if rule.occurrences == "any" or rule.key == run.round.vocabulary.get("run_stop")}
    converged = found.success and found.reached
    errors = {finding.rule for finding in findings if finding.severity == "error"}
    if errors - (set() if converged else excusable) and not (converged and run.round.lenient_scores):
        return "invalid"
    return "converged" if converged else "not converged"


def judge_result(found: ResultFolder, *, round_name: str | None = None, level: Level = "rules",
                 suite: SuitePath = BUILT_IN, alone: bool = False) -> tuple[Result, tuple[Run | None, ...]]:
    """One result, and its logs as they were read, for whoever asks more of them than verdicts; None: not judged.

    `alone`: there is no other result, so that what is wrong with this one is wrong with the request (UserError).
    """
    logs = [_read(path) for path in found.logs]
    try:
        rounds = [load_round(name, suite) for name in rounds_of(logs, round_name)]
    except RoundUnknown as problem:
        if alone:
            raise
        return _of_no_round(found, logs, problem), (None,) * len(logs)
    names = [name for log, round_ in zip(logs, rounds, strict=True) if (name := _log_name(log, round_))]
    fallback = names[0] if names and found.benchmark not in rounds[0].suite else found.benchmark
    judged = [_judge(log, round_, round_name, fallback, level) for log, round_ in zip(logs, rounds, strict=True)]
    verdicts = tuple(each.verdict for each in judged)
    return _together(found, verdicts, [each.run for each in judged if each.run is not None]), \
        tuple(each.run for each in judged)


def _result(found: ResultFolder, *, round_name: str | None, level: Level, suite: SuitePath, alone: bool,
            energy: bool) -> Result:
    result, _ = judge_result(found, round_name=round_name, level=level, suite=suite, alone=alone)
    return replace(result, energy=energy_of(result)) if energy else result


def energy_of(result: Result) -> power.Energy | None:
    """What the power readings beside the logs make of the runs that the score keeps; None: no score or no readings."""
    score = result.score
    minutes = [run.minutes for run in result.runs]
    return power.energy(result.folder, minutes, score.kept, score.factor) if score else None


def _together(found: ResultFolder, verdicts: tuple[RunVerdict, ...], runs: Sequence[Run]) -> Result:
    """What the runs of a folder are worth together. `runs`: those that could be judged."""
    first = verdicts[0]
    if not runs:
        return Result(found, first.round, first.benchmark, "", verdicts, (), None)
    factor, findings = scaling.published_factor(found)
    findings += tuple(folder.check_folder(found, runs))
    score = scores.score(runs, verdicts, factor)
    rcp = score.rcp if score else scores.convergence_check(runs, scores.units(verdicts))
    if score:
        findings += tuple(scaling.check_factor(found, factor, rcp))
    findings += _tolerance(found, runs, verdicts, rcp)
    failed = [place for place, verdict in enumerate(verdicts) if verdict.status != "converged"]
    findings = causes.hung(findings, [verdict.findings for verdict in verdicts], failed)
    return Result(found, runs[0].round.name, runs[0].rules.name, runs[0].division, verdicts, findings, score, rcp)


def _read(path: Path) -> Log:
    """The log; where it cannot be read, one without lines that says so."""
    try:
        return read_log(path)
    except Unreadable as problem:
        return Log(path, "mllog", (), (Problem(0, str(problem)),))


def _of_no_round(found: ResultFolder, logs: Sequence[Log], problem: RoundUnknown) -> Result:
    findings = tuple(catalogued("log-grammar", each.text, log.path) for log in logs for each in log.problems
                     if not each.harmless and not log.records)
    verdicts = tuple(RunVerdict(log.path, "", found.benchmark, "not judged", None, None, None, (), None, ())
                     for log in logs)
    told = catalogued("round-unknown", f"{problem}; say it with --round", found.path)
    return Result(found, "", found.benchmark, "", verdicts, (told, *findings), None)


def _tolerance(found: ResultFolder, runs: Sequence[Run], verdicts: Sequence[RunVerdict],
               rcp: RcpDecision) -> tuple[Finding, ...]:
    """More failures than the round tolerates, and a convergence check that is not passed or is to be bypassed."""
    findings = []
    rules, window = runs[0].rules, runs[0].round.window_scores
    if words := scores.too_many_failed(rules, [verdict.status for verdict in verdicts], window=window):
        failed = ", ".join([verdict.path.name for verdict in verdicts if verdict.status != "converged"][:5])
        findings.append(catalogued("too-many-failures", f"{words} ({failed})", found.path))
    elif not rcp.passed:
        asked = scores.bypass(found, runs[0])
        findings.append(catalogued("convergence-check", f"{rcp.words}{asked.words}", found.path,
                                   severity="warning" if asked.heeded else "error"))
    return tuple(findings)
