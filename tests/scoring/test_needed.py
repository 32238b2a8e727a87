"""How many runs are enough: residuals, shares of drawn sets, and the fewest that do."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laptime.scoring.needed import Closeness, closeness, enough, pooled, residuals
from laptime.scoring.olympic import olympic_mean


def normal(deviation, count=400):
    source = random.Random(7)
    return [1 + source.gauss(0, deviation) for _ in range(count)]


def test_residuals_are_relative_and_stretched():
    assert residuals([9, 11]) == pytest.approx([-0.1 * math.sqrt(2), 0.1 * math.sqrt(2)])


@pytest.mark.parametrize("values", [[], [5.0], [0.0, 0.0], [1.0, math.inf]])
def test_values_that_tell_nothing_have_no_residuals(values):
    assert residuals(values) == []


@given(st.lists(st.floats(0.5, 2), min_size=2, max_size=20), st.floats(0.01, 1000))
def test_residuals_know_no_unit(values, factor):
    assert residuals([factor * value for value in values]) == pytest.approx(residuals(values), abs=1e-9)


def test_groups_are_pooled_each_about_its_own_mean():
    assert pooled([[1, 1, 1], [100, 100]]) == [0] * 5


def test_equal_values_need_the_fewest_runs_there_are():
    rows = closeness([0.0, 0.0], within=0.01, drop=1, most=6, draws=10)
    assert [(row.runs, row.share, row.width) for row in rows] == [(n, 1, 0) for n in (3, 4, 5, 6)]
    assert enough(rows) == 3


def test_more_runs_are_closer():
    rows = closeness(pooled([normal(0.1)]), within=0.05, drop=1, most=30, draws=1000)
    assert rows[-1].share > rows[0].share + 0.1
    assert rows[-1].width < rows[0].width


def test_the_share_of_three_runs_is_that_of_their_median():
    """|median of three| <= b: 1 - 2 (3 p^2 - 2 p^3) with p = P(z < -b/s)."""
    p = 0.5 * math.erfc(0.5 / math.sqrt(2))
    row = closeness(pooled([normal(0.1, 4000)]), within=0.05, drop=1, most=3)[0]
    assert row.share == pytest.approx(1 - 2 * (3 * p**2 - 2 * p**3), abs=2 * row.error)


@given(st.lists(st.floats(-1, 1), min_size=9, max_size=9), st.integers(0, 4))
def test_drawn_sets_are_averaged_as_scores_are(values, drop):
    from laptime.scoring.needed import _means

    means = _means(values, drop)
    for count, found in means.items():
        assert found == pytest.approx(olympic_mean(values[:count], drop), abs=1e-9)


def test_enough_means_enough_from_there_on():
    shares = {3: 0.91, 4: 0.89, 5: 0.95, 6: 0.96}
    assert enough([Closeness(runs, share, 0, 0) for runs, share in shares.items()]) == 5
    assert enough([Closeness(3, 0.5, 0, 0)]) is None


def test_an_empty_pool_is_an_error():
    with pytest.raises(ValueError, match="at least one residual"):
        closeness([], within=0.05, drop=1)
