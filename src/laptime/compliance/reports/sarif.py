"""Findings as SARIF 2.1.0 (OASIS standard), which code review tools and editors show at the place they are about."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from laptime.compliance.catalogue import CATALOGUE
from laptime.compliance.causes import shape
from laptime.compliance.finding import Cause, Finding, printable
from laptime.config import Json
from laptime.layout import below_round

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
VERSION = "2.1.0"
_FINGERPRINT = "laptimeRulePlace/v1"


def sarif(findings: Iterable[Finding], *, base: Path, version: str) -> Mapping[str, Json]:
    """One run of the tool. `base`: folder that paths are given relative to, where they lie inside it."""
    listed = list(findings)
    rules = list(dict.fromkeys(finding.rule for finding in listed))
    firsts = {finding.rule: finding for finding in reversed(listed)}
    numbers = {rule: number for number, rule in enumerate(rules)}
    driver: dict[str, Json] = {"name": "laptime", "version": version, "rules": [_rule(firsts[rule]) for rule in rules]}
    run: dict[str, Json] = {
        "tool": {"driver": driver}, "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {"%SRCROOT%": {"uri": f"{base.absolute().as_uri().rstrip('/')}/"}},
        "results": [_result(finding, numbers[finding.rule], base) for finding in listed]}
    return {"$schema": SCHEMA, "version": VERSION, "runs": [run]}


def _rule(finding: Finding) -> Json:
    """What is known of the rule of a finding: from the catalogue, or for key rules from the finding itself."""
    entry = CATALOGUE.get(finding.rule)
    title = entry.title if entry else f"The log key behind {finding.rule} is as the round asks"
    demands = entry.demands if entry else finding.expected or "see the source"
    helped = f"{demands} Source: {finding.source or 'rules of the round'}. {finding.fix}"
    return {"id": finding.rule, "shortDescription": {"text": printable(title)},
            "fullDescription": {"text": printable(demands)}, "help": {"text": printable(helped)}}


def _result(finding: Finding, number: int, base: Path) -> Json:
    result: dict[str, Json] = {
        "ruleId": finding.rule, "ruleIndex": number, "level": finding.severity,
        "message": {"text": _message(finding)},
        "locations": [{"physicalLocation": _location(finding.path, finding.line, base)}],
        "partialFingerprints": {_FINGERPRINT: _fingerprint(finding)},
        "properties": {"expected": printable(finding.expected), "source": printable(finding.source),
                       "fix": printable(finding.fix)}}
    if finding.because is not None:
        result["relatedLocations"] = [_related(finding.because, base)]
    return result


def _message(finding: Finding) -> str:
    because = f" (follows from {finding.because})" if finding.because else ""
    return printable(f"{finding.said}{because}")


def _related(cause: Cause, base: Path) -> Json:
    return {"id": 1, "message": {"text": f"follows from {cause.rule}"},
            "physicalLocation": _location(cause.path, cause.line, base)}


def _location(path: Path, line: int, base: Path) -> Json:
    whole, top = path.absolute(), base.absolute()
    artifact: dict[str, Json] = {"uri": whole.as_uri()}
    if whole.is_relative_to(top):
        artifact = {"uri": whole.as_uri().removeprefix(f"{top.as_uri().rstrip('/')}/"), "uriBaseId": "%SRCROOT%"}
    return {"artifactLocation": artifact, "region": {"startLine": line}} if line else {"artifactLocation": artifact}


def _fingerprint(finding: Finding) -> str:
    """The same for the same complaint about the same file, whatever its line and numbers."""
    parts: Sequence[str] = (finding.rule, below_round(finding.path).as_posix(), shape(finding.message))
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()[:32]
