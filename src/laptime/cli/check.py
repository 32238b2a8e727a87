"""`laptime check`: logs under the rules of their round, findings as a compiler prints them."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from laptime.cli.counter import counter
from laptime.cli.options import ANY_PATH, FILE, json_option, round_option, suite_option
from laptime.cli.terminal import Colour, Column, heading, say, say_json, style, table, width
from laptime.compliance.catalogue import CATALOGUE
from laptime.compliance.causes import roots
from laptime.compliance.finding import Finding, Level, Severity
from laptime.compliance.grouping import flattened, grouped
from laptime.compliance.result import Result, RunVerdict, judge_folder, judge_log
from laptime.config import Json, SuitePath
from laptime.errors import FINDINGS, FINE, UserError
from laptime.layout import ResultFolder, find_results, find_submissions

COLOURS: Mapping[Severity, Colour] = {"error": "red", "warning": "yellow", "note": "cyan"}
JUDGED = "judged {done} of {total} results"
MANY = 6  # results from which a table sums them up
if TYPE_CHECKING:
    from laptime.compliance.levels import Difference
    from laptime.compliance.package import PackageReport

Asked = Literal["rules", "official", "both"]


@dataclass(frozen=True)
class Verdicts:
    """What was judged: single logs, folders of them, and what stands around the results of whole submissions."""

    logs: tuple[RunVerdict, ...]
    results: tuple[Result, ...]
    packages: tuple["PackageReport", ...] = ()

    def findings(self) -> Iterator[Finding]:
        for verdict in self.runs():
            yield from verdict.findings
        for result in self.results:
            yield from result.findings
        for package in self.packages:
            yield from package.findings

    def runs(self) -> Iterator[RunVerdict]:
        yield from self.logs
        for result in self.results:
            yield from result.runs

    def by_folder(self) -> tuple[Result, ...]:
        """Results, and single logs and packages as if each were one."""
        single = tuple(Result(_folder(log.path), log.round, log.benchmark, "", (log,), (), None) for log in self.logs)
        around = tuple(Result(ResultFolder(one.home, one.submitter, "", "", ()), one.round, "", "", (), one.findings,
                              None) for one in self.packages)
        return single + around + self.results

    @property
    def ok(self) -> bool:
        """No error, and something that could be judged."""
        return (all(finding.severity != "error" for finding in self.findings())
                and any(run.status != "not judged" for run in self.runs()))


def _folder(path: Path) -> ResultFolder:
    """Where a log stands; a pipe stands nowhere."""
    return find_results(path)[0] if path.is_file() else ResultFolder(path.parent, "", "", "", (path,))


@dataclass(frozen=True)
class Files:
    """Where to write what was found in the forms of other tools; None: nowhere."""

    sarif: Path | None
    junit: Path | None
    csv: Path | None

    def __bool__(self) -> bool:
        return any((self.sarif, self.junit, self.csv))


@click.command("check", epilog="Example: laptime check runs")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=ANY_PATH)
@round_option(None, "Round to judge by.  [default: as the log or its path says]")
@click.option("--level", type=click.Choice(["rules", "official", "both"]), default="rules", show_default=True,
              help="Judge by the text of the rules, as the official checker does, or both ways, and say where they "
                   "differ.")
@click.option("--packages/--no-packages", default=None, help="Also check what stands around the results: system "
              "descriptions, names of files, code, power.  [default: where a folder is a submission]")
@click.option("--all", "every", is_flag=True, help="Show each finding of each log, not one line for many alike.")
@click.option("--csv", "csv_file", type=FILE, help="Write a table of the logs: round, path, passed, findings.")
@click.option("--sarif", "sarif_file", type=FILE, help="Write the findings as SARIF 2.1.0.")
@click.option("--junit", "junit_file", type=FILE, help="Write the verdicts as JUnit XML.")
@click.option("--processes", type=click.IntRange(1), help="Processes side by side.  [default: as many as pay]")
@suite_option
@json_option
def command(*, paths: tuple[Path, ...], round_name: str | None, level: Asked, packages: bool | None, every: bool,
            csv_file: Path | None, sarif_file: Path | None, junit_file: Path | None, processes: int | None,
            suite: SuitePath, as_json: bool) -> int:
    """Judge logs by the rules of their round: single files, folders of results, or whole submissions.

    Folders are also checked for what their logs say together: number of runs, seeds, convergence. A finding that
    follows from another one is shown below it. Exit code 1 when a rule is broken; `laptime explain RULE` tells more
    about a finding.
    """
    files = Files(sarif_file, junit_file, csv_file)
    if level == "both":
        if files:
            raise click.UsageError("--level both is for people and --json; --csv, --sarif and --junit need one level")
        if packages:
            raise click.UsageError("--level both compares verdicts on logs; --packages needs one level")
        return both_levels(paths, round_name, suite, processes, as_json)
    found = judged(paths, round_name, level, suite, processes) if packages is False else \
        judged_packages(paths, round_name, level, suite, processes, asked=packages is True)
    write(files, found)
    if as_json:
        say_json(answer(found))
    else:
        say(text(found, every=every))
    return FINE if found.ok else FINDINGS


def judged(paths: Sequence[Path], round_name: str | None, level: Level, suite: SuitePath,
           processes: int | None) -> Verdicts:
    """Files and pipes alone, everything else as folders of results."""
    return Verdicts(
        tuple(judge_log(path, round_name=round_name, level=level, suite=suite) for path in paths if _is_log(path)),
        tuple(result for path in paths if not _is_log(path)
              for result in judge_folder(path, round_name=round_name, level=level, suite=suite, processes=processes,
                                         progress=counter(JUDGED))))


def judged_packages(paths: Sequence[Path], round_name: str | None, level: Level, suite: SuitePath,
                    processes: int | None, *, asked: bool) -> Verdicts:
    """Submissions with all that stands in them, anything else as `judged`. Raises UserError where submissions are
    `asked` for and a path is none."""
    from laptime.compliance.package import judge_packages

    reports: list[PackageReport] = []
    others: list[Path] = []
    for path in paths:
        found = () if _is_log(path) or not (asked or _holds_submissions(path)) else judge_packages(
            path, round_name=round_name, level=level, suite=suite, processes=processes, progress=counter(JUDGED))
        if asked and not found:
            raise UserError(f"expected a submission or a round, found none at {path}",
                            hint="Give a submitter's folder, with results/ in it, or leave out --packages.")
        reports += found
        others += [] if found else [path]
    rest = judged(others, round_name, level, suite, processes)
    return Verdicts(rest.logs, rest.results + tuple(result for report in reports for result in report.results),
                    tuple(reports))


def _holds_submissions(path: Path) -> bool:
    return path.is_dir() and any(submission.results for submission in find_submissions(path))


def _is_log(path: Path) -> bool:
    return path.exists() and not path.is_dir()


def both_levels(paths: Sequence[Path], round_name: str | None, suite: SuitePath, processes: int | None,
                as_json: bool) -> int:
    """Judge twice, and say where and why the verdicts differ."""
    from laptime.compliance.levels import differences

    rules, official = (judged(paths, round_name, level, suite, processes) for level in ("rules", "official"))
    logs = differences(tuple(rules.runs()), tuple(official.runs()))
    folders = differences(rules.results, official.results)
    if as_json:
        say_json({"rules": answer(rules), "official": answer(official),
                  "differences": [difference.to_json() for difference in (*logs, *folders)]})
    else:
        say(comparison(rules, official, logs, folders))
    return FINE if rules.ok and official.ok else FINDINGS


def answer(found: Verdicts) -> dict[str, Json]:
    """What was found, for programs."""
    titles: dict[str, Json] = {finding.rule: CATALOGUE[finding.rule].title for finding in found.findings()
                               if finding.rule in CATALOGUE}
    return {"ok": found.ok, "logs": [verdict.to_json() for verdict in found.logs],
            "results": [result.to_json() for result in found.results], "rules": titles,
            "packages": [{"home": str(one.home), "submitter": one.submitter, "round": one.round, "ok": one.ok,
                          "findings": [finding.to_json() for finding in one.findings]} for one in found.packages]}


def write(files: Files, found: Verdicts) -> None:
    """The forms of other tools. Raises UserError where a file cannot be written."""
    if not files:
        return
    from laptime.compliance.reports.junit import junit  # these imports cost a plain check a fifth of its time
    from laptime.compliance.reports.table import logs_table

    if files.csv:
        write_text(files.csv, logs_table(found.by_folder()))
    if files.junit:
        write_text(files.junit, junit(found.by_folder()))
    if files.sarif:
        write_text(files.sarif, sarif_text(found))


def sarif_text(found: Verdicts) -> str:
    from importlib.metadata import version

    import orjson

    from laptime.compliance.reports.sarif import sarif

    data = sarif(found.findings(), base=Path.cwd(), version=version("laptime"))
    return orjson.dumps(data, option=orjson.OPT_INDENT_2).decode() + "\n"


def write_text(path: Path, content: str) -> None:
    """Write a file whole or not at all. Raises UserError."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(content, encoding="utf-8", errors="backslashreplace")
        partial.replace(path)
    except OSError as problem:
        raise UserError(f"cannot write {path}: {problem.strerror or problem}",
                        hint="Give a file in a folder that exists and may be written to.") from None


