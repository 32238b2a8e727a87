"""Key rules of a round: how often a key is logged, and which values it may have.

The rules are data; this file knows only their form. Counts and overriding follow the log format facts, section 4.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from laptime.compliance.finding import Finding, Severity, shown
from laptime.compliance.outcome import merged
from laptime.compliance.run import Run
from laptime.config import Json
from laptime.log.record import Record
from laptime.rules.constraints import Constraint
from laptime.rules.formula import Formula, same
from laptime.rules.model import KeyRule

_TOGETHER = "aggregated_"  # the official checker's prefix of such a key (log format facts, section 4)
_Violation = Callable[[Record, int], str | None]  # of a line, and its place among those of its key
_ALWAYS = frozenset({"v", "metadata", "occurrence", "true", "false"})  # names that every formula may use


def check_keys(run: Run) -> Iterator[Finding]:
    """Counts and values by every key rule that applies to the run's division and level."""
    rules = run.applying
    yield from _counts(run, rules)
    seen: set[tuple[str, int]] = set()
    for rule in sorted(rules, key=lambda rule: rule.common):  # a benchmark's rule speaks before the common one
        for finding in _values(run, rule):
            if not finding.line or (rule.key, finding.line) not in seen:
                seen.add((rule.key, finding.line))
                yield finding


def _counts(run: Run, rules: Sequence[KeyRule]) -> Iterator[Finding]:
    told: set[frozenset[str]] = set()
    for rule in rules:
        found = len(_records(run, rule.key))
        if rule.count == "optional" or (found == 1 and rule.count != "at_least_two") or \
                (found and rule.count == "at_least_one") or (found > 1 and rule.count == "at_least_two"):
            continue
        if rule.count == "at_least_two":
            yield _finding(run, rule, f"expected {rule.key} at least twice, found {found}", fix=f"Log {rule.key}.")
            continue
        either = frozenset((rule.key, rule.or_key or rule.key))
        if not found and either not in told and not any(key in run.by_key for key in either):
            told.add(either)
            wanted = " or ".join(sorted(either, key=lambda key: key != rule.key))
            asked = f"expected {wanted} once, found none" if rule.count == "exactly_one" else \
                f"expected {wanted} at least once, found none"
            yield _finding(run, rule, asked + _condition(rule), fix=f"Log {wanted}.")
        elif found:
            yield _repeated(run, rule)


def _records(run: Run, key: str) -> Sequence[Record]:
    """The lines of a key; for a key "aggregated_x", those of x with the metrics of one position brought together."""
    if run.rules.metric_key and key.startswith(_TOGETHER):
        return merged(run.by_key.get(key.removeprefix(_TOGETHER), ()), run.rules.metric_key, run)
    return run.by_key.get(key, ())


def _repeated(run: Run, rule: KeyRule) -> Finding:
    """Repeating a line is harmless as long as it says the same."""
    records = run.by_key[rule.key]
    differing = [record for record in records if not same(record.value, records[0].value)]
    if not differing:
        return _finding(run, rule, f"expected {rule.key} once, found it {len(records)} times with one value",
                        records[1].line, "warning")
    return _finding(run, rule, f"expected {rule.key} once, found it {len(records)} times with different values "
                               f"({shown(records[0].value)}, {shown(differing[0].value)})", differing[0].line)


