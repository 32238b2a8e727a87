"""Power readings beside the logs of a result: are they complete, and the energy they make.

Submission package facts, section 7: power/<result>/node_<j>.txt and sw_<k>.txt in the form of logs. The official
structure check counts a run with a fault among those that do not comply.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from laptime.compliance.finding import Finding, Level, Severity
from laptime.compliance.run import catalogued, number
from laptime.errors import UserError
from laptime.layout import ResultFolder, files, folders
from laptime.log.read import Log, read_log
from laptime.log.record import Record
from laptime.scoring.energy import NodePower, mean_joules, node_joules, switch_joules

FOLDER = "power"
SECONDS_BETWEEN = 1.0  # training policies, power measurement: at least one sample per second
SLACK = 1.05  # a clock that drifts a little is no departure
FEWEST_READINGS = 60  # same source: shorter runs should be extended
Say = partial[None]  # (message, severity): tells a finding about one file
_FILE = re.compile(r"(node|sw)_(\d{1,9})\.txt")


@dataclass(frozen=True)
class Energy:
    """`joules`: of each run, in the order of the logs, None where it cannot be computed.

    `mean_joules`: over the runs that count, scaled; `nodes`, `switches`: measured in most runs.
    """

    joules: tuple[float | None, ...]
    mean_joules: float | None
    nodes: int
    switches: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class _RunFiles:
    """The files of one run by kind and number, and the names of all others."""

    path: Path
    nodes: Mapping[int, Path]
    switches: Mapping[int, Path]
    others: tuple[str, ...]


def has_power(found: ResultFolder) -> bool:
    """Whether there are power readings beside the logs."""
    return FOLDER in folders(found.path)


def energy(found: ResultFolder, minutes: Sequence[float | None], kept: Sequence[int] = (),
           factor: float = 1.0) -> Energy | None:
    """The energy of a result; None where there are no readings.

    `minutes`: of the runs, in the order of `found.logs`; `kept`: places of those that the time score keeps; `factor`:
    what that score is multiplied by.
    """
    if not has_power(found):
        return None
    runs = [_run_files(found.path / FOLDER / log.stem) for log in found.logs]
    findings: list[Finding] = []
    joules = tuple(None if time is None else _run_joules(run, time * 60_000, findings)
                   for run, time in zip(runs, minutes, strict=True))
    return Energy(joules, mean_joules(joules, kept, factor), _usual(len(run.nodes) for run in runs),
                  _usual(len(run.switches) for run in runs), tuple(_once(findings)))


def check_power(found: ResultFolder, level: Level, tolerated: int) -> Iterator[Finding]:
    """The structure of the readings. `tolerated`: so many runs with a fault are excused at level "official"."""
    if not has_power(found):
        return
    runs = {log.stem: _run_files(found.path / FOLDER / log.stem) for log in found.logs}
    faults = list(_faults(runs))
    severity: Severity = "error" if level == "rules" or len({run for run, _, _ in faults}) > tolerated else "warning"
    for _, message, path in faults:
        yield catalogued("power-structure", message, path, severity=severity)
    for run in runs.values():
        if run.others:
            yield catalogued("power-structure", f"expected only node_<j>.txt and sw_<k>.txt, found also "
                                                f"{', '.join(run.others[:3])}", run.path, severity="warning")
    for name in folders(found.path / FOLDER):
        if name not in runs:
            yield catalogued("power-structure", f"expected a log {name}.txt for these readings, found none",
                             found.path / FOLDER / name, severity="warning")


def _faults(runs: Mapping[str, _RunFiles]) -> Iterator[tuple[str, str, Path]]:
    """(run, what is wrong, where) for every run that lacks something."""
    nodes, switches = (_usual(len(held) for held in kind) for kind in
                       ([run.nodes for run in runs.values()], [run.switches for run in runs.values()]))
    for name, run in runs.items():
        if not run.nodes:
            yield name, "expected power readings of this run, found none", run.path
            continue
        for kind, held, usual in (("node", run.nodes, nodes), ("sw", run.switches, switches)):
            if len(held) != usual:
                yield name, f"expected {usual} files {kind}_<i>.txt as in the other runs, found {len(held)}", run.path
            if held and max(held) != len(held) - 1:
                yield name, f"expected {kind}_0.txt to {kind}_{len(held) - 1}.txt, found numbers up to {max(held)}", \
                    run.path


def _run_files(path: Path) -> _RunFiles:
    nodes: dict[int, Path] = {}
    switches: dict[int, Path] = {}
    others = []
    for file in files(path):
        match = _FILE.fullmatch(file.name)
        if match and not file.is_symlink():
            (nodes if match[1] == "node" else switches).setdefault(int(match[2]), file)
        else:
            others.append(file.name)
    return _RunFiles(path, nodes, switches, (*others, *folders(path)))


def _run_joules(run: _RunFiles, run_ms: float, findings: list[Finding]) -> float | None:
    """The energy of all nodes and switches of a run; None where a node's cannot be told. Findings are added."""
    parts = [_node(path, run_ms, findings) for path in run.nodes.values()]
    parts += [_switch(path, run_ms, findings) for path in run.switches.values()]
    known = [part for part in parts if part is not None]
    return math.fsum(known) if run.nodes and len(known) == len(parts) else None


