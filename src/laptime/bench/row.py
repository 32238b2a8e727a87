"""One measured number: what, how much, how sure, against which budget or mark."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from laptime.bench.estimate import Estimate
from laptime.config import Json

Group = Literal["overhead", "start", "train", "scale", "data", "judge"]
GROUPS: tuple[Group, ...] = ("overhead", "start", "train", "scale", "data", "judge")
Verdict = Literal["", "met", "missed", "unclear"]  # "": no budget holds here


@dataclass(frozen=True)
class Budget:
    """A limit from the table of budgets (docs/bench.md)."""

    limit: float
    sense: Literal["<=", ">="]

    def verdict(self, found: Estimate) -> Verdict:
        """"unclear" when the limit lies within the interval."""
        if self.sense == "<=":
            return "met" if found.high <= self.limit else "missed" if found.low > self.limit else "unclear"
        return "met" if found.low >= self.limit else "missed" if found.high < self.limit else "unclear"

    def __str__(self) -> str:
        return f"{self.sense} {self.limit:g}"


@dataclass(frozen=True)
class Row:
    """A line of the answer. `value` None: not measured, `note` says why. `mark`: what others reach on such hardware."""

    group: Group
    what: str
    unit: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    budget: str = ""
    verdict: Verdict = ""
    mark: str = ""
    note: str = ""
    details: Mapping[str, Json] = field(default_factory=dict)


def measured(group: Group, what: str, unit: str, found: Estimate, budget: Budget | None = None, *, mark: str = "",
             note: str = "", details: Mapping[str, Json] | None = None) -> Row:
    """A row of an estimate, judged by its budget where it has one."""
    return Row(group, what, unit, found.value, found.low, found.high, str(budget) if budget else "",
               budget.verdict(found) if budget else "", mark, note, details or {})


def skipped(group: Group, what: str, unit: str, why: str) -> Row:
    """A row of what could not be measured."""
    return Row(group, what, unit, note=why)
