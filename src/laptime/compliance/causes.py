"""Roots and consequences: which finding of a log follows from which other one.

A broken rule often breaks others: without run_stop there is no outcome, a division that is none makes keys of the
closed one missing. Each finding is hung below the one it follows from; what follows from nothing is a root. The
relations here say nothing about what is right, only what goes with what.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from laptime.compliance.finding import Finding, Severity
from laptime.compliance.run import Run, number
from laptime.rules.model import KeyRule

_RANK: Mapping[Severity, int] = {"error": 0, "warning": 1, "note": 2}
_NUMBERS = re.compile(r"\d+(?:\.\d+)?")
_UNREADABLE = frozenset({"log-grammar"})
_UNCOUNTED = frozenset({"run-count", "run-mixture"})  # without them there is no convergence to test
_NOT_COMPARED = ("Insufficient convergence", "Could not detect")  # verdicts of the convergence check on no numbers
_OF_LOGS: Mapping[str, tuple[str, ...]] = {  # rule of a folder, about one log -> beginnings of rules of that log
    "run-mixture": ("submission_", "global_batch_size", "round-differs", "log-"),
    "seed-missing": ("log-",), "folder-benchmark": ("submission_benchmark", "benchmark-"),
    "folder-submitter": ("submission_org",),
}
OUT_OF_PLACE = "comes where the checker of this round does not allow it"  # what `strict` says of a line
_SPREADING = frozenset({"clock-order", "event-type"})

_AFTER: Mapping[str, Collection[str]] = {  # rule of the catalogue -> rules of the catalogue it may follow from
    "clock-start": {"init-limit"},
    "init-limit": {"clock-order"},
    "key-on-clock": {"clock-order"}, "late-key": {"clock-order"}, "cache-order": {"clock-order"},
    "interval-nesting": {"clock-order", "target-missed"}, "interval-pairs": {"clock-order", "interval-nesting"},
    "eval-overlap": {"interval-pairs", "interval-nesting"}, "eval-outside": {"interval-pairs", "interval-nesting"},
    "epoch-numbers": {"interval-pairs", "interval-nesting"}, "block-numbers": {"interval-pairs", "interval-nesting"},
    "eval-position": {"interval-nesting"}, "eval-missing": {"interval-nesting", "eval-position"},
    "eval-extra": {"interval-nesting", "eval-position"},
    "target-missed": {"interval-nesting", "time-order", "run-status", "clock-order"},
    "run-status": {"interval-nesting"},
    "folder-benchmark": {"benchmark-unknown"},
    "too-many-failures": {"benchmark-unknown", "log-empty", "log-dialect"},
}
_LINES: Mapping[str, Collection[str]] = {  # rule of the catalogue -> moments whose lines it needs to be as they should
    "clock-order": {"init_start", "init_stop", "run_start"},
    "interval-pairs": {"run_start", "run_stop", "block_start", "block_stop", "epoch_start", "epoch_stop", "eval_start",
                       "eval_stop", "eval_accuracy"},
    "interval-nesting": {"run_start", "run_stop", "block_start"},
    "eval-overlap": {"eval_start", "eval_accuracy", "block_stop"}, "eval-outside": {"eval_start", "eval_stop"},
    "epoch-numbers": {"epoch_start"}, "block-numbers": {"block_start"},
    "eval-position": {"eval_accuracy"}, "eval-missing": {"eval_accuracy"}, "eval-extra": {"eval_accuracy"},
    "run-status": {"run_stop", "eval_accuracy"}, "target-missed": {"run_stop", "eval_accuracy"},
    "tensors": {"weights_initialization"}, "seed-missing": {"seed"}, "folder-benchmark": {"submission_benchmark"},
    "folder-submitter": {"submission_org"},
    "run-mixture": {"submission_division", "submission_benchmark"},
}


@dataclass(frozen=True)
class _Scene:
    """What the relations look things up in: the key rules of the run by id."""

    run: Run
    rules: Mapping[str, KeyRule]

    def key_rule(self, finding: Finding) -> KeyRule | None:
        return self.rules.get(finding.rule)

    def moment(self, finding: Finding) -> str:
        """Our name of the moment that a finding of a key rule is about, "" for others."""
        rule = self.key_rule(finding)
        return self.run.moments.get(rule.key, "") if rule else ""


_Relation = Callable[[Finding, Finding, _Scene], bool]  # whether the first finding follows from the second


def attributed(findings: Sequence[Finding], run: Run) -> tuple[Finding, ...]:
    """The findings of one log in their order, each with the one it follows from; quadratic in their number."""
    if len(findings) < 2:
        return tuple(findings)
    scene = _Scene(run, {rule.id: rule for rule in run.rules.keys})
    causes = _causes(findings, scene)
    return tuple(finding if cause is None else replace(finding, because=findings[cause].cause())
                 for finding, cause in zip(findings, causes, strict=True))


def roots(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The findings that follow from no other."""
    return tuple(finding for finding in findings if finding.because is None)


