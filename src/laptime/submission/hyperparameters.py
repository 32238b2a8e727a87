"""Hyperparameters of a result beside those of the nearest reference point and of other submissions.

Reference points carry their values as text, with names that differ a little from those of logs.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from laptime.config import Json
from laptime.rules.model import ReferencePoint
from laptime.submission.evidence import Entry

_EQUAL = 1e-6  # relative: numbers written with different digits
_OTHER_NAMES = {"optimizer": "opt_name", "opt": "opt_name", "epsilon": "opt_epsilon"}  # as reference points write them


@dataclass(frozen=True)
class Row:
    """One value: in the result, in the reference point, and in other results, in their order; None: not given."""

    name: str
    mine: Json
    reference: str | None
    others: tuple[Json, ...]

    @property
    def departs(self) -> bool:
        """Whether the reference gives another value."""
        return self.reference is not None and not alike(self.mine, self.reference)


def nearest_reference(entry: Entry) -> ReferencePoint | None:
    """The reference point of the nearest batch size by ratio; None where there is none to compare with."""
    size = entry.batch_size
    if entry.rules is None or not entry.rules.references or size is None:
        return None
    return min(entry.rules.references, key=lambda point: abs(math.log(point.batch_size / size)))


def compared(entry: Entry, others: Sequence[Entry]) -> tuple[Row, ...]:
    """Every hyperparameter that any of them gives, those of the result first."""
    point = nearest_reference(entry)
    reference = {} if point is None else reference_values(point)
    theirs = [name for one in others for name in one.hyperparameters]
    names = dict.fromkeys([*entry.hyperparameters, *reference, *theirs])
    return tuple(Row(name, entry.hyperparameters.get(name), reference.get(name),
                     tuple(one.hyperparameters.get(name) for one in others)) for name in names)


def reference_values(point: ReferencePoint) -> dict[str, str]:
    """The values of a reference point by our names."""
    values = {_OTHER_NAMES.get(name, name): value for name, value in point.hyperparameters.items()}
    return {"global_batch_size": f"{point.batch_size:g}", **values}


def mixed(entry: Entry) -> Mapping[str, tuple[Json, ...]]:
    """Hyperparameters that are not the same in all logs of a result, with the values there are."""
    if entry.rules is None:
        return {}
    found: dict[str, tuple[Json, ...]] = {}
    for rule in entry.rules.keys:
        if rule.name not in entry.hyperparameters:
            continue
        values = [log.values[rule.key] for log in entry.logs if rule.key in log.values]
        distinct = [value for place, value in enumerate(values)
                    if not any(alike(value, earlier) for earlier in values[:place])]
        if len(distinct) > 1:
            found[rule.name] = tuple(distinct)
    return found


def alike(one: Json, other: Json) -> bool:
    """The same value, whether written as text or as a number."""
    first, second = _number(one), _number(other)
    if first is not None and second is not None:
        return math.isclose(first, second, rel_tol=_EQUAL) or first == second
    return " ".join(str(one).lower().split()) == " ".join(str(other).lower().split())


def _number(value: Json) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
