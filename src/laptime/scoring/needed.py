"""How many runs a set needs so that its olympic mean is close to the true mean, answered from measured values.

Values of one kind (what the runs of one reference point needed, or the times of one result) become relative residuals:
value over the mean of its group, less one, times sqrt(n / (n - 1)) because a mean of its own values hugs them. Sets of
N residuals are drawn with replacement (bootstrap); counted is the share of sets whose olympic mean lies within the
bound. One drawn sequence serves every N, as its first N values.
"""

import math
import random
from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from laptime.scoring.olympic import mean

MOST_RUNS = 40  # no round asks for more
SHARE = 0.9  # Mattson et al. 2020, section on variance: nine in ten entries
DRAWS = 4000
SEED = 1
TWO_SIDED_95 = 1.96  # standard errors


@dataclass(frozen=True)
class Closeness:
    """Of sets of `runs` runs: the `share` within the bound with half a 95 % interval of this estimate (`error`), and
    within which relative distance nine in ten sets lie (`width`)."""

    runs: int
    share: float
    error: float
    width: float


def residuals(values: Sequence[float]) -> list[float]:
    """Relative residuals of one group; empty for fewer than two values or a mean of zero."""
    centre = mean(values) if values else 0.0
    if len(values) < 2 or not centre or not math.isfinite(centre):
        return []
    stretch = math.sqrt(len(values) / (len(values) - 1))
    return [stretch * (value / centre - 1) for value in values]


def pooled(groups: Sequence[Sequence[float]]) -> list[float]:
    """The residuals of all groups together."""
    return [residual for group in groups for residual in residuals(group)]


def closeness(pool: Sequence[float], *, within: float, drop: int, most: int = MOST_RUNS, draws: int = DRAWS,
              seed: int = SEED) -> tuple[Closeness, ...]:
    """For every number of runs that leaves a mean, up to `most`: how close sets drawn from the residuals `pool` come.

    `within`: relative bound; `drop`: values left out at each end. ValueError for an empty pool.
    """
    if not pool:
        raise ValueError("expected at least one residual to draw from")
    source = random.Random(seed)
    distances: dict[int, list[float]] = {count: [] for count in range(2 * drop + 1, most + 1)}
    for _ in range(draws):
        for count, centre in _means(source.choices(pool, k=most), drop).items():
            distances[count].append(abs(centre))
    return tuple(_closeness(count, sorted(found), within) for count, found in distances.items())


def enough(rows: Sequence[Closeness], share: float = SHARE) -> int | None:
    """The fewest runs from which on every number tried has at least `share` of its sets within the bound; None: more
    than were tried."""
    found = None
    for row in reversed(rows):
        if row.share < share:
            break
        found = row.runs
    return found


def share_within(sets: Mapping[str, Sequence[float]], within: float) -> float | None:
    """The share of values within the relative bound of the mean of their group: how alike measured scores are."""
    distances = [abs(residual) for values in sets.values() for residual in residuals(values)]
    return sum(1 for distance in distances if distance <= within) / len(distances) if distances else None


def _means(values: Sequence[float], drop: int) -> dict[int, float]:
    """Olympic mean of the first N values for every N that leaves one."""
    means: dict[int, float] = {}
    ordered: list[float] = []
    total = 0.0
    for count, value in enumerate(values, 1):
        insort(ordered, value)
        total += value
        if count > 2 * drop:
            ends = math.fsum(ordered[:drop]) + math.fsum(ordered[count - drop:]) if drop else 0.0
            means[count] = (total - ends) / (count - 2 * drop)
    return means


def _closeness(runs: int, distances: Sequence[float], within: float) -> Closeness:
    share = sum(1 for distance in distances if distance <= within) / len(distances)
    error = TWO_SIDED_95 * math.sqrt(max(share * (1 - share), 1 / len(distances)) / len(distances))
    return Closeness(runs, share, error, distances[min(len(distances) - 1, math.ceil(SHARE * len(distances)) - 1)])
