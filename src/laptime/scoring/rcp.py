"""The convergence check: did a set of runs need fewer epochs than the reference, beyond chance?

Follows the facts on reference convergence points (RCPs): statistics section 2, least acceptable mean section 3,
pruning section 4, interpolation section 5, decisions section 6, normalisation section 7.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from laptime.rules.model import ReferencePoint
from laptime.scoring.olympic import mean, olympic_mean
from laptime.scoring.student import student_quantile

ALPHA = 0.05  # RCP facts, section 3: one-sided
FEWEST_RUNS = 3  # RCP facts, section 3: all runs but two count in the test
UNTESTED = "there is no convergence test of so few runs"
Basis = Literal["exact", "interpolated", "smaller", "larger", "none"]


@dataclass(frozen=True)
class Reference:
    """Statistics of a reference point: olympic mean, population deviation of the whole list, runs behind the mean."""

    batch_size: float
    mean: float
    stdev: float
    n: int


@dataclass(frozen=True)
class Comparison:
    """What a batch size is compared with. `reference`: None where there is nothing to compare with ("larger")."""

    basis: Basis
    reference: Reference | None


@dataclass(frozen=True)
class RcpDecision:
    """The verdict on a set of runs. `factor` (>= 1) multiplies its time; means in the round's unit.

    `basis`: what it was compared with; `text`: the verdict in the words that results of this field use.
    """

    passed: bool
    text: str
    factor: float = 1.0
    basis: Basis = "none"
    batch_size: float | None = None
    submission_mean: float | None = None
    reference_mean: float | None = None
    reference_stdev: float | None = None
    minimum_mean: float | None = None

    @property
    def max_speedup(self) -> float | None:
        """How many times faster than the reference would still pass."""
        if self.reference_mean is None or not self.minimum_mean:
            return None
        return self.reference_mean / self.minimum_mean

    @property
    def to_reference(self) -> float | None:
        """The factor that brings the set to the mean of the reference, passed or not: for a set that fails, what may be
        agreed on instead of a withdrawal (RCP facts, section 7). None where there is nothing to compare with."""
        if self.reference_mean is None or not self.submission_mean:
            return None
        return max(1.0, self.reference_mean / self.submission_mean)

    @property
    def words(self) -> str:
        """The verdict with its numbers."""
        if self.submission_mean is None or self.minimum_mean is None:
            return self.text
        return f"{self.text}: mean {self.submission_mean:g}, expected at least {self.minimum_mean:g}"


def statistics(point: ReferencePoint, drop: int) -> Reference:
    """Mean without `drop` values at each end, deviation (divisor n) of all values."""
    values = sorted(point.values)
    centre = mean(values)
    deviation = math.sqrt(math.fsum((value - centre) ** 2 for value in values) / len(values))
    return Reference(point.batch_size, olympic_mean(values, drop), deviation, len(values) - 2 * drop)


def in_use(points: Sequence[ReferencePoint], drop: int) -> tuple[Reference, ...]:
    """The references that pruning keeps, by batch size; points of too few values for a mean are none."""
    return pruned([statistics(point, drop) for point in points if len(point.values) > 2 * drop])


def minimum_mean(reference: Reference, runs: int, slack: float = 0.0) -> float | None:
    """The least mean of a set of `runs` runs that is not significantly below the reference, less `slack`.

    `runs` - 2 of them count whatever is dropped (RCP facts, section 3). None where too few count for a test.
    """
    n = runs - 2
    if runs < FEWEST_RUNS or reference.n + n <= 2:
        return None
    if reference.stdev == 0:
        return max(0.0, reference.mean - slack)
    t = student_quantile(1 - ALPHA, reference.n + n - 2)
    return max(0.0, reference.mean - t * reference.stdev * math.sqrt(1 / reference.n + 1 / n) - slack)


def pruned(references: Sequence[Reference]) -> tuple[Reference, ...]:
    """Without the points that a smaller or an interpolated batch size makes pointless (one pass, not a convex hull)."""
    points = sorted(references, key=lambda point: point.batch_size)
    if not points:
        return ()
    fastest = min(points, key=lambda point: point.mean)
    points = [point for point in points if point.batch_size >= fastest.batch_size]
    place = 1
    while place < len(points) - 1:
        line = interpolated(points[place - 1], points[place + 1], points[place].batch_size, points[place].n)
        if points[place].mean > line.mean:
            del points[place]
        else:
            place += 1
    return tuple(points)


def interpolated(low: Reference, high: Reference, batch_size: float, n: int) -> Reference:
    """Mean and deviation on the straight line between two points, as if `n` runs stood behind them."""
    share = (batch_size - low.batch_size) / (high.batch_size - low.batch_size)
    return Reference(batch_size, low.mean + share * (high.mean - low.mean),
                     low.stdev + share * (high.stdev - low.stdev), n)


def comparison(kept: Sequence[Reference], batch_size: float, runs: int) -> Comparison:
    """What a set of `runs` runs at `batch_size` is compared with, of the points `kept` (not empty, by batch size)."""
    below = [point for point in kept if point.batch_size < batch_size]
    above = [point for point in kept if point.batch_size > batch_size]
    if same := [point for point in kept if point.batch_size == batch_size]:
        return Comparison("exact", same[0])
    if below and above:
        return Comparison("interpolated", interpolated(below[-1], above[0], batch_size, 2 * runs))
    return Comparison("smaller", above[0]) if above else Comparison("larger", None)


def check_convergence(points: Sequence[ReferencePoint], *, batch_size: float | None, values: Sequence[float],
                      runs: int, drop: int, max_failures: int, slack: float = 0.0) -> RcpDecision:
    """Compare the convergence `values` of a set of runs (inf: did not converge) with the reference points of its round.

    `runs`, `drop`, `max_failures`: what the round prescribes for the benchmark; `slack`: how far below the least mean
    it lets a set be (RCP facts, section 3).
    """
    if batch_size is None:
        return RcpDecision(False, "Could not detect global_batch_size")
    if sum(1 for value in values if math.isinf(value)) > max_failures or len(values) <= 2 * drop:
        return RcpDecision(False, "Insufficient convergence", batch_size=batch_size)
    return check_mean(in_use(points, drop), batch_size=batch_size, submission=olympic_mean(values, drop), runs=runs,
                      slack=slack)


def check_mean(kept: Sequence[Reference], *, batch_size: float, submission: float, runs: int,
               slack: float = 0.0) -> RcpDecision:
    """The decision table for a set of `runs` runs with the mean `submission`, against the points in use.

    Where the round has too few runs for a test, the set passes and the verdict says so.
    """
    if runs < FEWEST_RUNS:
        return RcpDecision(True, UNTESTED, batch_size=batch_size, submission_mean=submission)
    if not kept:
        return RcpDecision(False, "Cannot find any RCPs", batch_size=batch_size)
    found = comparison(kept, batch_size, runs)
    missing = f"Missing RCP, please submit RCP with BS = {batch_size:g}"
    decision = RcpDecision(False, missing, basis=found.basis, batch_size=batch_size, submission_mean=submission)
    return decision if found.reference is None else _compared(decision, found.reference, runs, slack)


def _compared(decision: RcpDecision, reference: Reference, runs: int, slack: float) -> RcpDecision:
    """`decision` with its verdict against one (real or interpolated) reference."""
    submission, least = decision.submission_mean or 0.0, minimum_mean(reference, runs, slack)
    if least is None:
        return replace(decision, passed=True, text=UNTESTED)
    passed = submission >= least
    words = {"exact": "RCP found", "interpolated": "RCP Interpolation"}
    if passed:
        words["smaller"] = "RCP not found but slower convergence on smaller batch size"
    return replace(decision, passed=passed, text=words.get(decision.basis, decision.text), minimum_mean=least,
                   factor=max(1.0, reference.mean / submission) if passed and submission > 0 else 1.0,
                   reference_mean=reference.mean, reference_stdev=reference.stdev)
