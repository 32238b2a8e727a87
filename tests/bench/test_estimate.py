"""Intervals: against values known by hand, and against how often they hold the truth."""

import math
import random

import pytest

from laptime.bench import estimate
from laptime.bench.estimate import Estimate


def test_mean_has_the_textbook_interval():
    found = estimate.mean([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.776445105 * math.sqrt(2.5 / 5)  # t(0.975, 4) from printed tables, sample variance 2.5
    assert found.value == 3.0
    assert (found.low, found.high) == pytest.approx((3 - half, 3 + half), rel=1e-8)


def test_one_value_says_nothing_of_its_uncertainty():
    assert estimate.mean([4.0]) == Estimate(4.0, -math.inf, math.inf)
    assert estimate.geometric_mean([4.0]).high == math.inf
    assert estimate.geometric_mean([4.0]).low == 0.0


@pytest.mark.parametrize("call", [lambda: estimate.mean([]), lambda: estimate.geometric_mean([1.0, 0.0]),
                                  lambda: estimate.ratio([1.0], [1.0, 2.0])])
def test_bad_observations_are_refused(call):
    with pytest.raises(ValueError, match=r"expected|zip"):
        call()


def test_ratio_ignores_what_slows_both_of_a_pair():
    slow = [1.0, 1.0, 7.0, 2.0, 30.0]
    found = estimate.ratio([1.5 * s for s in slow], slow)
    assert found.value == pytest.approx(1.5)
    assert found.high - found.low < 1e-9


def test_ratio_turned_round_is_the_reciprocal():
    one, other = [1.0, 2.0, 3.0, 2.5], [2.0, 2.0, 5.0, 3.0]
    found, turned = estimate.ratio(one, other), estimate.ratio(other, one)
    assert (turned.value, turned.low, turned.high) == pytest.approx((1 / found.value, 1 / found.high, 1 / found.low))


def test_difference_is_of_pairs():
    assert estimate.difference([3.0, 13.0], [1.0, 11.0]) == Estimate(2.0, 2.0, 2.0)


def test_unit_changes_the_interval_too():
    assert Estimate(1.0, 0.5, 2.0).times(10) == Estimate(10.0, 5.0, 20.0)


def test_interval_of_a_ratio_holds_the_truth_in_about_95_of_100_cases():
    draw, held = random.Random(1), 0
    for _ in range(1000):
        pairs = [(math.exp(draw.gauss(0.2, 0.3)), 1.0) for _ in range(6)]
        found = estimate.ratio([a for a, _ in pairs], [b for _, b in pairs])
        held += found.low <= math.exp(0.2) <= found.high
    assert 920 <= held <= 980
