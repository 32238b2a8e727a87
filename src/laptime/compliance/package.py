"""Whole submissions, judged: their results, and everything around these. One report for each submission.

At level "official" errors are what the official package, system-description and repository checkers of the round
would stop at (where one of them does not look, its findings are warnings); at level "rules" what the text demands.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from laptime.compliance import power, repository, sources, switches, tree
from laptime.compliance.consistency import alike
from laptime.compliance.finding import Finding, Level, shown
from laptime.compliance.result import Result, judge_folder
from laptime.compliance.run import catalogued
from laptime.compliance.switches import Switches
from laptime.compliance.system_description import check_description, read_description
from laptime.config import Json, SuitePath
from laptime.errors import UserError
from laptime.layout import Submission, find_submissions, rounds_in_path
from laptime.rules.load import by_log_name, load_round, resolve, round_names
from laptime.rules.model import Round

BUILT_IN = SuitePath()
Progress = Callable[[int, int], None]

_EXCUSES: Mapping[str, frozenset[str]] = {  # switch -> rules whose errors it excuses
    "rcp-bypass": frozenset({"convergence-check"}),
    "seed-checker-bypass": frozenset({"seed-missing", "seed-repeated", "seed-twice", "seed-integer"}),
}


@dataclass(frozen=True)
class PackageReport:
    """One submission, judged. `findings`: about the tree; each of `results` has its own. `round`: "" where unknown.

    `level`: how it was judged; the official checker accepts a result with as many bad logs as may be dropped.
    """

    home: Path
    submitter: str
    round: str
    findings: tuple[Finding, ...]
    results: tuple[Result, ...]
    level: Level = "rules"

    @property
    def ok(self) -> bool:
        """No error in the tree, and every result could be published."""
        return bool(self.results) and all(map(self._fine, self.results)) and not _errors(self.findings)

    def _fine(self, result: Result) -> bool:
        return result.ok if self.level == "rules" else result.score is not None and not _errors(result.findings)

    def every(self) -> Iterator[Finding]:
        """Findings of the tree, of the results and of their logs."""
        yield from self.findings
        for result in self.results:
            yield from result.findings
            for run in result.runs:
                yield from run.findings

    def to_json(self) -> Mapping[str, Json]:
        return {"home": str(self.home), "submitter": self.submitter, "round": self.round, "ok": self.ok,
                "findings": [finding.to_json() for finding in self.findings],
                "results": [result.to_json() for result in self.results]}


@dataclass(frozen=True)
class _Ask:
    """What the caller wants to know. `round_name`: in full, None: as logs and paths say."""

    round_name: str | None
    level: Level
    suite: SuitePath


def judge_packages(path: Path, *, round_name: str | None = None, level: Level = "rules", suite: SuitePath = BUILT_IN,
                   processes: int | None = None, progress: Progress | None = None) -> tuple[PackageReport, ...]:
    """Every submission at `path`: a submitter's folder or a whole round. None where nothing looks like one.

    A submission that cannot be read is a finding. Raises UserError for an unknown `round_name` or a faulty rule file.
    `processes`, `progress`: as of `judge_folder`.
    """
    ask = _Ask(resolve(round_name) if round_name else None, level, suite)
    found = find_submissions(path)
    if not any(submission.results for submission in found):
        return tuple(_report(each, ask, ()) for each in found)
    try:
        results = judge_folder(path, round_name=ask.round_name, level=level, suite=suite, processes=processes,
                               progress=progress, energy=level == "rules")
    except UserError:  # a log that cannot be read, or that tells no round: found again, one result at a time
        return tuple(_report(each, ask, *_one_by_one(each, ask)) for each in found)
    return tuple(_report(each, ask, _within(results, each.home)) for each in found)


def check_package(found: Submission, round_: Round, level: Level, results: Sequence[Result] = ()) -> Iterator[Finding]:
    """Everything about one submission that is not about a single result. `results`: as judged, for what needs them."""
    yield from tree.check_tree(found, round_, level)
    yield from _descriptions(found, round_, level)
    for switch in _all_switches(found, round_).values():
        yield from switch.findings
    yield from _power(found, round_, level, results)
    yield from _softened(repository.check_repository(found.home, level), "repository", round_, level)
    if level == "rules":
        for name in round_.package.source_folders:
            yield from sources.check_sources(found.home / name)


def _report(found: Submission, ask: _Ask, results: Sequence[Result],
            findings: Iterable[Finding] = ()) -> PackageReport:
    name = ask.round_name or _round_of(found, results)
    if not found.results:
        findings = (*findings, catalogued("package-empty", "expected logs below results/, found none", found.home))
    if name is None:
        findings = (*findings, catalogued("package-unreadable", "expected the round in the logs or the path, found "
                                                                "none: say it by --round", found.home))
        return PackageReport(found.home, found.submitter, "", tuple(findings), tuple(results), ask.level)
    round_ = load_round(name, ask.suite)
    if ask.level == "official":
        results = _excused(results, found, _all_switches(found, round_))
    findings = (*findings, *check_package(found, round_, ask.level, results))
    return PackageReport(found.home, found.submitter, name, findings, tuple(results), ask.level)


def _round_of(found: Submission, results: Sequence[Result]) -> str | None:
    """The round of most results, else that of the path."""
    counts = Counter(result.round for result in results if result.round in round_names())
    if counts:
        return counts.most_common(1)[0][0]
    return next((name for name in rounds_in_path(found.home) if name in round_names()), None)


def _within(results: Sequence[Result], home: Path) -> tuple[Result, ...]:
    return tuple(result for result in results if result.folder.path.is_relative_to(home))


def _one_by_one(found: Submission, ask: _Ask) -> tuple[tuple[Result, ...], tuple[Finding, ...]]:
    """Each result by itself: what can be judged, and a finding for every one that cannot."""
    results: list[Result] = []
    findings: list[Finding] = []
    for held in found.results:
        try:
            judged = judge_folder(held.path, round_name=ask.round_name, level=ask.level, suite=ask.suite,
                                  processes=1, energy=ask.level == "rules")
            results += [result for result in judged if result.folder.path == held.path]
        except UserError as error:
            findings.append(catalogued("package-unreadable", f"expected logs that can be judged: {error}", held.path))
    return tuple(results), tuple(findings)


def _descriptions(found: Submission, round_: Round, level: Level) -> Iterator[Finding]:
    """The system descriptions, by themselves and against the folder's name."""
    submitters: dict[str, Path] = {}
    for system, path in found.descriptions.items():
        description = read_description(path)
        yield from _softened(check_description(description, round_, level), "descriptions", round_, level)
        if level == "official" and system in found.systems and (description.findings or
                                                                "division" not in description.fields):
            yield catalogued("system-division", "expected a division that can be read, found none: the official "
                                                "package checker stops here", path)
        submitters.setdefault(description.text("submitter") or found.submitter, path)
    for name, path in submitters.items():
        if found.submitter and not alike(name, found.submitter):
            yield catalogued("system-submitter", f"submitter is {shown(name)}, expected the folder's, "
                                                 f"'{found.submitter}'", path, severity="warning")


