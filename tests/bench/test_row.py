"""Verdicts of budgets."""

import pytest

from laptime.bench.estimate import Estimate
from laptime.bench.row import Budget, measured, skipped


@pytest.mark.parametrize(("sense", "low", "high", "verdict"), [
    ("<=", 1.0, 2.0, "met"), ("<=", 2.1, 3.0, "missed"), ("<=", 1.9, 2.1, "unclear"),
    (">=", 2.0, 3.0, "met"), (">=", 1.0, 1.9, "missed"), (">=", 1.9, 2.1, "unclear")])
def test_budget_judges_the_whole_interval(sense, low, high, verdict):
    assert Budget(2.0, sense).verdict(Estimate((low + high) / 2, low, high)) == verdict


def test_row_without_a_budget_has_no_verdict():
    row = measured("data", "x", "1/s", Estimate(1.0, 0.5, 2.0))
    assert (row.budget, row.verdict) == ("", "")


def test_skipped_row_says_why():
    assert skipped("train", "x", "x", "no peer").note == "no peer"
