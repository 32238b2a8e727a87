"""The warmed-up constant rate at given steps."""

import pytest

from laptime.training.optim.warmup import Warmed


def test_rate_grows_linearly_from_the_factor_to_the_base():
    schedule = Warmed(base=2e-4, factor=1e-3, warmup_steps=100)
    assert schedule.value(0) == pytest.approx(2e-7)
    assert schedule.value(50) == pytest.approx(2e-4 * (0.5e-3 + 0.5))
    assert schedule.value(99) == pytest.approx(2e-4 * (0.00001 + 0.99))
    assert [schedule.value(step) for step in (100, 101, 10**6)] == [2e-4] * 3


def test_without_warm_up_the_first_rate_is_the_base():
    assert Warmed(base=0.5, factor=0.0, warmup_steps=0).value(0) == 0.5
