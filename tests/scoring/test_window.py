"""Which runs make a score: the first that converge, or the window whose score is the median."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laptime.scoring.window import first_converged, median_window, set_score

MINUTES = st.lists(st.floats(1, 1000), min_size=5, max_size=12)


def window(values, launched=None, **changes):
    return median_window(values, launched or range(len(values)), **{"size": 5, "drop": 1, "max_failures": 1, **changes})


def test_as_many_runs_as_asked_are_one_window():
    assert window([5, 4, 3, 2, 1]) == (0, 1, 2, 3, 4)


def test_the_window_with_the_median_score_counts():
    assert window([1, 1, 1, 1, 1, 9, 9]) == (1, 2, 3, 4, 5)  # scores 1, 1, 3.67: the middle one


def test_of_two_windows_the_slower_counts():
    assert window([1, 1, 1, 9, 9, 9]) == (1, 2, 3, 4, 5)


def test_windows_follow_the_order_of_launch():
    assert window([9, 9, 9, 1, 1, 1], launched=[3, 4, 5, 0, 1, 2]) == (0, 1, 2, 4, 5)


def test_windows_with_too_many_failures_are_the_slowest():
    inf = math.inf
    assert window([inf, inf, 2, 3, 4, 5, 1]) == (1, 2, 3, 4, 5)  # scores inf, 4, 3


def test_fewer_runs_than_a_window_are_an_error():
    with pytest.raises(ValueError, match="at least 5 runs"):
        window([1, 2, 3, 4])


@given(MINUTES)
def test_a_window_is_as_long_as_asked_and_in_a_row(values):
    places = window(values)
    assert places == tuple(range(places[0], places[0] + 5))


@given(MINUTES)
def test_as_many_windows_are_slower_as_are_faster_give_or_take_one(values):
    scores = [set_score(values[first:first + 5], 1, 1) for first in range(len(values) - 4)]
    chosen = set_score([values[place] for place in window(values)], 1, 1)
    faster, slower = sum(score < chosen for score in scores), sum(score > chosen for score in scores)
    assert faster <= len(scores) // 2
    assert slower <= (len(scores) - 1) // 2


def test_too_many_failures_leave_no_score():
    assert set_score([1, 2, 3, math.inf, math.inf], 1, 1) == math.inf
    assert set_score([1, 2, 3, 4, math.inf], 1, 1) == 3
    assert set_score([1, 2], 1, 1) == math.inf


def test_the_first_that_converge_are_taken_in_order():
    assert first_converged([math.inf, 3, 1, math.inf, 2], 2) == (1, 2)
    assert first_converged([math.inf, 3], 2) == (1,)
