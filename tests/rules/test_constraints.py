"""Constraints: every part accepts, rejects, and says in words what it expected."""

import pytest

from laptime.rules.constraints import Constraint
from laptime.rules.formula import Formula
from laptime.rules.model import Interval, KeyRule

POWERS = Constraint(formula=Formula("is_integer(log2(v / 0.0001))"), text="0.0001 * 2**N")
MOMENTUM = Constraint(formula=Formula("global_batch_size >= 32768 or v == 0.9"))
NAMES = {"global_batch_size": 2048, "metadata": {"epoch_num": 1}}


@pytest.mark.parametrize(
    ("constraint", "good", "bad", "words"),
    [
        (Constraint(equals=0.0001), 0.0001, 0.0002, "is 0.0002, expected 0.0001"),
        (Constraint(equals=2), 2.0, True, "is true, expected 2"),
        (Constraint(equals=True), True, 1, "is 1, expected true"),
        (Constraint(one_of=("sgd", "lars")), "lars", "adam", "is 'adam', expected 'sgd' or 'lars'"),
        (Constraint(one_of=(0, 0.1)), 0.0, False, "is false, expected 0 or 0.1"),
        (Constraint(at_least=0.759), 0.759, 0.7589, "is 0.7589, expected >= 0.759"),
        (Constraint(at_most=4), 4, 5, "is 5, expected <= 4"),
        (Constraint(above=0), 1, 0, "is 0, expected > 0"),
        (Constraint(above=0), 1, "1", "is '1', expected > 0"),
        (Constraint(above=0), 1, None, "is null, expected > 0"),
        (Constraint(above=0, below=1), 0.5, 1, "is 1, expected > 0 and < 1"),
        (Constraint(below=1e300), 1, 10**400, "expected < 1e+300"),
        (Constraint(multiple_of=0.001), 0.017, 0.0175, "is 0.0175, expected a multiple of 0.001"),
        (Constraint(multiple_of=0.001), 17, 10**400, "expected a multiple of 0.001"),
        (POWERS, 5e-05, 0.0003, "is 0.0003, expected 0.0001 * 2**N"),
        (POWERS, 0.0004, 0, "is 0, expected 0.0001 * 2**N (formula"),
        (MOMENTUM, 0.9, 0.95, "is 0.95, expected global_batch_size >= 32768 or v == 0.9"),
        (Constraint(formula=Formula("metadata.epoch_num >= v")), 1, 2, "is 2, expected metadata.epoch_num >= v"),
        (Constraint(formula=Formula("v != ''")), "x", "", "is '', expected v != ''"),
    ],
)
def test_violation_for_good_and_bad_value(constraint, good, bad, words):
    assert constraint.violation(good, NAMES) is None
    assert words in (constraint.violation(bad, NAMES) or "")


def test_violation_when_another_key_is_missing_names_it():
    assert "'global_batch_size' is missing" in (MOMENTUM.violation(0.95, {}) or "")


def test_empty_constraint_accepts_anything():
    assert all(Constraint().violation(value, {}) is None for value in (None, 0, "", [], {}, True))
    assert str(Constraint()) == "any value"
    assert not Constraint(text="words alone ask nothing")
    assert all((Constraint(equals=False), Constraint(at_least=0), Constraint(one_of=(0,)), POWERS))


def test_long_values_are_cut_in_words():
    assert len(Constraint(equals=1).violation(list(range(1000)), {}) or "") < 100


RULE = KeyRule("a", "lars_x", "exactly_one", Constraint(), "x", when=Formula("opt_name == 'lars'"), division="closed", authority="rules")


@pytest.mark.parametrize(
    ("division", "authority", "names", "applies"),
    [
        ("closed", "rules", {"opt_name": "lars"}, True),
        ("closed", "both", {"opt_name": "lars"}, True),
        ("closed", "checker", {"opt_name": "lars"}, False),
        ("open", "rules", {"opt_name": "lars"}, False),
        ("closed", "rules", {"opt_name": "sgd"}, False),
        ("closed", "rules", {}, False),
    ],
)
def test_key_rule_applies_by_division_authority_and_condition(division, authority, names, applies):
    assert RULE.applies(division, authority, names) is applies


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        (Interval(low=0.759), (0.759, 1.0), (0.7589,)),
        (Interval(low=0.759, high=1, high_open=True), (0.759, 0.999), (1.0, 0.5)),
        (Interval(low=0, low_open=True, high=0.058), (0.058, 0.001), (0.0, 0.0581)),
    ],
)
def test_interval_ends(interval, inside, outside):
    assert all(map(interval.contains, inside))
    assert not any(map(interval.contains, outside))
