"""How likely bad luck alone fails the convergence check, against cases with a known answer."""

import math
from itertools import product

import pytest

from laptime.rules.model import ReferencePoint
from laptime.scoring.chance import failure_chance, scaled_values
from laptime.scoring.rcp import Reference, interpolated, minimum_mean, statistics

TEN = (16, 14, 16, 17, 16, 16, 15, 16, 15, 16)


def point(batch_size, values):
    return ReferencePoint(f"ref_{batch_size}", batch_size, "epochs", tuple(values), {})


def chance(values=TEN, *, least=None, runs=5, drop=1, **options):
    one = point(128, values)
    reference = statistics(one, drop)
    least = minimum_mean(reference, runs) if least is None else least
    return failure_chance(reference, [one], least=least, runs=runs, drop=drop, **options)


def test_equal_values_never_fail_their_own_mean():
    found = chance([0.1] * 10)
    assert (found.resampled.probability, found.normal.probability) == (0, 0)


def test_a_least_mean_above_every_value_always_fails():
    assert chance(least=18).resampled.probability == 1


def test_resampling_agrees_with_all_sets_of_three_counted_out():
    """Three runs without the extremes: the median of three draws of ten values."""
    sets = [sorted(drawn)[1] for drawn in product(TEN, repeat=3)]
    share = sum(1 for middle in sets if middle < 16) / len(sets)
    found = chance(least=16, runs=3).resampled
    assert found.probability == pytest.approx(share, abs=1.5 * found.error)


def test_the_normal_share_agrees_with_the_median_of_three():
    """P(median of three < m - s) = 3 p^2 - 2 p^3 with p = P(z < -1)."""
    p = 0.5 * math.erfc(1 / math.sqrt(2))
    reference = statistics(point(128, TEN), 1)
    found = chance(least=reference.mean - reference.stdev, runs=3).normal
    assert found.probability == pytest.approx(3 * p**2 - 2 * p**3, abs=1.5 * found.error)


def test_more_draws_leave_less_error():
    assert chance(least=16, draws=4000).resampled.error < chance(least=16, draws=400).resampled.error


def test_the_same_seed_gives_the_same_numbers():
    assert chance() == chance()


def test_the_check_fails_few_that_follow_the_reference():
    assert chance().resampled.probability < 0.08


def test_values_between_two_points_have_the_mean_and_deviation_of_the_line():
    low, high = point(128, TEN), point(256, (20, 21, 21, 20, 22, 22, 21, 21, 20, 20))
    line = interpolated(statistics(low, 1), statistics(high, 1), 192, 10)
    values = scaled_values(line, [low, high])
    centre = sum(values) / len(values)
    assert len(values) == 20
    assert centre == pytest.approx(line.mean)
    assert math.sqrt(sum((value - centre) ** 2 for value in values) / 20) == pytest.approx(line.stdev)


def test_a_point_of_the_size_itself_gives_its_own_values():
    assert scaled_values(Reference(128, 1, 1, 8), [point(128, TEN)]) == list(TEN)
