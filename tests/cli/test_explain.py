"""explain: who asks, in which rounds, and what the official checker does otherwise."""

import json

import pytest

from laptime.compliance.quirks import QUIRKS, quirk_of


def test_a_key_says_who_asks(run):
    out = run("explain", "cache_clear").out
    (line,) = [line for line in out.splitlines() if line.startswith("cache_clear-false") and "warning" not in line]
    assert "rules text" in line
    assert any("both" in line for line in out.splitlines())


def test_a_key_says_what_the_official_checker_does_otherwise(run):
    assert f"official checker: {QUIRKS['cache_clear']}" in run("explain", "cache_clear").out


def test_a_rule_says_what_the_official_checker_does_otherwise(run):
    assert QUIRKS["target-missed"] in run("explain", "target-missed").out
    assert json.loads(run("explain", "target-missed", "--json").out)["official"] == QUIRKS["target-missed"]


def test_one_round_can_be_asked_for(run):
    found = json.loads(run("explain", "init_start", "--round", "v4.0", "--json").out)
    assert {tuple(one["rounds"]) for one in found} == {("v4.0",)}


def test_an_unknown_round_is_wrong_use(run):
    assert run("explain", "init_start", "--round", "v9.9").code == 2


def test_the_id_of_a_key_rule_is_explained(run):
    answer = run("explain", "opt_name-closed", "--round", "v4.0")
    assert answer.code == 0
    assert "opt_name-closed" in answer.out


@pytest.mark.parametrize(("rule", "key", "words"), [
    ("cache_clear-false", "", QUIRKS["cache_clear"]), ("x", "cache_clear", QUIRKS["cache_clear"]), ("nothing", "", "")])
def test_quirks_are_found_by_rule_or_key(rule, key, words):
    assert quirk_of(rule, key) == words
