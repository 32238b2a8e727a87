"""Rounds and rules as values: what the files in `rounds/` and `suite/*/rules.toml` say, resolved for one round.

Knows neither logs nor runs. The closed vocabulary of constraints replaces program text in data files.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from laptime.config import Json
from laptime.rules.formula import Formula

Division = Literal["closed", "open"]
Authority = Literal["rules", "checker", "both"]
Count = Literal["exactly_one", "at_least_one", "optional"]


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
class Constraint:
    """What a logged value must satisfy; every given part must hold.

    `formula` is over `v` (the value) and other logged keys of the same log.
    """

    equals: Json | None = None
    one_of: tuple[Json, ...] = ()
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    multiple_of: float | None = None
    formula: Formula | None = None


@dataclass(frozen=True)
class KeyRule:
    """One key of a round's logs. Order of the rules = order in the log.

    `source_name`: our name of the value where the log name differs ("" : same); `when`: the rule holds only if this
    formula over the logged values does; `source`: where the rule stands; `id`: stable, shown in findings.
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

    @property
    def name(self) -> str:
        """Our name of the value this key carries."""
        return self.source_name or self.key


@dataclass(frozen=True)
class Position:
    """How a round writes where training is: metadata `key` = `value` (formula over samples, epoch, step, ...)."""

    key: str
    value: Formula


@dataclass(frozen=True)
class Evaluations:
    """The prescribed evaluation points, as formulas over configuration values and sizes."""

    unit: Literal["samples", "epochs"]
    points: tuple[Formula, ...]
    step: Formula | None
    text: str  # the rule in words


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
    benchmarks: Mapping[str, BenchmarkRules]  # by folder name
