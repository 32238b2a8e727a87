"""`laptime check`: logs under the rules of their round, findings as a compiler prints them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from laptime.cli.options import ANY_PATH, json_option, level_option, round_option, suite_option
from laptime.cli.terminal import Colour, heading, say, say_json, style
from laptime.compliance.finding import Finding, Level, Severity
from laptime.compliance.result import Result, RunVerdict, judge_folder, judge_log
from laptime.config import Json, SuitePath
from laptime.errors import FINDINGS, FINE

COLOURS: Mapping[Severity, Colour] = {"error": "red", "warning": "yellow", "note": "cyan"}


@dataclass(frozen=True)
class Verdicts:
    """What was judged: single logs, and folders of them."""

    logs: tuple[RunVerdict, ...]
    results: tuple[Result, ...]

    def findings(self) -> Iterator[Finding]:
        for verdict in self.runs():
            yield from verdict.findings
        for result in self.results:
            yield from result.findings

    def runs(self) -> Iterator[RunVerdict]:
        yield from self.logs
        for result in self.results:
            yield from result.runs

    @property
    def ok(self) -> bool:
        """No error, and something that could be judged."""
        return (all(finding.severity != "error" for finding in self.findings())
                and any(run.status != "not judged" for run in self.runs()))


@click.command("check", epilog="Example: laptime check runs")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=ANY_PATH)
@round_option(None, "Round to judge by.  [default: as the log or its path says]")
@level_option
@suite_option
@json_option
def command(*, paths: tuple[Path, ...], round_name: str | None, level: Level, suite: SuitePath,
            as_json: bool) -> int:
    """Judge logs by the rules of their round: single files, folders of results, or whole submissions.

    Folders are also checked for what their logs say together: number of runs, seeds, convergence. Exit code 1 when a
    rule is broken; `laptime explain RULE` tells more about a finding.
    """
    found = Verdicts(
        tuple(judge_log(path, round_name=round_name, level=level, suite=suite) for path in paths if path.is_file()),
        tuple(result for path in paths if not path.is_file()
              for result in judge_folder(path, round_name=round_name, level=level, suite=suite)))
    if as_json:
        say_json(answer(found))
    else:
        say(text(found))
    return FINE if found.ok else FINDINGS


def answer(found: Verdicts) -> dict[str, Json]:
    """What was found, for programs."""
    return {"ok": found.ok, "logs": [verdict.to_json() for verdict in found.logs],
            "results": [result.to_json() for result in found.results]}


def text(found: Verdicts) -> str:
    """Findings under a heading for each log or folder, and a summary."""
    parts = [[heading(f"{verdict.path}: {verdict.benchmark}, round {verdict.round}: {verdict.status}"),
              *lines(verdict.findings)] for verdict in found.logs]
    for result in found.results:
        inner = [finding for run in result.runs for finding in run.findings]
        parts.append([heading(f"{result.folder.path}: {of_result(result)}"), *lines([*result.findings, *inner])])
    return "\n".join(line for part in [*parts, [summary(found)]] for line in part)


def of_result(result: Result) -> str:
    """Such as "resnet, round mini-1, closed division: 5 runs, 5 converged"."""
    counts = {status: sum(1 for run in result.runs if run.status == status) for status in
              ("converged", "not converged", "invalid", "not judged")}
    division = f", {result.division} division" if result.division else ""
    ended = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    return f"{result.benchmark}, round {result.round}{division}: {plural(len(result.runs), 'run')}, {ended}"


def lines(findings: Sequence[Finding]) -> list[str]:
    """Findings as a compiler prints them."""
    return [finding.text().replace(f" {finding.severity} ", f" {styled(finding.severity)} ", 1) for finding in findings]


def styled(severity: Severity) -> str:
    return style(severity, COLOURS[severity])


def summary(found: Verdicts) -> str:
    """How many findings there are, or that all is well."""
    counts = {severity: sum(1 for finding in found.findings() if finding.severity == severity) for severity in COLOURS}
    told = ", ".join(plural(count, severity) for severity, count in counts.items() if count)
    logs = plural(sum(1 for _ in found.runs()), "log")
    if not told:
        return f"{logs} checked, nothing found"
    first = next(finding.rule for severity in COLOURS for finding in found.findings() if finding.severity == severity)
    return f"{logs} checked: {told}; more about a rule: laptime explain {first}"


def plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
