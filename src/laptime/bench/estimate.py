"""Numbers with their uncertainty: means and ratios of paired times, each with a 95 % interval (Student's t)."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from laptime.scoring.student import student_quantile

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """`value` lies between `low` and `high` with 95 % confidence; not finite where one observation is all there is."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> "Estimate":
        """The same in another unit; `factor` > 0."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor)


def mean(values: Sequence[float]) -> Estimate:
    """The arithmetic mean. Raises ValueError for no values."""
    if not values:
        raise ValueError("expected at least one value")
    centre = statistics.fmean(values)
    if len(values) == 1:
        return Estimate(centre, -math.inf, math.inf)
    quantile = student_quantile(1 - (1 - CONFIDENCE) / 2, len(values) - 1)
    half = quantile * statistics.stdev(values) / math.sqrt(len(values))
    return Estimate(centre, centre - half, centre + half)


def geometric_mean(values: Sequence[float]) -> Estimate:
    """The geometric mean of positive values: what is typical of rates and ratios. Raises ValueError."""
    if any(value <= 0 for value in values):
        raise ValueError("expected positive values only")
    logarithms = mean([math.log(value) for value in values])
    high = math.inf if logarithms.high > 700 else math.exp(logarithms.high)  # exp overflows beyond 709
    return Estimate(math.exp(logarithms.value), math.exp(logarithms.low), high)


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Estimate:
    """How many times larger the first of each pair is; what slows both of a pair alike cancels. Raises ValueError."""
    return geometric_mean([a / b for a, b in zip(numerators, denominators, strict=True)])


def difference(firsts: Sequence[float], seconds: Sequence[float]) -> Estimate:
    """The mean of first - second over pairs. Raises ValueError."""
    return mean([a - b for a, b in zip(firsts, seconds, strict=True)])