def hung(folder: Sequence[Finding], logs: Sequence[Sequence[Finding]], failed: Collection[int]) -> tuple[Finding, ...]:
    """The findings of a folder, with those that follow from a finding of a log hung below it.

    `logs`: the findings of each log; `failed`: places of the logs that did not converge or are invalid.
    """
    reasons = [finding for place in sorted(failed) for finding in _gravest(logs[place])]
    counts = [finding for finding in folder if finding.rule in _UNCOUNTED]
    told = [finding for findings in logs for finding in roots(findings)]
    return tuple(_hung(finding, reasons, counts, told) for finding in folder)


def _hung(finding: Finding, failures: Sequence[Finding], counts: Sequence[Finding],
          told: Sequence[Finding]) -> Finding:
    """A finding of a folder below its cause: a run that failed, too few or mixed runs, or a line of its log."""
    causes: Sequence[Finding] = ()
    if finding.rule == "too-many-failures":
        causes = failures
    elif finding.rule == "convergence-check" and finding.message.startswith(_NOT_COMPARED):
        causes = counts
    elif finding.rule in _OF_LOGS:
        causes = [one for one in told if one.path == finding.path and one.rule.startswith(_OF_LOGS[finding.rule])]
    return replace(finding, because=causes[0].cause()) if causes else finding


def _gravest(findings: Sequence[Finding]) -> Sequence[Finding]:
    """The gravest root of a log, if there is one that is more than a note."""
    found = [finding for finding in roots(findings) if finding.severity != "note"]
    return sorted(found, key=lambda finding: _RANK[finding.severity])[:1]


def _causes(findings: Sequence[Finding], scene: _Scene) -> list[int | None]:
    causes: list[int | None] = [None] * len(findings)
    for place, finding in enumerate(findings):
        for relation in _RELATIONS:
            candidates = (other for other, cause in enumerate(findings)
                          if other != place and _RANK[cause.severity] <= _RANK[finding.severity]
                          and relation(finding, cause, scene) and place not in _chain(causes, other))
            causes[place] = next(candidates, None)
            if causes[place] is not None:
                break
    return causes


def _chain(causes: Sequence[int | None], place: int | None) -> Iterator[int]:
    while place is not None:
        yield place
        place = causes[place]


def _repeats(finding: Finding, cause: Finding, scene: _Scene) -> bool:
    """The same again, further down."""
    return finding.rule == cause.rule and (cause.line, cause.message) < (finding.line, finding.message) \
        and shape(finding.message) == shape(cause.message)


def shape(message: str) -> str:
    """A message without its numbers, which differ from one occurrence to the next."""
    return _NUMBERS.sub("#", message.partition(" (and ")[0])


def _unreadable(finding: Finding, cause: Finding, scene: _Scene) -> bool:
    """What stands in a line that cannot be read is missing elsewhere."""
    if cause.rule not in _UNREADABLE or finding.rule in _UNREADABLE:
        return False
    return (not finding.line and scene.key_rule(finding) is not None) or finding.rule in _LINES


def _division(finding: Finding, cause: Finding, scene: _Scene) -> bool:
    """Which keys are asked for depends on the division."""
    rule = scene.key_rule(finding)
    return rule is not None and rule.division != "any" and scene.moment(cause) == "submission_division"


