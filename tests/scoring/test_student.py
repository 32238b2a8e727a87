"""Student's t against published table values and its own symmetry."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laptime.scoring.student import incomplete_beta, student_cdf, student_quantile


@pytest.mark.parametrize(("p", "df", "expected"), [
    (0.95, 1, math.tan(math.pi * 0.45)),  # df 1: Cauchy, t = tan(pi (p - 1/2))
    (0.975, 2, 0.95 * math.sqrt(2 / (1 - 0.95 ** 2))),  # df 2: t = (2p-1) sqrt(2 / (4p(1-p)))
    (0.95, 9, 1.8331129326562), (0.95, 24, 1.7108820799094), (0.975, 4, 2.7764451051978), (0.95, 26, 1.7056179197593)])
def test_quantile_at_known_points(p, df, expected):
    assert student_quantile(p, df) == pytest.approx(expected, rel=1e-10)


@given(st.floats(0.001, 0.999), st.floats(1, 200))
def test_quantile_inverts_the_distribution_function(p, df):
    assert student_cdf(student_quantile(p, df), df) == pytest.approx(p, abs=1e-10)


@given(st.floats(0.2, 30), st.floats(0.2, 30), st.floats(0.01, 0.99))
def test_incomplete_beta_is_symmetric(a, b, x):
    assert incomplete_beta(a, b, x) + incomplete_beta(b, a, 1 - x) == pytest.approx(1, abs=1e-12)


def test_incomplete_beta_of_equal_ones_is_the_identity():
    assert incomplete_beta(1, 1, 0.3) == pytest.approx(0.3, abs=1e-15)


@pytest.mark.parametrize("p", [0.0, 1.0, -1.0])
def test_quantile_of_no_probability_is_refused(p):
    with pytest.raises(ValueError, match="probability"):
        student_quantile(p, 5)
