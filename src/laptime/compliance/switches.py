"""Parameter files of submissions: switches for the official package checker, and what they do.

Submission package facts, section 4: files of a submitter are read by a script, line by line; those of a system or
result by the checker itself, which compares whole lines, their end included.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from laptime.compliance import reading
from laptime.compliance.finding import Finding, shown
from laptime.compliance.run import catalogued
from laptime.config import nearest
from laptime.rules.model import Round

NAME = "package_checker_params"
_MOST_LINES = 20


@dataclass(frozen=True)
class Switches:
    """`known`: switches named in a file; `effective`: those that the official checker heeds."""

    known: frozenset[str] = frozenset()
    effective: frozenset[str] = frozenset()
    findings: tuple[Finding, ...] = ()


def read_switches(folder: Path, round_: Round, *, whole_lines: bool) -> Switches:
    """The switches in the parameter file of a folder. `whole_lines`: the checker itself reads it, line ends and all."""
    path = folder / NAME
    if not os.path.lexists(path):
        return Switches()
    try:
        lines = reading.text(path).splitlines(keepends=True)[:_MOST_LINES]
    except ValueError as problem:
        return Switches(findings=(catalogued("package-switch", f"expected a text file, found {problem}", path,
                                             severity="warning"),))
    named = [(number, line, _switch(line)) for number, line in enumerate(lines, 1) if line.strip()]
    known = {switch for _, _, switch in named if switch in round_.package.switches}
    heeded = {switch for _, line, switch in named if switch in known and (line == switch or not whole_lines)}
    return Switches(frozenset(known), frozenset(heeded),
                    tuple(_finding(path, number, switch, switch in heeded, round_) for number, _, switch in named))


def _finding(path: Path, line: int, switch: str, heeded: bool, round_: Round) -> Finding:
    words = round_.package.switches
    if switch not in words:
        return catalogued("package-switch", f"expected one of {', '.join(words) or 'none'}, found {shown(switch)}"
                                            f"{nearest(switch[:80], words)}", path, line, "warning")
    if heeded:
        return catalogued("package-switch", f"{switch}: {words[switch]}", path, line, "note")
    return catalogued("package-switch", f"the official checker does not heed {switch}: expected the switch without a "
                                        "line end", path, line, "warning")


def _switch(line: str) -> str:
    """Both spellings, rcp-bypass and rcp_bypass, and options as they are typed."""
    return line.strip().lstrip("-").replace("_", "-")