def _computed(finding: Finding, cause: Finding, scene: _Scene) -> bool:
    """A value or condition is computed from another value."""
    rule, other = scene.key_rule(finding), scene.key_rule(cause)
    if rule is None or other is None or rule.key == other.key:
        return False
    formulas = (rule.when, rule.constraint.formula)
    return any(formula is not None and other.key in formula.names() for formula in formulas)


def _same_input(finding: Finding, cause: Finding, scene: _Scene) -> bool:
    """Several values are computed from one that is no number."""
    rule, other = scene.key_rule(finding), scene.key_rule(cause)
    if rule is None or other is None or rule is other or finding.line <= cause.line:
        return False
    read = [each.constraint.formula.names() if each.constraint.formula else frozenset() for each in (rule, other)]
    return any(name in scene.run.names and number(scene.run.names[name]) is None for name in read[0] & read[1])


def _tensors(finding: Finding, cause: Finding, scene: _Scene) -> bool:
    """A tensor of another name is one too many and one too few."""
    return finding.rule == cause.rule == "tensors" and not finding.line and bool(cause.line)


def _same_key(finding: Finding, cause: Finding, scene: _Scene) -> bool:
    """Several rules speak of one key."""
    rule, other = scene.key_rule(finding), scene.key_rule(cause)
    return rule is not None and other is not None and rule.key == other.key and finding.line >= cause.line


def _needs_line(finding: Finding, cause: Finding, scene: _Scene) -> bool:
    """A check of the structure stumbles over a line that is missing or not as it should be."""
    return scene.moment(cause) in _LINES.get(finding.rule, ()) and scene.moment(cause) != ""


def _same_line(finding: Finding, cause: Finding, scene: _Scene) -> bool:
    """A check of the structure stumbles over the line that breaks a key rule."""
    return bool(finding.line) and finding.line == cause.line and scene.key_rule(cause) is not None \
        and scene.key_rule(finding) is None


def _outcome(finding: Finding, cause: Finding, scene: _Scene) -> bool:
    """A run that says it did not succeed has no evaluation that met the target."""
    rule = scene.key_rule(finding)
    return rule is not None and rule.occurrences == "any" and scene.moment(cause) == "run_stop"


def _interval(finding: Finding, cause: Finding, scene: _Scene) -> bool:
    """An interval that is not logged lacks its end as well as its start."""
    if finding.line or cause.line:
        return False
    name, _, end = scene.moment(finding).rpartition("_")
    return end == "stop" and scene.moment(cause) == f"{name}_start"


def _order(finding: Finding, cause: Finding, scene: _Scene) -> bool:
    """One line in the wrong place puts others in the wrong order; one way of logging gives many lines of wrong type."""
    return finding.rule == cause.rule and finding.rule in _SPREADING and finding.line > cause.line


def _twice(finding: Finding, cause: Finding, scene: _Scene) -> bool:
    """Two checks of one rule stumble over one line: the graver finding speaks for both."""
    return finding.rule == cause.rule and 0 < finding.line == cause.line \
        and _RANK[cause.severity] < _RANK[finding.severity]


def _derailed(finding: Finding, cause: Finding, scene: _Scene) -> bool:
    """After one line in the wrong place the strict checker of a round takes the following ones for wrong too."""
    return OUT_OF_PLACE in finding.message and OUT_OF_PLACE in cause.message and finding.line > cause.line


def _seen_by_both(finding: Finding, cause: Finding, scene: _Scene) -> bool:
    """What the strict checker of a round takes for one fault of a line, the rules may call another."""
    return OUT_OF_PLACE in cause.message and finding.rule in _LINES and 0 < finding.line == cause.line \
        and _RANK[cause.severity] < _RANK[finding.severity]


def _listed(finding: Finding, cause: Finding, scene: _Scene) -> bool:
    return cause.rule in _AFTER.get(finding.rule, ())


_RELATIONS: tuple[_Relation, ...] = (
    _unreadable, _division, _computed, _same_input, _tensors, _needs_line, _outcome, _interval, _order, _derailed,
    _twice, _seen_by_both,
    _listed, _same_line, _same_key, _repeats)
