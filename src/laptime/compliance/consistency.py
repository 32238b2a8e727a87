"""What logs say of their submitter and system, against the folders they lie in and the description of the system.

Submission package facts, sections 1 and 2: names differ in spelling, joint submitters are joined by + or _; the
platform of a log begins with the number of nodes ("16xNAME") where it begins with a number.
"""

import re
from collections.abc import Iterator

from laptime.compliance.finding import Finding, shown
from laptime.compliance.run import Run
from laptime.compliance.system_description import Description, category, read_description
from laptime.layout import ResultFolder, description_of

_PLACEHOLDER = "placeholder"
_CLOSED = {"close": "closed"}  # a spelling of v1.0
_NODES_IN_PLATFORM = re.compile(r"(\d{1,7})x", re.IGNORECASE)
_NODES_IN_NAME = re.compile(r"(?:^|[_-])n(\d{1,7})(?=[_-]|$)", re.IGNORECASE)  # such as dgxa100_n64_ngc22.04
_DEVICES_IN_NAME = re.compile(r"(?:^|[_-])ngpu(\d{1,7})(?=[_-]|$)", re.IGNORECASE)  # such as tyche_ngpu72_ngc25.04


def check_place(found: ResultFolder, run: Run) -> Iterator[Finding]:
    """The folders of a result are called after its benchmark and its submitter."""
    benchmark = _named(run, "submission_benchmark")
    folder = run.round.package.folder_names.get(found.benchmark, found.benchmark)
    if found.system and benchmark is not None and run.round.package.folder_names.get(benchmark, benchmark) != folder:
        yield run.finding("folder-benchmark", f"the log says benchmark {shown(benchmark)}, the folder is "
                                              f"'{found.benchmark}'", _line(run, "submission_benchmark"))
    submitter = _named(run, "submission_org")
    if submitter is not None and _PLACEHOLDER in submitter.lower():
        yield run.finding("log-placeholder", f"expected the submitter's name, found {shown(submitter)}",
                          _line(run, "submission_org"), "warning")
    elif submitter is not None and found.submitter and not alike(submitter, found.submitter):
        yield run.finding("folder-submitter", f"the log says organisation {shown(submitter)}, the folder is "
                                              f"'{found.submitter}'", _line(run, "submission_org"), "warning")


def check_system(found: ResultFolder, run: Run) -> Iterator[Finding]:
    """The logs of a result agree with the description of their system, where there is one that can be read."""
    path = description_of(found)
    if path is None:
        return
    description = read_description(path)
    yield from _division(description, run)
    yield from _status(description, run)
    yield from _size(description, found, run)


def alike(one: str, other: str) -> bool:
    """Whether two names of a submitter are the same but for case, blanks, signs, and the order of joined names."""
    a, b = _letters(one), _letters(other)
    if a in b or b in a:
        return True
    parts = [{_letters(part) for part in re.split(r"[+_&,/]", name)} - {""} for name in (one, other)]
    return parts[0] == parts[1]


def _division(description: Description, run: Run) -> Iterator[Finding]:
    logged, described = _named(run, "submission_division"), description.text("division")
    if logged is not None and described is not None and _division_name(logged) != _division_name(described):
        yield run.demanded("log-system", f"the log says division {shown(logged)}, expected that of "
                                           f"{description.path.name}, {shown(described)}",
                             _line(run, "submission_division"))


def _division_name(text: str) -> str:
    name = text.strip().lower()
    return _CLOSED.get(name, name)


def _status(description: Description, run: Run) -> Iterator[Finding]:
    logged, described = _named(run, "submission_status"), description.text("status")
    if logged is None or described is None:
        return
    mine, theirs = category(run.round, logged), category(run.round, described)
    if mine is not None and theirs is not None and mine != theirs:
        yield run.finding("log-system", f"the log says status {shown(logged)}, expected one that means "
                                        f"{shown(described)} as in {description.path.name}",
                          _line(run, "submission_status"), "warning")


def _size(description: Description, found: ResultFolder, run: Run) -> Iterator[Finding]:
    """Nodes and accelerators, where the platform of the log or the name of the system begins or ends with a count."""
    nodes, each = description.count("number_of_nodes"), description.count("accelerators_per_node")
    platform, system = _named(run, "submission_platform"), description.path.stem
    logged = platform and _NODES_IN_PLATFORM.match(platform)
    named, devices = _NODES_IN_NAME.search(system), _DEVICES_IN_NAME.search(system)
    if nodes is None:
        return
    if logged and int(logged[1]) != nodes:
        yield run.finding("log-system", f"the log's platform {shown(platform)} speaks of {int(logged[1])} nodes, "
                                        f"expected {nodes} as in {description.path.name}",
                          _line(run, "submission_platform"), "warning")
    if named and int(named[1]) != nodes:
        yield run.finding("log-system", f"the system's name speaks of {int(named[1])} nodes, expected {nodes} as in "
                                        f"{description.path.name}", severity="warning")
    if devices and each is not None and int(devices[1]) != nodes * each:
        yield run.finding("log-system", f"the system's name speaks of {int(devices[1])} accelerators, expected "
                                        f"{nodes} x {each} as in {description.path.name}", severity="warning")


def _named(run: Run, moment: str) -> str | None:
    value = run.names.get(run.round.vocabulary.get(moment, ""))
    return value if isinstance(value, str) else None


def _letters(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _line(run: Run, moment: str) -> int:
    return next((record.line for record in run.of(moment)), 0)
