"""Schedules at given steps, and against the published formula written another way."""

import numpy as np
import pytest

from laptime.training.optim.schedules import Polynomial, Step


def test_polynomial_at_given_steps():
    schedule = Polynomial(base=8.5, end=0.0001, power=2.0, warmup_steps=100, decay_steps=1001)
    values = [schedule.value(step) for step in (0, 1, 50, 100, 600, 1101, 5000)]
    assert values == pytest.approx([0.0, 0.085, 4.25, 8.5, (8.5 - 0.0001) * (501 / 1001) ** 2 + 0.0001, 0.0001, 0.0001])


def test_polynomial_equals_the_whole_curve_computed_as_an_array():
    base, end, warmup, total = 10.0, 0.0001, 1560, 13104  # batch 4096, 312 steps an epoch, 5 of 42 epochs
    schedule = Polynomial(base, end, 2.0, warmup, total - warmup + 1)
    step = np.arange(total + 10)
    rising = base * step / warmup
    falling = end + (base - end) * np.square(1 - np.minimum(step - warmup, total - warmup + 1) / (total - warmup + 1))
    expected = np.where(step <= warmup, rising, falling)
    assert [schedule.value(int(s)) for s in step] == pytest.approx(expected, rel=1e-12)


def test_polynomial_without_warmup_starts_at_the_base():
    assert Polynomial(0.5, 0.0001, 2.0, 0, 10).value(0) == 0.5


def test_step_at_given_steps():
    schedule = Step(base=1.024, warmup_steps=10, boundaries=(60, 120, 160, 180), factors=(0.1, 0.01, 0.001, 0.0001))
    values = [schedule.value(step) for step in (0, 5, 10, 59, 60, 119, 120, 160, 180, 9999)]
    assert values == pytest.approx([0.0, 0.512, 1.024, 1.024, 0.1024, 0.1024, 0.01024, 0.001024, 1.024e-4, 1.024e-4])


def test_step_equals_piecewise_lookup():
    boundaries, factors = (30, 60, 80, 90), (0.1, 0.01, 0.001, 0.0001)
    schedule = Step(0.1, 5, boundaries, factors)
    table = np.array([1.0, *factors])
    steps = np.arange(5, 120)
    expected = 0.1 * table[np.searchsorted(boundaries, steps, side="right")]
    assert [schedule.value(int(s)) for s in steps] == pytest.approx(expected, rel=1e-12)
