"""Energy from power readings, by hand-computed cases."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laptime.scoring.energy import NodePower, average_watts, mean_joules, node_joules, switch_joules

RAMP = NodePower(1000, 5000, ((2000, 100.0), (4000, 200.0), (5000, 300.0)))


def test_each_reading_holds_since_the_one_before():
    assert average_watts(RAMP) == (100 * 1000 + 200 * 2000 + 300 * 1000) / 4000


def test_energy_of_a_run_is_average_power_times_its_time():
    assert node_joules(RAMP, 60_000) == pytest.approx(200 * 60)


def test_conversion_efficiency_scales():
    assert average_watts(NodePower(0, 1000, ((1000, 50.0),), 0.9)) == pytest.approx(45)


def test_time_after_the_last_reading_counts_without_power():
    assert average_watts(NodePower(0, 2000, ((1000, 50.0),))) == 25


@pytest.mark.parametrize("stop", [1000, 999])
def test_an_empty_span_is_refused(stop):
    with pytest.raises(ValueError, match="stop after the start"):
        average_watts(NodePower(1000, stop, ()))


def test_a_switch_draws_its_estimate_all_the_time():
    assert switch_joules(10, 0.9, 60_000) == pytest.approx(540)


def test_the_mean_is_over_the_kept_runs_and_scaled():
    assert mean_joules([1.0, 2.0, None, 4.0], (1, 3), 1.5) == 4.5


@pytest.mark.parametrize("kept", [(), (0, 2)])
def test_without_an_energy_of_every_kept_run_there_is_no_mean(kept):
    assert mean_joules([1.0, 2.0, None], kept) is None


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20), st.floats(1, 1e4))
def test_constant_spacing_gives_the_plain_mean(watts, step_ms):
    readings = tuple((step_ms * place, power) for place, power in enumerate(watts, 1))
    node = NodePower(0, step_ms * len(watts), readings)
    assert average_watts(node) == pytest.approx(sum(watts) / len(watts), rel=1e-9, abs=1e-9)
