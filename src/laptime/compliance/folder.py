"""What the logs of one result say together: number of runs, one kind of runs, independent seeds, the right folder.

Submission package facts, sections 4 and 5.
"""

from collections.abc import Iterator, Sequence

from laptime.compliance.finding import Finding, shown
from laptime.compliance.rounds import data_hash, round_in
from laptime.compliance.run import Run, catalogued
from laptime.layout import ResultFolder
from laptime.log.record import Record

_Seed = tuple[str, str, str]


def check_folder(folder: ResultFolder, runs: Sequence[Run]) -> Iterator[Finding]:
    """Everything that needs more than one log, or the path. `runs` is not empty; empty logs are not compared."""
    wanted, found = runs[0].rules.runs, len(folder.logs)
    runs = [run for run in runs if run.log.records] or runs
    if found != wanted:
        yield catalogued("run-count", f"expected {wanted} runs, found {found}", folder.path)
    yield from _mixture(runs)
    yield from _seeds(runs)
    yield from _place(folder, runs)


def batch_size(run: Run) -> float | None:
    """The logged global batch size, under whatever key the round gives it."""
    key = next((rule.key for rule in run.rules.keys if rule.name == "global_batch_size"), "global_batch_size")
    value = run.names.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None


def _mixture(runs: Sequence[Run]) -> Iterator[Finding]:
    first = runs[0]
    for run in runs[1:]:
        for (name, mine), (_, other) in zip(_kind(run), _kind(first), strict=True):
            if mine != other:
                yield run.finding("run-mixture", f"{name} is {shown(mine)}, {first.path.name} has {shown(other)}")


def _kind(run: Run) -> tuple[tuple[str, str | float | None], ...]:
    """What all runs of a result have in common."""
    return (("benchmark", run.rules.name), ("division", run.division), ("batch size", batch_size(run)),
            ("round", round_in(run.log) or run.round.name), ("data hash", data_hash(run.log)))


def _seeds(runs: Sequence[Run]) -> Iterator[Finding]:
    """Seeds of the closed division: present where required, and in no two runs the same from the same line."""
    owners: dict[_Seed, Run] = {}
    for run in runs:
        if run.division != "closed":
            continue
        if run.round.seeds_required and not run.of("seed") and not _counted(run):
            yield run.finding("seed-missing", "no seed is logged")
        told: set[_Seed] = set()
        for record in run.of("seed"):
            mark = _mark(record)
            if mark in told:
                yield run.finding("seed-twice", f"seed {shown(record.value)} is logged again from the same line "
                                                "of code", record.line, "warning")
            elif mark in owners and record.value is not None:
                yield run.finding("seed-repeated", f"seed {shown(record.value)} is also that of "
                                                   f"{owners[mark].path.name}", record.line,
                                  "error" if run.round.seeds_required else "warning")
            told.add(mark)
        owners |= dict.fromkeys(told - owners.keys(), run)


def _counted(run: Run) -> bool:
    """Whether a key rule of the round asks for the seed itself, so that one missing is found there."""
    key = run.round.vocabulary.get("seed")
    rules = run.rules.applying(run.division, run.authority, run.names)
    return any(rule.key == key and rule.count != "optional" for rule in rules)


def _mark(record: Record) -> _Seed:
    return str(record.metadata.get("file")), str(record.metadata.get("lineno")), repr(record.value)


def _place(folder: ResultFolder, runs: Sequence[Run]) -> Iterator[Finding]:
    run = runs[0]
    benchmark = run.names.get(run.round.vocabulary.get("submission_benchmark", ""))
    if folder.system and isinstance(benchmark, str) and benchmark != folder.benchmark:
        yield run.finding("folder-benchmark", f"the log says benchmark '{benchmark}', the folder is "
                                              f"'{folder.benchmark}'", _line(run, "submission_benchmark"))
    submitter = run.names.get(run.round.vocabulary.get("submission_org", ""))
    if folder.submitter and isinstance(submitter, str) and not _alike(submitter, folder.submitter):
        yield run.finding("folder-submitter", f"the log says organisation {shown(submitter)}, the folder is "
                                              f"'{folder.submitter}'", _line(run, "submission_org"), "note")


def _alike(one: str, other: str) -> bool:
    a, b = (("".join(letter for letter in name.lower() if letter.isalnum())) for name in (one, other))
    return a in b or b in a


def _line(run: Run, moment: str) -> int:
    return next((record.line for record in run.of(moment)), 0)
