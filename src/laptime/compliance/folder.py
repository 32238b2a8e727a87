"""What the logs of one result say together: number of runs, one kind of runs, independent seeds, the right place.

Submission package facts, sections 4 and 5; seeds and places have modules of their own.
"""

from collections.abc import Iterator, Sequence

from laptime.compliance import consistency, seeds
from laptime.compliance.finding import Finding, shown
from laptime.compliance.rounds import data_hash, round_in
from laptime.compliance.run import Run, catalogued
from laptime.layout import ResultFolder


def check_folder(folder: ResultFolder, runs: Sequence[Run]) -> Iterator[Finding]:
    """Everything that needs more than one log, or the path. `runs` is not empty; empty logs are not compared."""
    wanted, found = runs[0].rules.runs, len(folder.logs)
    runs = [run for run in runs if run.log.records] or runs
    if found > wanted and runs[0].round.window_scores and runs[0].level == "rules":
        yield catalogued("run-windows", f"expected {wanted} runs, found {found}: the score is the median over "
                                        f"windows of {wanted} in order of launch", folder.path, severity="note")
    elif found != wanted:
        yield catalogued("run-count", f"expected {wanted} runs, found {found}", folder.path)
    yield from _mixture(runs)
    yield from seeds.check_seeds(runs)
    yield from consistency.check_place(folder, runs[0])
    yield from consistency.check_system(folder, runs[0])


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
