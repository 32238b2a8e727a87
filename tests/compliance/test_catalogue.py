"""The catalogue says everything about every rule that a finding can carry, and nothing about others."""

import re
from pathlib import Path

import pytest

import laptime.compliance
from laptime.compliance.catalogue import CATALOGUE
from laptime.rules.load import load_round, round_names

SOURCES = sorted(Path(laptime.compliance.__path__[0]).glob("*.py"))


@pytest.mark.parametrize("rule", CATALOGUE)
def test_a_rule_says_everything(rule):
    text = CATALOGUE[rule]
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", rule)
    assert all((text.title, text.demands, text.why, text.source, text.fix))


def test_every_rule_is_raised_somewhere_and_every_raised_rule_is_known():
    call = re.compile(r'(?:finding|structural|demanded|catalogued)\(\s*"([a-z-]+)"')
    raised = {name for path in SOURCES for name in call.findall(path.read_text())}
    assert raised == set(CATALOGUE)


def test_key_rules_have_ids_of_their_own():
    for name in round_names():
        for rules in load_round(name).benchmarks.values():
            assert not {rule.id for rule in rules.keys} & CATALOGUE.keys()
