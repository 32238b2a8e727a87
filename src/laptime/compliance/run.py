"""A log under the rules of its round: what every check is given."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from laptime.compliance.catalogue import CATALOGUE
from laptime.compliance.finding import Finding, Level, Severity
from laptime.config import Json
from laptime.log.read import Log
from laptime.log.record import Record, distinct
from laptime.rules.model import Authority, BenchmarkRules, Interval, KeyRule, Round

_INTERVALS = ("init", "run", "block", "epoch", "eval")
STRUCTURE = frozenset(f"{name}_{end}" for name in _INTERVALS for end in ("start", "stop")) | {"eval_accuracy"}


@dataclass(frozen=True, eq=False)  # one is itself only, so that what is computed of it can be kept
class Run:
    """One log, the rules it is judged by and how strictly."""

    log: Log
    round: Round
    rules: BenchmarkRules
    level: Level

    @property
    def path(self) -> Path:
        return self.log.path

    @property
    def authority(self) -> Authority:
        return "checker" if self.level == "official" else "rules"

    @property
    def by_key(self) -> Mapping[str, tuple[Record, ...]]:
        """Records by their raw keys, in file order."""
        return self.log.by_key

    @cached_property
    def names(self) -> Mapping[str, Json]:
        """The first logged value of every key, for formulas over other keys."""
        return {key: records[0].value for key, records in self.by_key.items()}

    @cached_property
    def division(self) -> str:
        """The logged division; closed where none of this round's is logged."""
        logged = self.names.get(self.round.vocabulary.get("submission_division", ""))
        return logged if isinstance(logged, str) and logged in self.round.divisions else "closed"

    @cached_property
    def applying(self) -> tuple[KeyRule, ...]:
        """The key rules to test, in log order."""
        return self.rules.applying(self.division, self.authority, self.names)

    @cached_property
    def moments(self) -> Mapping[str, str]:
        """Raw key -> our name of the moment."""
        return {key: moment for moment, key in self.round.vocabulary.items()}

    @cached_property
    def structure(self) -> tuple[Record, ...]:
        """The lines that open and close intervals or give an accuracy, once each, in file order."""
        keys = {key for key, moment in self.moments.items() if moment in STRUCTURE}
        return tuple(distinct([record for record in self.log.records if record.key in keys]))

    def of(self, moment: str) -> tuple[Record, ...]:
        """The records of one of our moments ("run_start"), whatever this round calls it."""
        return self.by_key.get(self.round.vocabulary.get(moment, ""), ())

    def start(self) -> Record | None:
        """The line that starts the clock."""
        return next(iter(self.of("run_start")), None)

    def stop(self) -> Record | None:
        """The line that stops the clock."""
        return next(reversed(self.of("run_stop")), None)

    def finding(self, rule: str, message: str, line: int = 0, severity: Severity = "error") -> Finding:
        """A finding on this log under a rule of the catalogue."""
        return catalogued(rule, message, self.path, line, severity)

    def demanded(self, rule: str, message: str, line: int = 0) -> Finding:
        """A finding that only the rules text supports: an error at that level, a warning to the official checker."""
        return self.finding(rule, message, line, "error" if self.level == "rules" else "warning")

    def structural(self, rule: str, message: str, line: int = 0) -> Finding:
        """A departure from the intended structure of a log: an error where the round enforces it, else a warning, since
        nothing that is judged depends on it and most published logs of later rounds depart from it somewhere."""
        enforced = self.round.strict_structure and self.level == "rules"
        return self.finding(rule, message, line, "error" if enforced else "warning")


def catalogued(rule: str, message: str, path: Path, line: int = 0, severity: Severity = "error") -> Finding:
    """A finding with the source and remedy that the catalogue gives for its rule."""
    text = CATALOGUE[rule]
    return Finding(rule, severity, message, path, line, text.source, text.fix, text.demands)


def number(value: Json) -> float | None:
    """A logged number; also one written as text, as some v0.6 logs do. None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def position(run: Run, record: Record) -> float | None:
    """Where in training a line says it is, in the unit of the round."""
    return number(record.metadata.get(run.rules.position.key, record.metadata.get("epoch_num")))


def metrics(value: Json, target: Mapping[str, Interval]) -> Mapping[str, float | None]:
    """The metrics of the target in the value of an evaluation line: a number for one, an object for several.

    v0.6 logs also put the object into a member `accuracy` (sheet on older forms, section 2).
    """
    if isinstance(value, Mapping) and isinstance(inner := value.get("accuracy"), Mapping):
        value = inner
    if not isinstance(value, int | float | str | None) and isinstance(value, Mapping):
        return {name: number(value.get(name)) for name in target}
    alone = number(value)
    return dict.fromkeys(target, alone)


def meets(value: Json, target: Mapping[str, Interval]) -> bool:
    """Whether every metric of an evaluation lies in its range."""
    found = metrics(value, target)
    return all((x := found[name]) is not None and interval.contains(x) for name, interval in target.items())
