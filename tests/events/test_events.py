"""Evaluation points and limits, against lists made by brute force."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laptime.events import At, Cadence, Plan, Point

FAR = 1000  # beyond every value that the tests draw
cadences = st.builds(lambda unit, points, step: Cadence(unit, tuple(sorted(points)), step), st.sampled_from(["samples", "epochs"]),
                     st.sets(st.integers(-5, 60), min_size=1, max_size=6), st.integers(0, 40))
values = st.integers(-20, 200)


def all_points(cadence):
    """Every point up to FAR."""
    repeated = range(cadence.points[-1] + cadence.step, FAR, cadence.step) if cadence.step else ()
    return [*cadence.points, *repeated]


@given(cadences, values)
def test_passed_counts_the_points_up_to_a_value(cadence, value):
    assert cadence.passed(value) == sum(1 for point in all_points(cadence) if point <= value)


@given(cadences, values, values)
def test_passed_never_falls(cadence, one, other):
    low, high = sorted((one, other))
    assert cadence.passed(low) <= cadence.passed(high)


@given(cadences, values)
def test_next_after_is_the_first_point_beyond_a_value(cadence, value):
    assert cadence.next_after(value) == next((point for point in all_points(cadence) if point > value), None)


@given(cadences, values)
def test_next_after_and_passed_agree(cadence, value):
    following = cadence.next_after(value)
    if following is None:
        assert cadence.passed(value) == cadence.passed(10**9)
    else:
        assert cadence.passed(following - 1) == cadence.passed(value) == cadence.passed(following) - 1


def plan(unit, points, step=0, *, limit=10, limit_unit=None):
    return Plan(4, Point(limit, limit_unit or unit), Cadence(unit, points, step))


@given(cadences, st.lists(st.integers(1, 30), min_size=1, max_size=20))
def test_due_says_yes_once_for_each_step_that_reaches_points(cadence, sizes):
    ours = Plan(4, Point(1, "epochs"), cadence)
    ends = [0, *itertools.accumulate(sizes)]
    for start, end in itertools.pairwise(ends):
        inside = any(start < point <= end for point in all_points(cadence))
        assert ours.due(At(samples=start), At(samples=end)) == (cadence.unit == "samples" and inside)


@given(cadences, st.integers(1, 100))
def test_due_at_end_says_yes_for_epochs_that_are_points(cadence, epoch):
    ours = Plan(4, Point(1, "epochs"), cadence)
    assert ours.due_at_end(epoch) == (cadence.unit == "epochs" and epoch in all_points(cadence))


@pytest.mark.parametrize(("samples", "exhausted"), [(0, False), (99, False), (100, True), (101, True)])
def test_limit_in_samples_is_reached_at_the_sample(samples, exhausted):
    ours = plan("samples", (10,), limit=100)
    assert ours.exhausted(At(samples=samples)) is exhausted
    assert not ours.exhausted_after(10**6)


@pytest.mark.parametrize(("limit", "epoch", "exhausted"), [(3, 2, False), (3, 3, True), (2.5, 2, False), (2.5, 3, True)])
def test_limit_in_epochs_is_reached_with_the_epoch(limit, epoch, exhausted):
    ours = plan("epochs", (1,), limit=limit)
    assert ours.exhausted_after(epoch) is exhausted
    assert not ours.exhausted(At(samples=10**9))


def test_position_moves_by_samples_and_steps_within_an_epoch():
    at = At().in_epoch(3).after(8).after(5)
    assert at == At(samples=13, epoch=3, step=2)