def _values(run: Run, rule: KeyRule) -> Iterator[Finding]:
    if rule.key not in run.by_key and not rule.key.startswith(_TOGETHER):
        return
    records = _records(run, rule.key)
    if not rule.constraint or not records:
        return
    violation = _test(run, rule.constraint)
    if run.level == "official":
        violation = _as_python(violation, rule.constraint)
    if rule.occurrences == "any":
        if run.level == "official" and (odd := next((each for each in records if not _comparable(each.value)), None)):
            yield _finding(run, rule, f"{rule.key} is {shown(odd.value)}, which cannot be compared with numbers: the "
                                      "official checker stops here", odd.line)
        elif all(violation(record, 1) for record in records):
            yield _finding(run, rule, f"no {rule.key} line satisfies: {rule.constraint}", records[-1].line,
                           _severity(run, rule))
        return
    fine: tuple[object, object] | None = None  # value and metadata of the line before, if nothing was wrong with them
    alike = not _counts_lines(rule.constraint.formula)
    for place, record in enumerate(records, 1):
        if fine and record.value is fine[0] and record.metadata is fine[1]:
            continue
        words = violation(record, place)
        if words:
            yield _finding(run, rule, f"{rule.key} {words}{_condition(rule)}", record.line, _severity(run, rule))
        if rule.occurrences == "first" or rule.key.startswith("submission_"):
            return  # of these the official checker looks at the first only; later ones are found by their count
        fine = (record.value, record.metadata) if alike and not words else None


def _test(run: Run, constraint: Constraint) -> _Violation:
    """What tells how a record (and its place among those of its key, from 1) violates the constraint, None if not."""
    formula = constraint.formula
    if formula is None:
        return lambda record, place: constraint.violation(record.value, {})
    needed = _needed(formula)
    if not needed <= run.names.keys():
        return lambda record, place: None  # a key that the formula needs is not logged: the rule of that key says so
    names = {key: _number_of(run.names[key]) if run.level == "official" else run.names[key] for key in needed}
    first = {key: run.by_key[key][0].line for key in needed} if run.level == "official" else {}

    def violation(record: Record, place: int) -> str | None:
        late = [key for key, line in first.items() if line > record.line]
        if late:
            return f"stands before {late[0]}, which its test needs"
        return constraint.violation(record.value, {**names, "metadata": record.metadata, "occurrence": place})

    return violation


def _as_python(test: _Violation, constraint: Constraint) -> _Violation:
    """The test of the official checker, to which true is 1 and 1 is true (log format facts, section 5, item 4)."""
    truth = any(isinstance(value, bool) for value in (constraint.equals, *constraint.one_of))

    def violation(record: Record, place: int) -> str | None:
        words = test(record, place)
        if words is None or (twin := _twin(record.value, truth)) is None:
            return words
        return words if test(replace(record, value=twin), place) else None

    return violation


def _twin(value: Json, truth: bool) -> Json:
    """What a value is equal to in Python and not in JSON; None: nothing."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Mapping) and any(isinstance(inner, bool) for inner in value.values()):
        return {name: int(inner) if isinstance(inner, bool) else inner for name, inner in value.items()}
    return bool(value) if truth and isinstance(value, int | float) and value in (0, 1) else None


def _number_of(value: Json) -> Json:
    return int(value) if isinstance(value, bool) else value


def _comparable(value: Json) -> bool:
    """Whether `<` and `>` can be asked of a value, or of all that an object holds."""
    inner = value.values() if isinstance(value, Mapping) else (value,)
    return all(isinstance(each, int | float) for each in inner)


def _severity(run: Run, rule: KeyRule) -> Severity:
    """Where text and checker of a round differ on a hyperparameter, the checker decides (rules, Hyperparameters)."""
    text_alone = rule.authority == "rules" and not rule.common and run.round.has_checker
    return "warning" if text_alone else rule.severity


@lru_cache(maxsize=4096)
def _needed(formula: Formula) -> frozenset[str]:
    """The keys that a formula reads."""
    return formula.names() - _ALWAYS


def _counts_lines(formula: Formula | None) -> bool:
    return formula is not None and "occurrence" in formula.names()


def _condition(rule: KeyRule) -> str:
    return f", since {rule.when.text}" if rule.when else ""


def _finding(run: Run, rule: KeyRule, message: str, line: int = 0, severity: Severity = "error", *,
             fix: str = "") -> Finding:
    return Finding(rule.id, severity, message, run.path, line, rule.source,
                   fix or f"Log {rule.key} as the rule asks: {rule.constraint}.", str(rule.constraint))
