"""How far runs scatter: standard deviation, coefficient of variation and 95 % intervals of a mean.

Two intervals: Student's t on the runs that the score keeps (a model: normal errors), and the percentile bootstrap of
the olympic mean over all runs (no model, but coarse for few runs).
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from laptime.scoring.olympic import mean
from laptime.scoring.student import student_quantile

_LEVEL = 0.95


@dataclass(frozen=True)
class Range:
    """A 95 % interval."""

    low: float
    high: float


def sample_deviation(values: Sequence[float]) -> float | None:
    """Standard deviation with divisor n - 1; None for fewer than two values."""
    if len(values) < 2:
        return None
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


def variation(values: Sequence[float]) -> float | None:
    """Coefficient of variation: sample standard deviation over mean; None where undefined."""
    deviation = sample_deviation(values)
    return None if deviation is None or not (centre := mean(values)) else deviation / centre


def student_interval(values: Sequence[float]) -> Range | None:
    """Student's t interval of the mean of `values`; None for fewer than two."""
    deviation = sample_deviation(values)
    if deviation is None:
        return None
    half = student_quantile(0.5 + _LEVEL / 2, len(values) - 1) * deviation / math.sqrt(len(values))
    return Range(mean(values) - half, mean(values) + half)


def bootstrap_interval(values: Sequence[float], drop: int, *, draws: int = 1000, seed: int = 1) -> Range | None:
    """Percentile bootstrap of the olympic mean; the same numbers for the same seed. None for too few values."""
    if len(values) <= 2 * drop or len(values) < 2:
        return None
    ranked, kept = sorted(values), len(values) - 2 * drop
    at = ranked.__getitem__
    means = sorted([sum(map(at, ranks[drop:drop + kept])) / kept for ranks in _drawn(len(values), draws, seed)])
    tail = (1 - _LEVEL) / 2
    return Range(means[int(tail * draws)], means[int((1 - tail) * draws) - 1])


@lru_cache(maxsize=16)
def _drawn(size: int, draws: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """Ranks of the values in each draw, in order: the same for all sets of a size."""
    source = random.Random(seed)
    return tuple(tuple(sorted(source.choices(range(size), k=size))) for _ in range(draws))
