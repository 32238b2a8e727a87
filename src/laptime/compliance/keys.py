"""Key rules of a round: how often a key is logged, and which values it may have.

The rules are data; this file knows only their form. Counts and overriding follow the log format facts, section 4.
"""

from collections.abc import Iterator, Sequence

from laptime.compliance.finding import Finding, Severity, shown
from laptime.compliance.run import Run
from laptime.log.record import Record
from laptime.rules.constraints import Constraint
from laptime.rules.formula import same
from laptime.rules.model import KeyRule

_ALWAYS = frozenset({"v", "metadata", "true", "false"})  # names that every formula may use


def check_keys(run: Run) -> Iterator[Finding]:
    """Counts and values by every key rule that applies to the run's division and level."""
    rules = run.rules.applying(run.division, run.authority, run.names)
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
        found = len(run.by_key.get(rule.key, ()))
        if rule.count == "optional" or (found == 1) or (found and rule.count == "at_least_one"):
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
    records = run.by_key.get(rule.key, ())
    if not rule.constraint or not records:
        return
    if rule.occurrences == "any":
        if all(_violation(run, rule.constraint, record) for record in records):
            yield _finding(run, rule, f"no {rule.key} line satisfies: {rule.constraint}", records[-1].line,
                           rule.severity)
        return
    for record in records:
        if violation := _violation(run, rule.constraint, record):
            yield _finding(run, rule, f"{rule.key} {violation}{_condition(rule)}", record.line, rule.severity)
        if rule.key.startswith("submission_"):
            return  # the official checker looks at the first only; later ones are found by their count


def _violation(run: Run, constraint: Constraint, record: Record) -> str | None:
    if constraint.formula and constraint.formula.names() - run.names.keys() - _ALWAYS:
        return None  # a key that the formula needs is not logged: the rule of that key says so
    return constraint.violation(record.value, {**run.names, "metadata": record.metadata})


def _condition(rule: KeyRule) -> str:
    return f", since {rule.when.text}" if rule.when else ""


def _finding(run: Run, rule: KeyRule, message: str, line: int = 0, severity: Severity = "error", *,
             fix: str = "") -> Finding:
    return Finding(rule.id, severity, message, run.path, line, rule.source,
                   fix or f"Log {rule.key} as the rule asks: {rule.constraint}.")
