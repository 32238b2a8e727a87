"""The olympic mean and its neighbours."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laptime.scoring.olympic import mean, olympic, olympic_mean, run_minutes
from laptime.scoring.spread import bootstrap_interval, sample_deviation, student_interval, variation

TIMES = st.lists(st.floats(0.01, 1e6), min_size=3, max_size=40)


def test_olympic_mean_drops_both_ends():
    assert olympic_mean([10, 1, 2, 3, 100], 1) == 5


def test_olympic_mean_names_the_runs_it_dropped():
    assert olympic([3.0, 1.0, math.inf, 2.0], 1).dropped == (1, 2)


def test_olympic_mean_with_a_failure_beyond_the_dropped_is_infinite():
    assert olympic_mean([1, 2, math.inf, math.inf, 3], 1) == math.inf


@given(TIMES, st.randoms())
def test_olympic_mean_does_not_depend_on_order(times, shuffler):
    shuffled = times.copy()
    shuffler.shuffle(shuffled)
    assert olympic_mean(times, 1) == olympic_mean(shuffled, 1)


@given(TIMES, st.floats(0.001, 1000))
def test_olympic_mean_scales(times, factor):
    assert olympic_mean([t * factor for t in times], 1) == pytest.approx(olympic_mean(times, 1) * factor)


@given(TIMES)
def test_olympic_mean_lies_within_the_kept(times):
    result = olympic(times, 1)
    kept = [times[i] for i in result.kept]
    assert min(kept) * (1 - 1e-12) <= result.mean <= max(kept) * (1 + 1e-12)
    assert sorted(result.kept + result.dropped) == list(range(len(times)))


def test_olympic_mean_of_too_few_is_refused():
    with pytest.raises(ValueError, match="more than 2"):
        olympic_mean([1, 2], 1)


def test_mean_beyond_the_largest_float_is_infinite():
    assert mean([1e308, 1e308]) == math.inf


def test_run_minutes():
    assert run_minutes(1000, 121_000) == 2


def test_student_interval_of_five():
    """mean 3, s = sqrt(2.5), t(0.975, 4) = 2.7764451: half width 1.9632432."""
    interval = student_interval([1, 2, 3, 4, 5])
    assert interval.low == pytest.approx(3 - 1.9632432, abs=1e-6)
    assert interval.high == pytest.approx(3 + 1.9632432, abs=1e-6)


def test_spread_of_one_run_is_unknown():
    assert sample_deviation([1.0]) is None
    assert student_interval([1.0]) is None
    assert variation([1.0]) is None
    assert bootstrap_interval([1.0, 2.0], 1) is None


def test_variation_is_relative():
    assert variation([90.0, 110.0]) == pytest.approx(math.sqrt(200) / 100)


def test_bootstrap_interval_repeats_and_brackets_the_mean():
    times = [10.0, 11.0, 12.0, 13.0, 14.0]
    first, second = bootstrap_interval(times, 1), bootstrap_interval(times, 1)
    assert first == second
    assert first.low < olympic_mean(times, 1) < first.high