def _all_switches(found: Submission, round_: Round) -> dict[Path, Switches]:
    """The switches of the submitter, of systems and of results, by the folder they hold for."""
    top = found.home / "results"
    inner = [*(top / system for system in found.systems), *(held.path for held in found.benchmarks)]
    held = {path: switches.read_switches(path, round_, whole_lines=True) for path in inner}
    return {found.home: switches.read_switches(found.home, round_, whole_lines=False), **held}


def _excused(results: Sequence[Result], found: Submission, held: Mapping[Path, Switches]) -> tuple[Result, ...]:
    """Results with the errors as warnings that an effective switch excuses."""
    excused = []
    for result in results:
        places = (found.home, found.home / "results" / found.system_of(result.folder), result.folder.path)
        heeded = {switch for path in places if path in held for switch in held[path].effective}
        rules = frozenset[str]().union(*(_EXCUSES.get(switch, frozenset()) for switch in heeded))
        findings = tuple(replace(one, severity="warning") if one.rule in rules and one.severity == "error" else one
                         for one in result.findings)
        excused.append(replace(result, findings=findings))
    return tuple(excused)


def _power(found: Submission, round_: Round, level: Level, results: Sequence[Result]) -> Iterator[Finding]:
    """Power readings: their structure, and what stands in the way of an energy."""
    measured = {result.folder.path: result.energy for result in results}
    for held in found.benchmarks:
        rules = by_log_name(round_, tree.log_name(round_, held.benchmark))
        if not round_.package.power or rules is None or not held.logs:
            continue
        yield from power.check_power(held, level, rules.max_failures)
        energy = measured.get(held.path) if level == "rules" else None
        yield from energy.findings if energy else ()


def _errors(findings: Iterable[Finding]) -> bool:
    return any(finding.severity == "error" for finding in findings)


def _softened(findings: Iterable[Finding], check: str, round_: Round, level: Level) -> Iterator[Finding]:
    """At level "official", errors as warnings where no official tool of the round makes the check."""
    soft = level == "official" and check not in round_.package.checked
    for finding in findings:
        yield replace(finding, severity="warning") if soft and finding.severity == "error" else finding
