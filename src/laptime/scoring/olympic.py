"""From run times to a benchmark's time: minutes of a run, and the olympic mean of a set of runs.

Timing facts, section 6: sort by time, drop the fastest and the slowest, average the rest; a run that did not
converge has no time and counts as the slowest.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

MS_PER_MINUTE = 60_000.0


@dataclass(frozen=True)
class OlympicMean:
    """`mean` of the values at the indices `kept`; `dropped`: the indices left out (fastest first)."""

    mean: float
    kept: tuple[int, ...]
    dropped: tuple[int, ...]


def run_minutes(start_ms: float, stop_ms: float) -> float:
    """Minutes between two time stamps in milliseconds."""
    return (stop_ms - start_ms) / MS_PER_MINUTE


def olympic_mean(values: Sequence[float], drop: int) -> float:
    """Mean without the `drop` smallest and the `drop` largest values. ValueError when nothing would be left."""
    return olympic(values, drop).mean


def olympic(values: Sequence[float], drop: int) -> OlympicMean:
    """The olympic mean and which values it is made of; equal values are taken in their order."""
    if len(values) <= 2 * drop:
        raise ValueError(f"expected more than {2 * drop} values to drop {drop} + {drop} of them, found {len(values)}")
    order = sorted(range(len(values)), key=lambda index: values[index])
    kept = order[drop: len(order) - drop]
    return OlympicMean(mean([values[i] for i in kept]), tuple(sorted(kept)),
                       tuple(order[:drop] + order[len(order) - drop:]))


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean; inf when a value or the sum is."""
    try:
        return math.fsum(values) / len(values)
    except OverflowError:
        return math.inf
