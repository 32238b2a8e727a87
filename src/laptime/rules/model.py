"""Rounds and rules as values: what the files in `rounds/` and `suite/*/rules.toml` say, resolved for one round.

Knows neither logs nor runs. The closed vocabulary of constraints replaces program text in data files.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from laptime.rules.constraints import Constraint
from laptime.rules.formula import Formula, FormulaError

Division = Literal["closed", "open"]
Authority = Literal["rules", "checker", "both"]  # who asks: the rules text, the official checker, or both alike
Count = Literal["exactly_one", "at_least_one", "at_least_two", "optional"]
Occurrence = Literal["every", "any", "first"]


@dataclass(frozen=True)
class Interval:
    """A range of a metric; ends closed unless said. None: unbounded."""

    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False

    def contains(self, value: float) -> bool:
        if self.low is not None and (value < self.low or (self.low_open and value == self.low)):
            return False
        return not (self.high is not None and (value > self.high or (self.high_open and value == self.high)))

    def __str__(self) -> str:
        low = "" if self.low is None else f"{'>' if self.low_open else '>='} {self.low:g}"
        high = "" if self.high is None else f"{'<' if self.high_open else '<='} {self.high:g}"
        return " and ".join(part for part in (low, high) if part)


@dataclass(frozen=True)
class KeyRule:
    """One key of a round's logs. Order of the rules = order in the log.

    Several rules may speak of one key: the first carries its `count`, others add constraints (count "optional").
    `or_key`: count "at_least_one" is met by this key too; `source_name`: our name of the value where the log name
    differs ("" : same); `when`: the rule holds only if this formula over the logged values does; `occurrences`: whether
    every line of the key must satisfy the constraint, any one, or the first; `source`: where the rule stands; `id`:
    stable, unique in a round and benchmark, shown in findings; `common`: said by the round for every benchmark;
    `severity`: of a value that breaks the constraint.
    """

    id: str
    key: str
    count: Count
    constraint: Constraint
    source_name: str = ""
    when: Formula | None = None
    division: Literal["closed", "open", "any"] = "any"
    authority: Authority = "both"
    source: str = ""
    or_key: str = ""
    occurrences: Occurrence = "every"
    common: bool = False
    severity: Literal["error", "warning"] = "error"

    @property
    def name(self) -> str:
        """Our name of the value this key carries."""
        return self.source_name or self.key

    @property
    def releases(self) -> bool:
        """Whether the rule asks nothing: a benchmark's way to be free of what the round asks of a key."""
        return self.count == "optional" and not self.constraint and self.authority == "both"

    def applies(self, division: str, authority: Authority, names: Mapping[str, object]) -> bool:
        """Whether the rule is to be tested in `division` by `authority` ("both": by anybody), given the logged values.

        A rule whose condition cannot be computed (the value it depends on was not logged) does not apply: what is
        missing is found by the rule of that key.
        """
        if self.division not in ("any", division) or not (authority == "both" or self.authority in ("both", authority)):
            return False
        try:
            return self.when is None or self.when.holds(names)
        except FormulaError:
            return False


@dataclass(frozen=True)
class Position:
    """How a round writes where training is: metadata `key` = `value`.

    The formula is over samples, epoch (from 1), step, samples_per_epoch, global_batch_size and logged hyperparameters.
    `everywhere`: blocks and epochs are numbered by it too, and blocks say their length in its unit.
    """

    key: str
    value: Formula
    everywhere: bool = False


@dataclass(frozen=True)
class Evaluations:
    """The prescribed evaluation points, as formulas over configuration values and sizes.

    `lenient`: why a point that seems to be missing is no proof in this round; "": it is.
    """

    unit: Literal["samples", "epochs"]
    points: tuple[Formula, ...]
    step: Formula | None
    text: str  # the rule in words
    lenient: str = ""


@dataclass(frozen=True)
class ReferencePoint:
    """One reference convergence point (RCP): values in `unit` until the target, one per reference run."""

    name: str
    batch_size: int
    unit: str
    values: tuple[float, ...]
    hyperparameters: Mapping[str, str]


