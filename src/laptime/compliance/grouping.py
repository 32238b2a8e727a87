"""Findings of many logs, told once: the same finding in all runs of a folder is one line, consequences below it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from laptime.compliance.causes import shape
from laptime.compliance.finding import Cause, Finding, Severity

_RANK: dict[Severity, int] = {"error": 0, "warning": 1, "note": 2}


@dataclass(frozen=True)
class Group:
    """Findings that say the same but for numbers, in the order given, and the groups that follow from them."""

    findings: tuple[Finding, ...]
    follow: tuple["Group", ...] = ()

    @property
    def first(self) -> Finding:
        return self.findings[0]

    @property
    def files(self) -> int:
        """In how many files."""
        return len({finding.path for finding in self.findings})

    def text(self, logs: int) -> str:
        """One printable line; `logs`: how many logs there are in all, 0 where the findings are not about logs."""
        if len(self.findings) == 1:
            return self.first.text()
        if self.files == 1:
            return f"{self.first.text()} [{len(self.findings)} times]"
        if not logs:
            return f"{self.first.text()} [at {self.files} places]"
        return f"{self.first.text()} [in {self.files} of {max(logs, self.files)} logs]"


def grouped(findings: Sequence[Finding]) -> tuple[Group, ...]:
    """The roots among `findings`, each with what follows from it; errors first, then in the order given."""
    known = {finding.cause() for finding in findings}
    roots = [finding for finding in findings if finding.because not in known]
    below: dict[Cause, list[Finding]] = {}
    for finding in findings:
        if finding.because in known and finding.because is not None:
            below.setdefault(finding.because, []).append(finding)
    return tuple(_groups(roots, below))


def flattened(groups: Sequence[Group], depth: int = 0) -> Iterator[tuple[int, Group]]:
    """(depth, group) of every group, each before those that follow from it."""
    for group in groups:
        yield depth, group
        yield from flattened(group.follow, depth + 1)


def _groups(findings: Sequence[Finding], below: dict[Cause, list[Finding]]) -> list[Group]:
    alike: dict[tuple[str, Severity, str], list[Finding]] = {}
    for finding in findings:
        alike.setdefault((finding.rule, finding.severity, shape(finding.message)), []).append(finding)
    groups = []
    for members in alike.values():
        follow = [one for cause in dict.fromkeys(member.cause() for member in members)
                  for one in below.pop(cause, [])]
        repeats = [one for one in follow if (one.rule, one.severity, shape(one.message)) ==
                   (members[0].rule, members[0].severity, shape(members[0].message))]
        others = [one for one in follow if one not in repeats]
        for repeat in repeats:
            others += below.pop(repeat.cause(), [])
        groups.append(Group((*members, *repeats), tuple(_groups(others, below))))
    return sorted(groups, key=lambda group: _RANK[group.first.severity])
