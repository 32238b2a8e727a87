"""The two levels side by side: where the rules text and the official checker come to different verdicts, and why."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from laptime.compliance.finding import Finding
from laptime.compliance.grouping import Group, grouped
from laptime.compliance.quirks import quirk_of
from laptime.compliance.result import Result, RunVerdict
from laptime.config import Json


@dataclass(frozen=True)
class Difference:
    """One log (or folder) that passes at one level only. `by_rules`, `officially`: errors of that level alone."""

    path: Path
    rules_pass: bool
    official_pass: bool
    by_rules: tuple[Finding, ...]
    officially: tuple[Finding, ...]

    def reasons(self) -> Iterator[tuple[Group, str]]:
        """What one level minds and the other does not, in groups, each with the reason."""
        for group in grouped(self.by_rules):
            yield group, _rules_only(group.first)
        for group in grouped(self.officially):
            yield group, _officially_only(group.first)

    def to_json(self) -> Mapping[str, Json]:
        return {"path": str(self.path), "rules": self.rules_pass, "official": self.official_pass,
                "reasons": [{"why": why, "finding": group.first.to_json(), "times": len(group.findings)}
                            for group, why in self.reasons()]}


def differences(rules: Sequence[RunVerdict | Result],
                official: Sequence[RunVerdict | Result]) -> tuple[Difference, ...]:
    """Where verdicts on the same things differ; the sequences speak of the same things in the same order."""
    found = []
    for one, other in zip(rules, official, strict=True):
        mine, theirs = _errors(one), _errors(other)
        if bool(mine) != bool(theirs):
            found.append(Difference(_path(one), not mine, not theirs, _without(mine, theirs), _without(theirs, mine)))
    return tuple(found)


def together(found: Sequence[Difference]) -> tuple[tuple[Difference, int], ...]:
    """Differences of the same kind in one folder as one, with how many there are of it."""
    alike: dict[tuple[Path, bool, bool], list[Difference]] = {}
    for one in found:
        alike.setdefault((one.path.parent, one.rules_pass, one.official_pass), []).append(one)
    return tuple((Difference(folder if len(ones) > 1 else ones[0].path, rules, official,
                             tuple(finding for one in ones for finding in one.by_rules),
                             tuple(finding for one in ones for finding in one.officially)), len(ones))
                 for (folder, rules, official), ones in alike.items())


def _path(judged: RunVerdict | Result) -> Path:
    return judged.path if isinstance(judged, RunVerdict) else judged.folder.path


def _errors(judged: RunVerdict | Result) -> list[Finding]:
    return [finding for finding in judged.findings if finding.severity == "error"]


def _without(findings: Sequence[Finding], others: Sequence[Finding]) -> tuple[Finding, ...]:
    known = {(finding.rule, finding.line) for finding in others}
    return tuple(finding for finding in findings if (finding.rule, finding.line) not in known)


def _rules_only(finding: Finding) -> str:
    return _quirk(finding) or "the text of the rules asks for this, the official checker does not test it"


def _officially_only(finding: Finding) -> str:
    return _quirk(finding) or "the official checker asks for this, the text of the rules does not"


def _quirk(finding: Finding) -> str:
    words = quirk_of(finding.rule)
    return f"the official checker: {words}" if words else ""
