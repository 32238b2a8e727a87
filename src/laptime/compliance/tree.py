"""What lies where in a submission: descriptions and results in pairs, logs in their places, code and scripts.

Submission package facts, sections 1 and 4. What only the rules text asks for is a warning at level "official".
"""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from laptime.compliance import power, reading
from laptime.compliance.finding import Finding, Level, Severity
from laptime.compliance.run import catalogued
from laptime.config import nearest
from laptime.layout import ResultFolder, Submission, files, folders
from laptime.rules.load import by_log_name
from laptime.rules.model import Round

_NUMBERED = re.compile(r"result_(0|[1-9]\d{0,8})\.txt")
_LOG = re.compile(r"result_.*\.txt")
_MOST_NAMES = 200  # descriptions without results that are told, and compared with names that lack one
_PLACE = 2  # folders below `results`: system, benchmark
_PRIVATE = "privateid.json"  # result summarizer


def check_tree(found: Submission, round_: Round, level: Level) -> Iterator[Finding]:
    """The layout of one submission, without the contents of its files."""
    yield from _pairs(found, round_)
    yield from _places(found, level)
    for benchmark in found.benchmarks:
        yield from _benchmark(found, benchmark, round_, level)
    yield from _code(found, round_, level)


def log_name(round_: Round, folder: str) -> str:
    """The log name that a benchmark's folder stands for."""
    return round_.package.folder_names.get(folder, folder)


def _text_only(level: Level) -> Severity:
    return "error" if level == "rules" else "warning"


def _pairs(found: Submission, round_: Round) -> Iterator[Finding]:
    described, results = set(found.descriptions), set(found.systems)
    unused = sorted(described - results)[:_MOST_NAMES]
    strict: Severity = "error" if round_.package.layout == "systems" else "warning"  # nobody checked v0.5
    for system in found.systems:
        if system not in described:
            yield catalogued("system-missing", f"expected a description of system '{system}', found none"
                                               f"{nearest(system, unused)}", found.home / "results" / system,
                             severity=strict)
    for system in unused:
        yield catalogued("system-unused", f"expected results of system '{system}', found none",
                         found.descriptions[system], severity="warning")


def _places(found: Submission, level: Level) -> Iterator[Finding]:
    for result in found.results:
        depth = len(found.place(result))
        if depth < _PLACE:
            yield catalogued("package-place", "expected logs in a folder of their benchmark, found them in that of the "
                                              "system", result.path, severity=_text_only(level))
        elif depth > _PLACE:
            yield catalogued("package-place", "expected result files in the folder of their benchmark, found some "
                                              "below it, which no tool reads", result.path, severity="warning")
    top = found.home / "results"
    for path in (top, *(top / system for system in found.systems)):
        for file in files(path):
            if not _LOG.fullmatch(file.name) and not _usual(file.name):
                yield catalogued("package-stray", f"a file '{file.name}' lies beside folders of results", file,
                                 severity="note")


def _usual(name: str) -> bool:
    return name in (_PRIVATE, "package_checker_params", "entry.json")


def _benchmark(found: Submission, held: ResultFolder, round_: Round, level: Level) -> Iterator[Finding]:
    name = log_name(round_, held.benchmark)
    if name not in round_.suite:
        yield catalogued("package-benchmark", f"round {round_.name} has no benchmark '{held.benchmark}'."
                                              f"{nearest(held.benchmark, round_.suite)}", held.path, severity="warning")
        return
    if not held.logs:
        rules = by_log_name(round_, name)
        wanted = f"{rules.runs} logs" if rules else "logs"
        yield catalogued("run-count", f"expected {wanted} result_0.txt and so on, found none", held.path)
    yield from _numbers(held, level)
    yield from _stray(held, round_)
    yield from _scripts(found, held, round_, level)


def _numbers(held: ResultFolder, level: Level) -> Iterator[Finding]:
    numbers = [int(match[1]) if (match := _NUMBERED.fullmatch(log.name)) else -1 for log in held.logs]
    if sorted(numbers) != list(range(len(numbers))):
        odd = next(log.name for log, number in zip(held.logs, numbers, strict=True)
                   if not 0 <= number < len(numbers))
        yield catalogued("package-numbers", f"expected result_0.txt to result_{len(numbers) - 1}.txt, found {odd}",
                         held.path, severity="warning" if level == "rules" else "note")


def _stray(held: ResultFolder, round_: Round) -> Iterator[Finding]:
    logs = {log.name for log in held.logs}
    names = [file.name for file in files(held.path)
             if file.name not in logs and not any(fnmatchcase(file.name, one) for one in round_.package.other_files)]
    names += [f"{name}/" for name in folders(held.path) if name != power.FOLDER or not round_.package.power]
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        yield catalogued("package-stray", f"expected logs and their companions only, found {', '.join(names[:3])}"
                                          f"{more}", held.path, severity="warning")


def _code(found: Submission, round_: Round, level: Level) -> Iterator[Finding]:
    for name in round_.package.source_folders:
        if not _is_folder(found.home / name):
            yield catalogued("package-code", f"expected a folder '{name}' with the code, found none: nothing about "
                             "the code was checked", found.home, severity="warning")  # as in archives of results
            return
    if "benchmarks" not in round_.package.source_folders:
        return
    names = dict.fromkeys(held.benchmark for held in found.benchmarks
                          if log_name(round_, held.benchmark) in round_.suite)
    for benchmark in names:
        place = found.home / "benchmarks" / benchmark / "implementations"
        if not reading.holds_files(place):
            yield catalogued("package-code", f"expected the code of '{benchmark}' in implementations/, found none",
                             place, severity=_text_only(level))


def _scripts(found: Submission, held: ResultFolder, round_: Round, level: Level) -> Iterator[Finding]:
    """Files for one benchmark on one system; told by the lack of code where no code is there at all."""
    if not round_.package.scripts or not _is_folder(found.home / "benchmarks"):
        return
    system = found.system_of(held)
    place = found.home / "benchmarks" / held.benchmark / system
    names = {file.name for file in files(place)}
    missing = [name for name in round_.package.scripts if name not in names]
    if not any(name.startswith(f"{system}_") and name.endswith(".json") for name in names):
        missing.append(f"{system}_<implementation>.json")
    if missing:
        yield catalogued("package-scripts", f"expected {', '.join(missing)}, found none", place,
                         severity=_text_only(level))


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
