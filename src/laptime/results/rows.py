"""A judged result as rows of the store. Verdicts are the judge's; what was logged is stored as it was logged."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from laptime.compliance import folder
from laptime.compliance.finding import Finding, Level, printable, shown
from laptime.compliance.outcome import outcome, passes
from laptime.compliance.result import Result, RunVerdict
from laptime.compliance.run import Run, metrics, number, position
from laptime.config import Json, SuitePath
from laptime.layout import ResultFolder, below_round
from laptime.log.record import ROUND_KEY, Record
from laptime.results.store import EntryRows, Row, key_number
from laptime.results.systems import system_row
from laptime.rules.load import load_round
from laptime.scoring.olympic import MS_PER_MINUTE
from laptime.scoring.spread import Range
from laptime.submission.evidence import hyperparameters, times

MOST_POINTS = 200  # of one run's curve and metric
MOST_MESSAGE = 500  # characters of a finding
UNFINISHED = "unfinished"  # a run whose clock started and did not stop: it goes on, or was cut off
MOST_OTHERS = 60  # values of a log that are no hyperparameters by the rules
# keys that are told elsewhere
_ABOUT = re.compile(rf"submission_|eval_accuracy|cache_clear$|seed$|{ROUND_KEY}$|(?:init|run)_st(?:art|op)$")
MOST_VALUE = 2000  # characters of a hyperparameter


@dataclass(frozen=True)
class Known:
    """What a result is known by (`key`), what it was read from and how it was judged."""

    key: str
    fingerprint: str
    label: str
    level: Level


def entry_rows(known: Known, result: Result, runs: Sequence[Run | None], suite: SuitePath) -> EntryRows:
    """Everything about one result. `result`, `runs`: as of `judge_result`."""
    found, entry = result.folder, key_number(known.key)
    round_ = load_round(result.round, suite) if result.round else None
    system = system_row(found, round_)
    place = printable(place_of(found).as_posix())
    head: Row = (entry, known.key, known.fingerprint, known.label, result.round or None, found.submitter, system[0],
                 result.benchmark or found.benchmark, found.benchmark, result.division, known.level, place, 0)
    pairs = list(zip(result.runs, runs, strict=True))
    return EntryRows(entry, head, system, (found.submitter, place.partition("/")[0], 0), {
        "run": [_run(entry, at, result, verdict, run) for at, (verdict, run) in enumerate(pairs)],
        "evaluation": [row for at, run in enumerate(runs) if run for row in _evaluations(entry, at, run)],
        "hyperparameter": _hyperparameters(entry, result, runs),
        "finding": _findings(entry, result, known.level),
        "score": [_score(entry, result, runs, place)]})


def place_of(found: ResultFolder) -> Path:
    """The folder of a result below that of its round."""
    return below_round(found.path / "log").parent


def finding_values(finding: Finding) -> Row:
    """Rule, severity, message, cause, file and line."""
    return (finding.rule, finding.severity, finding.said[:MOST_MESSAGE],
            finding.because.rule if finding.because else None, _file(finding.path), finding.line)


def _file(path: Path) -> str:
    return printable(below_round(path).as_posix())


def _run(entry: int, at: int, result: Result, verdict: RunVerdict, run: Run | None) -> Row:
    joules = result.energy.joules[at] if result.energy else None
    seed = verdict.seed if isinstance(verdict.seed, str | None) else shown(verdict.seed)
    size = verdict.path.stat().st_size if verdict.path.is_file() else 0
    if run is None:
        return (entry, at, verdict.status, None, seed, *(None,) * 9, 0, joules, size, _file(verdict.path), 0)
    start, stop, spent = run.start(), run.stop(), times(run, verdict)
    end = stop.time_ms if stop else None
    if start and end is None and verdict.minutes is not None:  # a closing line gives the length instead
        end = start.time_ms + verdict.minutes * MS_PER_MINUTE
    status = UNFINISHED if start and end is None and verdict.status == "not converged" else verdict.status
    return (entry, at, status, _counts(result, at), seed,
            start.time_ms if start else None, start.line if start else None, end, stop.line if stop else None,
            spent.init, spent.training, spent.evaluation, spent.rest, verdict.convergence,
            len(outcome(run).evaluations), joules, size, _file(verdict.path), 0)


def _counts(result: Result, at: int) -> str | None:
    """What a run is to the score."""
    score = result.score
    if score is None:
        return None
    if at in score.kept:
        return "kept"
    if at in score.dropped:
        return "fastest" if score.dropped.index(at) < len(score.dropped) // 2 else "slowest"
    return "unused"


def _evaluations(entry: int, at: int, run: Run) -> Iterator[Row]:
    """The curve, thinned; a line for each metric of the target."""
    logged = outcome(run).evaluations
    met = [passes(run, record) for record in logged]
    crossing = met.index(True) if True in met else None
    for place in thinned(len(logged), crossing):
        record = logged[place]
        for metric, value in metrics(record.value, run.rules.target).items():
            if value is not None and math.isfinite(value):
                yield (entry, at, metric, place, position(run, record), value, record.time_ms, int(met[place]),
                       record.line)


def thinned(count: int, crossing: int | None, most: int = MOST_POINTS) -> list[int]:
    """Places of at most `most` of `count` points, evenly spread, with the first, the last and the crossing."""
    if count <= most:
        return list(range(count))
    room = most - (crossing is not None)
    spread = {place * (count - 1) // (room - 1) for place in range(room)}
    return sorted(spread if crossing is None else spread | {crossing})


def _hyperparameters(entry: int, result: Result, runs: Sequence[Run | None]) -> list[Row]:
    """Each value of each key once, with the first run that logged it and the number of those that did."""
    held: dict[tuple[str, str, str, bool], list[int]] = {}  # name, key, value, asked -> runs, first run, its line
    for at, run in enumerate(runs):
        if run is None:
            continue
        for name, key, asked in _settings(run, result.division):
            first = run.by_key[key][0]
            held.setdefault((name, key, _json(first.value), asked), [0, at, first.line])[0] += 1
    rows: list[Row] = []
    seen: dict[str, int] = {}
    for (name, key, text, asked), (count, at, line) in held.items():
        seen[name] = seen.get(name, -1) + 1
        rows.append((entry, name, seen[name], key, text, _real(text), int(asked), count, at, line))
    return rows


def _settings(run: Run, division: str) -> Iterator[tuple[str, str, bool]]:
    """(our name, key, asked for by the benchmark's rules) of each hyperparameter, then of whatever else is logged once
    before the clock starts: sizes, precision, parallelism."""
    keys: dict[str, str] = {}
    for rule in run.rules.keys:
        if rule.key in run.by_key:
            keys.setdefault(rule.name, rule.key)
    asked = [name for name in hyperparameters(run.rules, division, run.names) if name in keys]
    yield from ((name, keys[name], True) for name in asked)
    start, known = run.start(), {keys[name] for name in asked} | set(asked)
    others = [key for key, records in run.by_key.items()
              if len(records) == 1 and key not in known and _plain(records[0]) and not _ABOUT.match(key)
              and (start is None or records[0].line < start.line)]
    yield from ((key, key, False) for key in others[:MOST_OTHERS])


def _plain(record: Record) -> bool:
    return record.value is not None and record.event_type == "POINT_IN_TIME" and not isinstance(record.value, Mapping)


def _json(value: Json) -> str:
    try:
        text = orjson.dumps(value).decode()
    except (TypeError, ValueError):  # integers and signs beyond JSON
        text = orjson.dumps(printable(shown(value))).decode()
    return text if len(text) <= MOST_VALUE else orjson.dumps(text[:MOST_VALUE] + "...").decode()


def _real(text: str) -> float | None:
    found = number(orjson.loads(text))
    return found if found is not None and math.isfinite(found) else None


def _findings(entry: int, result: Result, level: Level) -> list[Row]:
    told: list[tuple[int | None, Finding]] = [(None, finding) for finding in result.findings]
    if result.energy and level == "rules":  # of the power readings; no official tool looks at them
        told += [(None, finding) for finding in result.energy.findings]
    told += [(at, finding) for at, run in enumerate(result.runs) for finding in run.findings]
    return [(entry, place, run, *finding_values(finding)) for place, (run, finding) in enumerate(told)]


def _score(entry: int, result: Result, runs: Sequence[Run | None], place: str) -> Row:
    score, rcp = result.score, result.rcp
    mean = score.convergence_mean if score else rcp.submission_mean if rcp else None
    return (
        entry, int(score is not None), int(result.ok), _batch_size(result, runs),
        int(rcp.passed) if rcp else None, rcp.text if rcp else None, rcp.basis if rcp else None, mean,
        rcp.reference_mean if rcp else None, rcp.reference_stdev if rcp else None, rcp.minimum_mean if rcp else None,
        score.rcp.factor if score else None, score.published_factor if score else None,
        score.samples_to_converge if score else None, score.uncertainty if score else None,
        result.energy.nodes if result.energy else None, score.sd if score else None,
        *_ends(score.interval95 if score else None), *_ends(score.bootstrap95 if score else None), place, 0)


def _ends(interval: Range | None) -> tuple[float | None, float | None]:
    return (interval.low, interval.high) if interval else (None, None)


def _batch_size(result: Result, runs: Sequence[Run | None]) -> float | None:
    """What the convergence check compares by; without a check, what the first log says."""
    if result.rcp and result.rcp.batch_size is not None:
        return result.rcp.batch_size
    run = next((run for run in runs if run), None)
    return folder.batch_size(run) if run else None
