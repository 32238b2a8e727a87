"""Reference convergence points as rows: each with what the convergence check makes of it, and the band between them.

The statistics are those of `scoring.rcp`. The band says, at the points and between them, the mean of the reference and
the least mean that a set of runs of the round may have.
"""

from collections.abc import Iterator
from typing import Final

import orjson

from laptime.results.store import Row
from laptime.rules.model import Authority, BenchmarkRules, ReferencePoint
from laptime.scoring.rcp import FEWEST_RUNS, Reference, comparison, in_use, minimum_mean, statistics

STEPS: Final = 40  # of the band between the smallest and the largest point
IN_USE: Final = "in use"
PRUNED: Final = "pruned: a smaller or interpolated batch size needs no more"
TOO_FEW: Final = "too few runs for a mean"


def reference_rows(rules: BenchmarkRules, authority: Authority = "checker") -> list[Row]:
    """One row per point of a benchmark in a round. `authority`: whose slack the least mean has."""
    kept = in_use(rules.references, rules.drop)
    return [_row(rules, point, kept, authority) for point in rules.references]


def band_rows(rules: BenchmarkRules, authority: Authority = "checker") -> list[Row]:
    """(Round, benchmark, batch size, mean of the reference, least mean) from the smallest point in use to the largest;
    none where the check makes no test. Between points more runs count as behind them: the band is narrower there."""
    return [(rules.round, rules.name, size, mean, least) for size, mean, least in band(rules, authority)]


def band(rules: BenchmarkRules, authority: Authority = "checker") -> Iterator[tuple[float, float, float]]:
    """(Batch size, mean of the reference, least mean), as of `band_rows`."""
    kept = in_use(rules.references, rules.drop)
    if not kept or rules.runs < FEWEST_RUNS:
        return
    low, high = kept[0].batch_size, kept[-1].batch_size
    sizes = {float(one.batch_size) for one in kept}
    if high > low:
        sizes |= {low * (high / low) ** (step / STEPS) for step in range(1, STEPS)}
    for size in sorted(sizes):
        reference = comparison(kept, size, rules.runs).reference
        least = None if reference is None else minimum_mean(reference, rules.runs, _slack(rules, authority))
        if reference is not None and least is not None:
            yield size, reference.mean, least


def _row(rules: BenchmarkRules, point: ReferencePoint, kept: tuple[Reference, ...], authority: Authority) -> Row:
    enough = len(point.values) > 2 * rules.drop
    found = statistics(point, rules.drop) if enough else None
    used = found is not None and found in kept
    least = minimum_mean(found, rules.runs, _slack(rules, authority)) if found is not None else None
    return (rules.round, rules.name, point.name, point.batch_size, point.unit, len(point.values),
            orjson.dumps(point.values).decode(), found.mean if found else None, found.stdev if found else None, least,
            int(used), IN_USE if used else PRUNED if enough else TOO_FEW,
            orjson.dumps(dict(point.hyperparameters)).decode(), f"suite/{rules.name}/rcp.csv", 0)


def _slack(rules: BenchmarkRules, authority: Authority) -> float:
    return rules.convergence_slack.get(authority, 0.0)
