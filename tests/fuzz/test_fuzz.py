"""Mutated logs, formulas, rule tables and system descriptions: no crash, no hang, nothing evaluated.

Everyday runs take two seconds a target; `pytest tests/fuzz -m slow` a minute. With atheris at hand,
`python tests/fuzz/guided.py TARGET` searches by coverage.
"""

import random
import time
import tomllib

import pytest
from fuzz_targets import TARGETS, WORDS, mutated
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from laptime.errors import UserError
from laptime.rules.keys import References, constraint
from laptime.rules.schema import Table

SECONDS_PER_MIB = 1.0
SLACK = 1.0  # of a machine that does other things as well


ANYTHING = st.binary(max_size=200) | st.lists(st.sampled_from(WORDS) | st.binary(max_size=8), max_size=20).map(b"".join)


def fuzz(name, seconds, seed):
    target, seeds = TARGETS[name]
    source, seeds = random.Random(seed), seeds()
    until, done = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        data = mutated(source, seeds)
        start = time.process_time()
        try:
            target(data)
        except Exception as error:
            error.add_note(f"{name} on {data!r}")
            raise
        taken = time.process_time() - start
        assert taken <= SLACK + SECONDS_PER_MIB * len(data) / 2**20, (taken, data)
        done += 1
    return done


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.seconds
def test_damaged_input_is_refused_in_words(name):
    assert fuzz(name, 2, seed=1) > 20


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.slow
def test_much_damaged_input_is_refused_in_words(name):
    assert fuzz(name, 60, seed=time.time_ns()) > 1000


def test_seeds_themselves_are_taken():
    for target, seeds in TARGETS.values():
        for seed in seeds():
            target(seed)


def test_words_that_would_act_are_not_evaluated(monkeypatch):
    called = []
    monkeypatch.setattr("os.system", called.append)
    target, seeds = TARGETS["read"]
    for seed in seeds():
        for word in (*WORDS, b"__import__('os').system('x')"):
            target(seed.replace(b'"acme"', word).replace(b"null", word))
    assert not called


@pytest.mark.parametrize("name", TARGETS)
def test_anything_at_all_is_taken(name):
    target, _ = TARGETS[name]

    @settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
    @given(ANYTHING)
    def take(data):
        target(data)

    take()


@pytest.mark.parametrize("row", ["multiple_of = 0", "multiple_of = nan", f"at_least = {10**400}", "formula = '1if v else 2'"])
def test_rule_tables_that_cannot_be_computed_with_are_refused(row):
    with pytest.raises(UserError, match="expected"):
        constraint(Table(tomllib.loads(row), "x.toml"), References({}, {}))
