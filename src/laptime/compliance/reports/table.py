"""Tables for other programs: one row per log of what was judged, one row per result of what was scored.

The columns are a promise: scripts read them.
"""

import csv
import io
from collections.abc import Iterable, Sequence

from laptime.compliance.finding import Finding, printable
from laptime.compliance.result import Result, RunVerdict
from laptime.layout import below_round
from laptime.scoring.rcp import RcpDecision

LOGS = ("round", "path", "passed", "findings")
SCORES = ("round", "submitter", "system", "benchmark", "minutes", "runs", "dropped", "factor", "rcp")
Cell = str | int | float


def logs_table(results: Iterable[Result]) -> str:
    """CSV: a row per log. `passed`: pass, fail or "not judged"; `findings`: errors, warnings as "severity rule:line".

    Paths are relative to the folder of the round.
    """
    return _csv(LOGS, ((run.round, below_round(run.path).as_posix(), passed(run), _listed(run.findings))
                       for result in results for run in result.runs))


def scores_table(results: Iterable[Result]) -> str:
    """CSV: a row per result. Names are those of folders; `minutes`: the score, empty where there is none.

    `dropped`: runs outside the mean; `factor`: what the mean time was multiplied by; `rcp`: the convergence check.
    """
    return _csv(SCORES, (_score_row(result) for result in results))


def passed(run: RunVerdict) -> str:
    """Whether a log has no error."""
    if run.status == "not judged" and not any(finding.severity == "error" for finding in run.findings):
        return "not judged"
    return "fail" if any(finding.severity == "error" for finding in run.findings) else "pass"


def factor(result: Result) -> float | None:
    """What the mean time was multiplied by; None where there is no score."""
    score = result.score
    if score is None:
        return None
    return score.factor


def verdict(decision: RcpDecision | None) -> str:
    """The convergence check in a few words: "pass: RCP found"."""
    return "" if decision is None else f"{'pass' if decision.passed else 'fail'}: {decision.text}"


def _score_row(result: Result) -> tuple[Cell, ...]:
    score, times = result.score, factor(result)
    return (result.round, result.folder.submitter, result.folder.system, result.folder.benchmark,
            "" if score is None else score.normalised_minutes, len(result.runs),
            "" if score is None else len(result.runs) - len(score.kept), "" if times is None else times,
            verdict(result.rcp))


def _listed(findings: Sequence[Finding]) -> str:
    told = (f"{finding.severity} {finding.rule}" + (f":{finding.line}" if finding.line else "")
            for finding in findings if finding.severity != "note")
    return "; ".join(told)


def _csv(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_safe(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return text.getvalue()


def _safe(cell: str) -> str:
    """Without control characters, and nothing that a spreadsheet would compute: names of files may hold anything."""
    text = printable(cell)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
