"""Seeds of the runs of a result: present, integers, and in no two runs the same from the same line of code.

Submission package facts, section 5; log facts on the key `seed`. The official seed checker works from the same
triples (file, line, value), for the closed division of the rounds whose package check includes it.
"""

from collections.abc import Iterator, Mapping, Sequence

from laptime.compliance.finding import Finding, Severity, shown
from laptime.compliance.run import Run
from laptime.config import Json
from laptime.log.record import Record

_Mark = tuple[str, str, str]


def check_seeds(runs: Sequence[Run]) -> Iterator[Finding]:
    """Seeds of the closed division: required by the rules where the round says so, by the official tool since v1.0."""
    owners: dict[_Mark, Run] = {}
    for run in runs:
        if run.division != "closed":
            continue
        if _required(run) and not run.of("seed") and not _counted(run):
            yield run.finding("seed-missing", "no seed is logged")
        yield from _integers(run)
        yield from _repeats(run, owners)


def integer(value: Json) -> int | None:
    """A logged seed as the integer that it is or holds as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | str | float):
        return None
    try:
        return int(value)
    except (ValueError, OverflowError):
        return None


def _required(run: Run) -> bool:
    return run.round.seeds_required or (run.level == "official" and "seeds" in run.round.package.checked)


def _asked(run: Run) -> bool:
    """Whether anybody asks for integers: earlier rounds had words for "none"."""
    return run.round.seeds_required or "seeds" in run.round.package.checked


def _repeats(run: Run, owners: dict[_Mark, Run]) -> Iterator[Finding]:
    """Seeds that an earlier run or line has; `owners` is filled with those of this run."""
    told: set[_Mark] = set()
    for record in run.of("seed"):
        mark = _mark(record)
        if mark in told:
            yield run.finding("seed-twice", f"seed {_brief(record.value)} is logged again from the same line of code",
                              record.line, _gravity(run) if run.level == "official" else "warning")
        elif mark in owners and record.value is not None:
            yield run.finding("seed-repeated", f"seed {_brief(record.value)} is also that of {owners[mark].path.name}",
                              record.line, _gravity(run))
        told.add(mark)
    if len(told) > 1:
        yield run.finding("seed-many", f"{len(told)} different seeds are logged", run.of("seed")[0].line, "note")
    for mark in told - owners.keys():
        owners[mark] = run


def _integers(run: Run) -> Iterator[Finding]:
    for record in run.of("seed") if _asked(run) else ():
        if record.value is not None and integer(record.value) is None:
            yield run.finding("seed-integer", f"expected an integer as seed, found {_brief(record.value)}", record.line,
                              _gravity(run))


def _brief(value: Json) -> str:
    """A value in a message or a mark; an object or list, which may be nested deeply, by its kind."""
    return "an object" if isinstance(value, Mapping) else "a list" if isinstance(value, list) else shown(value)


def _gravity(run: Run) -> Severity:
    return "error" if _required(run) else "warning"


def _counted(run: Run) -> bool:
    """Whether a key rule of the round asks for the seed itself, so that one missing is found there."""
    key = run.round.vocabulary.get("seed")
    rules = run.rules.applying(run.division, run.authority, run.names)
    return any(rule.key == key and rule.count != "optional" for rule in rules)


def _mark(record: Record) -> _Mark:
    """File, line and value; a number in text is the number."""
    number = integer(record.value)
    value = _brief(record.value) if number is None else f"{number:x}"
    return _brief(record.metadata.get("file")), _brief(record.metadata.get("lineno")), value
