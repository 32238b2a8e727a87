"""How likely the convergence check fails a set of runs that truly follows the reference, before any run is made.

The check is a one-sided test at 5 %, but of a normal model with the reference's deviation; real values are few, lie on
the grid of evaluations, and the olympic mean is not a plain mean. So the chance is computed by drawing sets:

* resampled: each run needs what one of the reference runs needed, drawn with replacement (bootstrap, Efron 1979); at an
  interpolated batch size, the deviations of both neighbours from their means, scaled to the deviation between them;
* normal: each run needs a normally distributed amount with the reference's mean and deviation.

Runs that do not converge are in neither: no reference run did not.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from laptime.rules.model import ReferencePoint
from laptime.scoring.olympic import mean
from laptime.scoring.rcp import Reference

DRAWS = 10_000
SEED = 1
TWO_SIDED_95 = 1.96  # standard errors


@dataclass(frozen=True)
class Chance:
    """A probability estimated by drawing sets. `error`: half a 95 % interval of the estimate."""

    probability: float
    error: float


@dataclass(frozen=True)
class FailureChance:
    """How likely a set of `runs` runs that follows the reference is below the least mean."""

    runs: int
    draws: int
    resampled: Chance
    normal: Chance


def failure_chance(reference: Reference, points: Sequence[ReferencePoint], *, least: float, runs: int, drop: int,
                   draws: int = DRAWS, seed: int = SEED) -> FailureChance:
    """The chance that the olympic mean of `runs` runs lies below `least`; the same numbers for the same seed.

    `points`: the one or two reference points that `reference` was made of.
    """
    source = random.Random(seed)
    pool = scaled_values(reference, points)

    def gaussian(count: int) -> list[float]:
        return [source.gauss(reference.mean, reference.stdev) for _ in range(count)]

    def resample(count: int) -> list[float]:
        return source.choices(pool, k=count)

    return FailureChance(runs, draws, _below(resample, least, runs, drop, draws),
                         _below(gaussian, least, runs, drop, draws))


def scaled_values(reference: Reference, points: Sequence[ReferencePoint]) -> list[float]:
    """Values as they would be at the reference's batch size: those of its point, or those of its two neighbours moved
    and stretched to its mean and deviation. The mean is the olympic one, as everywhere in the check."""
    same = [point for point in points if point.batch_size == reference.batch_size]
    if same:
        return list(same[0].values)
    return [reference.mean + reference.stdev * deviate for point in points for deviate in _standardised(point.values)]


def _standardised(values: Sequence[float]) -> list[float]:
    """Deviations from the mean in units of the deviation (divisor n, as in the check)."""
    centre = mean(values)
    deviation = math.sqrt(math.fsum((value - centre) ** 2 for value in values) / len(values))
    return [(value - centre) / deviation if deviation else 0.0 for value in values]


def _below(draw: Callable[[int], list[float]], least: float, runs: int, drop: int, draws: int) -> Chance:
    """How often a drawn set has an olympic mean below `least`, allowing for the last bits of a sum."""
    kept = runs - 2 * drop
    bound = least * (1 - 1e-12) * kept
    low = sum(1 for _ in range(draws) if math.fsum(sorted(draw(runs))[drop:drop + kept]) < bound)
    share = low / draws
    return Chance(share, TWO_SIDED_95 * math.sqrt(max(share * (1 - share), 1 / draws) / draws))