@dataclass(frozen=True)
class BenchmarkRules:
    """Everything a round says about one benchmark."""

    round: str
    name: str  # the folder in the suite: ours, stable
    log_name: str  # what logs and result folders of this round call it
    title: str
    area: str
    dataset: str
    model: str
    metric: str  # in words
    preset: str
    target: Mapping[str, Interval]  # metric name -> range; all must hold in one evaluation
    runs: int
    drop: int
    max_failures: int
    convergence_unit: str
    evaluations: Evaluations
    limit: Formula | None  # epochs; None: where the configuration's schedule ends
    position: Position
    keys: tuple[KeyRule, ...]  # common keys of the round and those of the benchmark, in log order
    tensors: tuple[str, ...]  # names that `weights_initialization` lines must carry, each once; empty: none asked for
    references: tuple[ReferencePoint, ...]
    excepts: Mapping[str, str]  # for derived rounds: key -> reason
    folder: Path
    free: tuple[str, ...] = ("*",)  # settings that a closed run may change (patterns); the others stay as in the preset
    data: Literal["published", "generated"] = "published"  # where the data set of this round comes from
    first_converged: int | None = None  # the score takes the first this many runs that converge (NCF); None: all
    metric_key: str = ""  # one line per metric: metadata that names it; "": one line holds every metric
    evaluate_offline: bool = False  # checkpoints are evaluated after the clock: the first passing one is the result
    convergence_check: bool = True  # against reference points, where the round has the check at all
    convergence_slack: Mapping[str, float] = field(default_factory=dict)  # authority -> units below the minimum mean
    init_minutes: Mapping[str, float] = field(default_factory=dict)  # division -> minutes, over those of the round
    settings: Mapping[str, Constraint] = field(default_factory=dict)  # configuration value that no line carries -> rule
    spread: float = 0.15  # of a house round's reference runs: most coefficient of variation of the units to the target
    borrowing: bool = True  # whether hyperparameters may be taken over from another submission during review

    @property
    def target_text(self) -> str:
        """The target in words, such as "eval_accuracy >= 0.759"."""
        return ", ".join(f"{name} {interval}" for name, interval in self.target.items())

    def applying(self, division: str, authority: Authority, names: Mapping[str, object]) -> tuple[KeyRule, ...]:
        """The key rules to test in `division` by `authority`, in log order, given the logged values.

        What the benchmark's own rules say of a key takes the place of the round's rules for it: always in the official
        checker (log format facts, section 4), else where the benchmark releases the key from them.
        """
        found = [rule for rule in self.keys if rule.applies(division, authority, names)]
        own = {rule.key for rule in found if not rule.common and (authority == "checker" or rule.releases)}
        return tuple(rule for rule in found if not rule.common or rule.key not in own)

    def hyperparameters(self, division: str, names: Mapping[str, object]) -> tuple[KeyRule, ...]:
        """The benchmark's own keys that a log of this round carries, one rule per key, in log order.

        `names`: the live values by our names; a key whose value is not among them is left out.
        """
        first: dict[str, KeyRule] = {}
        for rule in self.applying(division, "both", names):
            if not rule.common and rule.name in names:
                first.setdefault(rule.key, rule)
        return tuple(first.values())


@dataclass(frozen=True)
class Identity:
    """What one folder of the suite is, for tables: cheap to load. `rounds`: where it appears, in order."""

    folder: str
    title: str
    area: str
    dataset: str
    model: str
    metric: str
    rounds: tuple[str, ...]
    path: Path


@dataclass(frozen=True)
class PackageRules:
    """What a round asks of a whole submission, beyond its logs.

    `layout`: where system descriptions lie ("entries": results/<system>/entry.json); `fields`: those a description must
    have; `may_be_empty`: of these, the ones that need no answer; `one_suffices`: an answer to one of these is enough;
    `joined_as_text`: those that the official checker cannot read unless they are texts; `source_folders`: where the
    code lies; `scripts`: files wanted for each benchmark on each system; `other_files`: patterns of names that may lie
    beside the logs of a result; `categories`: spelling of a status, in lower case letters only -> its category;
    `switches`: line of a parameter file -> what it does; `folder_names`: other name
    of a benchmark's folder -> log name; `checked`: what the official tools look at in this round; `statuses`:
    "checker" or "rules" -> the exact values it allows (none named: any); `power`: whether energy may be submitted.
    """

    layout: Literal["entries", "systems"] = "systems"
    fields: tuple[str, ...] = ()
    may_be_empty: frozenset[str] = frozenset()
    one_suffices: tuple[str, ...] = ()
    joined_as_text: tuple[str, ...] = ()
    source_folders: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()
    other_files: tuple[str, ...] = ()
    categories: Mapping[str, str] = field(default_factory=dict)
    switches: Mapping[str, str] = field(default_factory=dict)
    folder_names: Mapping[str, str] = field(default_factory=dict)
    checked: frozenset[str] = frozenset()
    statuses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    power: bool = False


@dataclass(frozen=True)
class Round:
    """One round of the benchmark suite. `suite` maps log name -> folder name."""

    name: str
    kind: Literal["official", "house"]
    title: str
    dialect: Literal["mlp05", "mll", "mllog"]
    clock: Literal["from_data", "from_build"]
    init_minutes: Mapping[str, float]  # per division; empty where the clock starts at build
    divisions: tuple[str, ...]
    statuses: tuple[str, ...]
    suite: Mapping[str, str]
    vocabulary: Mapping[str, str]  # our moment -> key of this round; a moment missing here is not logged
    first_epoch: int  # the number that the first epoch carries in logs
    seeds_required: bool
    rcp_check: bool
    benchmarks: Mapping[str, BenchmarkRules]  # by folder name; each is loaded when asked for
    has_checker: bool = True  # an official checker exists: on hyperparameters it decides where the text asks for more
    strict_structure: bool = False  # order and pairs of intervals are enforced, beyond what judging needs
    normalised: bool = True  # published times of sets faster than the reference carry a factor
    window_scores: bool = False  # more runs than asked are scored by the median of windows
    lenient_scores: bool = False  # a run that converged is scored whatever else is wrong with its log
    remarks: tuple[str, ...] = ()  # conflicts between sources, and the side taken
    package: PackageRules = PackageRules()