def text(found: Verdicts, *, every: bool = False) -> str:
    """Findings under a heading for each log or folder, a table of many, and a summary."""
    parts = [[heading(f"{verdict.path}: {verdict.benchmark}, round {verdict.round}: {verdict.status}"),
              *lines(verdict.findings, 1, every)] for verdict in found.logs]
    for package in found.packages:
        parts.append([heading(f"{package.home}: submission of {package.submitter}, round {package.round or 'unknown'}: "
                              f"{plural(len(package.results), 'result')}"), *lines(package.findings, 0, every)])
    for result in found.results:
        inner = [finding for run in result.runs for finding in run.findings]
        parts.append([heading(f"{result.folder.path}: {of_result(result)}"),
                      *lines([*result.findings, *inner], len(result.runs), every)])
    if len(found.results) >= MANY:
        parts.append(["", overview(found.results, width()), ""])
    return "\n".join(line for part in [*parts, [summary(found)]] for line in part)


def of_result(result: Result) -> str:
    """Such as "resnet, round mini-1, closed division: 5 runs, 5 converged"."""
    counts = {status: sum(1 for run in result.runs if run.status == status) for status in
              ("converged", "not converged", "invalid", "not judged")}
    division = f", {result.division} division" if result.division else ""
    ended = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    return f"{result.benchmark}, round {result.round}{division}: {plural(len(result.runs), 'run')}, {ended}"