def _node(path: Path, run_ms: float, findings: list[Finding]) -> float | None:
    say = partial(_say, path, findings)
    log = _log(path, findings)
    start = _first(log, "power_measurement_start")
    if log is None or start is None:
        if log is not None:
            say("expected a line power_measurement_start, found none")
        return None
    readings = _readings(log, start.time_ms, say)
    stop = _stop(log, start, readings, say)
    efficiency = _efficiency(log, None, say)
    if stop is None or efficiency is None:
        return None
    held = tuple(reading for reading in readings if reading[0] <= stop)
    _check_rate(held, stop - start.time_ms, say)
    return node_joules(NodePower(start.time_ms, stop, held, efficiency), run_ms)


def _readings(log: Log, start_ms: float, say: Say) -> list[tuple[float, float]]:
    """(ms, watts) after the start, by time."""
    lines = [record for record in log.records if record.key == "power_reading"]
    pairs = [(record.time_ms, number(record.value)) for record in lines]
    found = [(time, watts) for time, watts in pairs if watts is not None and 0 <= watts < math.inf]
    if len(found) < len(lines):
        say(f"expected a number of watts in every reading, found {len(lines) - len(found)} without", "warning")
    return sorted(pair for pair in found if pair[0] >= start_ms)


def _stop(log: Log, start: Record, readings: Sequence[tuple[float, float]], say: Say) -> float | None:
    """The end of the measurement: its line, or the last reading where that is missing or not after the start."""
    line = next((r for r in log.records if r.key == "power_measurement_stop" and r.time_ms > start.time_ms), None)
    if line is not None:
        return line.time_ms
    last = readings[-1][0] if readings else start.time_ms
    if last <= start.time_ms:
        say("expected readings after power_measurement_start, found none")
        return None
    say("expected power_measurement_stop after power_measurement_start, found none: measured to the last reading",
        "warning")
    return last


def _check_rate(readings: Sequence[tuple[float, float]], span_ms: float, say: Say) -> None:
    seconds = span_ms / 1000 / max(1, len(readings))
    if seconds > SECONDS_BETWEEN * SLACK:
        say(f"expected a reading every {SECONDS_BETWEEN:g} s, found one every {seconds:.2g} s", "note")
    if len(readings) < FEWEST_READINGS:
        say(f"expected at least {FEWEST_READINGS} readings, found {len(readings)}", "note")


def _switch(path: Path, run_ms: float, findings: list[Finding]) -> float | None:
    say = partial(_say, path, findings)
    log = _log(path, findings)
    estimate = _first(log, "interconnect_power_est")
    watts = None if estimate is None else number(estimate.value)
    if log is None or estimate is None or watts is None or not 0 <= watts < math.inf:
        if log is not None:
            say("expected a line interconnect_power_est with a number of watts, found none")
        return None
    efficiency = _efficiency(log, estimate.line, say)
    return None if efficiency is None else switch_joules(watts, efficiency, run_ms)


def _efficiency(log: Log, before: int | None, say: Say) -> float | None:
    """The last conversion efficiency (before a line, where one is given), 1 where none is logged; None: no such."""
    lines = [record for record in log.records if record.key == "conversion_eff"]
    held = [record for record in lines if before is None or record.line < before]
    if len(held) < len(lines):
        say("expected conversion_eff before the estimate: it is left out of account", "warning")
    value = number(held[-1].value) if held else 1.0
    if value is None or not 0 < value <= 1:
        say("expected a conversion efficiency above 0 and at most 1, found another value")
        return None
    return value


def _log(path: Path, findings: list[Finding]) -> Log | None:
    try:
        return read_log(path)
    except UserError as error:
        _say(path, findings, f"expected readings in the form of a log, found none: {error}")
        return None


def _first(log: Log | None, key: str) -> Record | None:
    return next((record for record in log.records if record.key == key), None) if log else None


def _usual(counts: Iterator[int]) -> int:
    return next(iter(Counter(counts).most_common(1)), (0, 0))[0]


def _once(findings: Sequence[Finding]) -> Iterator[Finding]:
    """Notes and warnings of one kind once, with how many files have them; every error."""
    kinds = Counter((finding.severity, finding.message.partition(", found")[0]) for finding in findings)
    for finding in findings:
        kind = (finding.severity, finding.message.partition(", found")[0])
        more = kinds.pop(kind, 0) - 1
        if finding.severity == "error" or more == 0:
            yield finding
        elif more > 0:
            yield replace(finding, message=f"{finding.message} (and {more} more such findings)")


def _say(path: Path, findings: list[Finding], message: str, severity: Severity = "error") -> None:
    findings.append(catalogued("power-readings", message, path, severity=severity))
