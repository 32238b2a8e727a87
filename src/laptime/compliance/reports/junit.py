"""Verdicts as JUnit XML, the form that continuous integration systems read: a suite per folder, a case per log."""

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from laptime.compliance.finding import Finding, printable
from laptime.compliance.result import Result
from laptime.layout import below_round

_FOLDER = "(the folder)"
_UNFIT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2


def junit(results: Sequence[Result]) -> str:
    """An XML document. Errors are failures; warnings and notes go to the output of their case."""
    top = ElementTree.Element("testsuites", {"name": "laptime check"})
    suites = [_suite(result) for result in results]
    for name in ("tests", "failures"):
        top.set(name, str(sum(int(suite.get(name, "0")) for suite in suites)))
    top.set("errors", "0")
    top.extend(suites)
    ElementTree.indent(top)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(top, encoding="unicode") + "\n"


def _suite(result: Result) -> ElementTree.Element:
    title = below_round(result.folder.path / "x").parent.as_posix()
    cases = [_case(_FOLDER, title, result.findings), *(
        _case(run.path.name, title, run.findings, judged=run.status != "not judged") for run in result.runs)]
    failures = sum(1 for case in cases if case.find("failure") is not None)
    skipped = sum(1 for case in cases if case.find("skipped") is not None)
    suite = ElementTree.Element("testsuite", {
        "name": _fit(title), "tests": str(len(cases)), "failures": str(failures), "errors": "0",
        "skipped": str(skipped)})
    suite.extend(cases)
    return suite


def _case(name: str, folder: str, findings: Sequence[Finding], *, judged: bool = True) -> ElementTree.Element:
    case = ElementTree.Element("testcase", {"name": _fit(name), "classname": _fit(folder)})
    errors = [finding for finding in findings if finding.severity == "error"]
    rest = [finding for finding in findings if finding.severity != "error"]
    if errors:
        first = next((finding for finding in errors if finding.because is None), errors[0])
        failure = ElementTree.SubElement(case, "failure", {"type": first.rule, "message": _fit(first.said)})
        failure.text = "\n".join(_fit(finding.text()) for finding in errors)
    elif not judged:
        ElementTree.SubElement(case, "skipped", {"message": "there are no rules to judge this log by"})
    if rest:
        ElementTree.SubElement(case, "system-out").text = "\n".join(_fit(finding.text()) for finding in rest)
    return case


def _fit(text: str) -> str:
    """What XML can hold: it has no escapes for control characters."""
    return _UNFIT.sub("?", printable(text))