def lines(findings: Sequence[Finding], logs: int, every: bool = False) -> list[str]:
    """Findings as a compiler prints them, alike ones once, those that follow from others indented below them."""
    if every:
        return [coloured(finding.text() + (f" [follows from {finding.because}]" if finding.because else ""), finding)
                for finding in findings]
    return [("  " * depth + ("so: " if depth else "")) + coloured(group.text(logs), group.first)
            for depth, group in flattened(grouped(findings))]


def coloured(line: str, finding: Finding) -> str:
    return line.replace(f" {finding.severity} ", f" {styled(finding.severity)} ", 1)


def styled(severity: Severity) -> str:
    return style(severity, COLOURS[severity])


def overview(results: Sequence[Result], limit: int | None) -> str:
    """A row per submitter and benchmark."""
    columns = (Column("submitter"), Column("benchmark"), Column("results", right=True), Column("logs", right=True),
               Column("passed", right=True), Column("errors", right=True), Column("warnings", right=True))
    rows: dict[tuple[str, str], list[int]] = {}
    for result in results:
        row = rows.setdefault((result.folder.submitter or "-", result.folder.benchmark), [0] * 5)
        found = [*result.findings, *(finding for run in result.runs for finding in run.findings)]
        counts = (1, len(result.runs), sum(1 for run in result.runs if passes(run)),
                  *(sum(1 for finding in roots(found) if finding.severity == kind) for kind in ("error", "warning")))
        rows[result.folder.submitter or "-", result.folder.benchmark] = [
            old + new for old, new in zip(row, counts, strict=True)]
    return table(columns, [(*names, *map(str, counts)) for names, counts in sorted(rows.items())], limit)


def summary(found: Verdicts) -> str:
    """How many findings there are, or that all is well."""
    listed = list(found.findings())
    counts = {severity: sum(1 for finding in roots(listed) if finding.severity == severity) for severity in COLOURS}
    told = ", ".join(plural(count, severity) for severity, count in counts.items() if count)
    logs = plural(sum(1 for _ in found.runs()), "log")
    if not told:
        return f"{logs} checked, nothing found"
    follow = len(listed) - len(roots(listed))
    more = f" ({follow} more follow from these)" if follow else ""
    first = next(finding.rule for severity in COLOURS for finding in roots(listed) if finding.severity == severity)
    return f"{logs} checked: {told}{more}; more about a rule: laptime explain {first}"


def comparison(rules: Verdicts, official: Verdicts, logs: Sequence["Difference"],
               folders: Sequence["Difference"]) -> str:
    """Both verdicts on everything, and each difference with its reason."""
    from laptime.compliance.levels import together

    parts = [heading(f"{result.folder.path}: by the rules {counted(result)}; officially {counted(other)}")
             for result, other in zip(rules.by_folder(), official.by_folder(), strict=True)]
    for difference, count in (*together(logs), *((one, 1) for one in folders)):
        parts.append(heading(f"{difference.path}{f', {count} logs' if count > 1 else ''}: "
                             f"{verdict(difference.rules_pass)} by the rules, "
                             f"{verdict(difference.official_pass)} officially"))
        for group, why in difference.reasons():
            parts += [coloured(f"  {group.text(count)}", group.first), f"    {why}"]
    same = sum(1 for _ in rules.runs()) - len(logs)
    return "\n".join([*parts, f"{plural(same, 'log')} with the same verdict both ways, {len(logs)} with another; "
                              f"{plural(len(folders), 'folder')} whose logs together differ"])


def counted(result: Result) -> str:
    """Such as "4 of 5 logs pass"."""
    return f"{sum(1 for run in result.runs if passes(run))} of {plural(len(result.runs), 'log')} pass"


def passes(run: RunVerdict) -> bool:
    """A log that was judged and has no error."""
    return run.status != "not judged" and all(finding.severity != "error" for finding in run.findings)


def verdict(ok: bool) -> str:
    return "passes" if ok else "fails"


def plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


