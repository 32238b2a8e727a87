"""Rounds by name, derived rounds, benchmarks from outside, and every way in which a rule file can be wrong."""

import shutil

import pytest

from laptime.config import SuitePath
from laptime.errors import UnknownName, UserError
from laptime.rules import load
from laptime.rules.load import by_log_name, identities, load_round, round_names

BENCHMARK = """
title = "Digits"
area = "Vision"
dataset = "ten digits"
model = "two layers"
metric = "accuracy"

[[rounds]]
in = "mini-1"
preset = "mini"
target = { eval_accuracy = ">= 0.9" }
runs = 3
drop = 0
max_failures = 0
unit = "epochs"
position = { key = "epoch_num", value = "epoch" }
evaluations = { unit = "epochs", first = "1", step = "1", text = "every epoch" }

[[keys]]
in = "mini-1"
key = "global_batch_size"
count = "exactly_one"
above = 0
"""
RCP = "in,name,batch_size,unit,values,hyperparameters\nmini-1,digits_8,8,epochs,3 4 5,lr=0.1; momentum=0.9\n"


@pytest.fixture
def suite(tmp_path):
    """Makes a suite folder with one benchmark, after (old, new) edits of its rule file."""

    def make(*edits, rcp=RCP, folder="digits"):
        text = BENCHMARK
        for old, new in edits:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "rules.toml").write_text(text)
        (tmp_path / folder / "rcp.csv").write_text(rcp)
        return SuitePath(tmp_path)

    return make


@pytest.fixture
def rounds(tmp_path, monkeypatch):
    """A copy of the folder of rounds that a test may edit."""
    caches = (load.round_names, load._round, load.identities)
    copy = tmp_path / "rounds"
    shutil.copytree(load.ROUNDS, copy)
    monkeypatch.setattr(load, "ROUNDS", copy)
    for cache in caches:
        cache.cache_clear()
    yield copy
    for cache in caches:
        cache.cache_clear()


def test_round_names_are_in_time_with_house_rounds_last():
    names = round_names()
    official = [name for name in names if name.startswith("v")]
    assert official == sorted(official, key=lambda name: [int(part) for part in name[1:].split(".")])
    assert names[: len(official)] == tuple(official)
    assert {"mini-1", "smoke-1", "house-1"} <= set(names)


def test_every_round_loads_and_has_consistent_parts():
    for name in round_names():
        round_ = load_round(name)
        assert round_.name == name
        assert bool(round_.init_minutes) == (round_.clock == "from_data")
        for rules in round_.benchmarks.values():
            assert rules.round == name
            assert by_log_name(round_, rules.log_name) is rules
            assert 2 * rules.drop < rules.runs
            assert len({rule.id for rule in rules.keys}) == len(rules.keys)
            assert all(rule.source for rule in rules.keys)


def test_every_key_is_counted_by_its_first_rule_only():
    for name in round_names():
        for rules in load_round(name).benchmarks.values():
            for rule in rules.keys:
                same_scope = [r for r in rules.keys if r.key == rule.key and r.when == rule.when and r.division == rule.division]
                assert sum(r.count != "optional" for r in same_scope) <= 1


def test_vocabulary_keys_are_among_the_rules_or_free():
    """A moment's key has a rule in the round, except the two that no rule speaks of."""
    for name in round_names():
        round_ = load_round(name)
        ruled = {rule.key for rules in round_.benchmarks.values() for rule in rules.keys}
        free = {round_.vocabulary.get(moment) for moment in ("tracked_stats", "eval_size")}
        if name == "v0.6":
            free.add(round_.vocabulary["seed"])
        assert set(round_.vocabulary.values()) - ruled <= free


@pytest.mark.parametrize(("name", "full"), [("mini", "mini-1"), ("smoke", "smoke-1"), ("house", "house-1"), ("4.0", "v4.0"), ("v4.0", "v4.0")])
def test_short_names_of_rounds(name, full):
    assert load_round(name).name == full
    assert load_round(name) is load_round(full)


def test_newest_house_round_is_by_number(rounds):
    for number in (2, 10):
        shutil.copy(rounds / "mini-1.toml", rounds / f"mini-{number}.toml")
    assert load.resolve("mini") == "mini-10"


@pytest.mark.parametrize(("name", "near"), [("v4.00", "v4.0"), ("minni", "mini"), ("v0.9", "v0."), ("smoke-2", "smoke-1")])
def test_unknown_round_offers_the_nearest(name, near):
    with pytest.raises(UnknownName, match=f"unknown round '{name}'.*Did you mean '{near}") as caught:
        load_round(name)
    assert "v0.5, v0.6" in caught.value.hint


def test_round_name_cannot_leave_the_folder():
    with pytest.raises(UnknownName):
        load_round("../rounds/v4.0")


def test_a_new_official_round_is_one_file(rounds):
    text = (rounds / "v4.0.toml").read_text()
    (rounds / "v9.0.toml").write_text(text.replace('resnet = "resnet"\n', "").replace("v4.0", "v9.0"))
    assert dict(load_round("v9.0").benchmarks) == {}
    assert "resnet" in load_round("v4.0").benchmarks


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("v4.0.toml", 'dialect = "mllog"', 'dialect = "mlog"', "rounds/v4.0.toml: expected one of mlp05, mll, mllog in field 'dialect', found 'mlog'. Did you mean 'mllog'?"),
        ("v4.0.toml", "first_epoch = 1", 'first_epoch = "1"', "expected an integer in field 'first_epoch', found '1'"),
        ("v4.0.toml", "first_epoch = 1", "first_epoch = true", "expected an integer in field 'first_epoch'"),
        ("v4.0.toml", "first_epoch = 1", "first_epok = 1", "unknown field 'first_epok'. Did you mean 'first_epoch'?"),
        ("v4.0.toml", "first_epoch = 1\n", "", "field 'first_epoch' is missing (expected an integer)"),
        ("v4.0.toml", "closed = 30", 'closed = "30"', "expected a number in field 'closed'"),
        ("v4.0.toml", '["closed", "open"]', '["closed", 1]', "expected a list of texts in field 'divisions'"),
        ("v4.0.toml", "[suite]", "[suite", "expected TOML"),
        ("v4.0.toml", "first_epoch = 1", f"first_epoch = 1{'0' * 5000}", "rounds/v4.0.toml: expected TOML"),
        ("v4.0.toml", "first_epoch = 1", f"first_epoch = {'[' * 5000}", "rounds/v4.0.toml: expected TOML"),
        ("mini-1.toml", 'like = "v4.0"', 'like = "v4.7"', "rounds/mini-1.toml: expected an official round in field 'like', found 'v4.7'"),
        ("mini-1.toml", 'like = "v4.0"', 'like = "house-1"', "expected an official round in field 'like', found 'house-1'"),
        ("common.toml", "[[opening]]", "[[openings]]", "rounds/common.toml: unknown field 'openings'. Did you mean 'opening'?"),
        ("common.toml", 'in = "v0.7..v6.1"', 'in = "v0.7.."', "unknown round '' in 'v0.7..', field 'in'"),
        ("common.toml", 'one_of = "suite"', 'one_of = "suits"', "expected one of suite, statuses, divisions in field 'one_of', found 'suits'. Did you mean 'suite'?"),
    ],
)
def test_fault_in_a_round_file_names_file_and_field(rounds, file, old, new, words):
    path = rounds / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError) as caught:
        dict(load_round("mini-1" if file == "mini-1.toml" else "v4.0").benchmarks)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_stray_file_among_the_rounds_is_reported(rounds):
    (rounds / "next.toml").write_text("")
    with pytest.raises(UserError, match=r"rounds/next.toml: expected a file name like"):
        round_names()


def test_benchmark_from_outside_joins_the_house_round(suite):
    path = suite()
    rules = load_round("mini", path).benchmarks["digits"]
    assert (rules.title, rules.log_name, rules.runs, rules.target["eval_accuracy"].low) == ("Digits", "digits", 3, 0.9)
    assert [(point.values, dict(point.hyperparameters)) for point in rules.references] == [((3, 4, 5), {"lr": "0.1", "momentum": "0.9"})]
    assert "resnet" in load_round("mini", path).benchmarks
    assert "digits" not in load_round("mini").benchmarks
    assert [identity.rounds for identity in identities(path) if identity.folder == "digits"] == [("mini-1",)]


def test_log_name_of_its_own(suite):
    path = suite(('preset = "mini"', 'preset = "mini"\nlog_name = "numbers"'))
    assert by_log_name(load_round("mini", path), "numbers").name == "digits"
    assert by_log_name(load_round("mini", path), "digits") is None


def test_log_name_that_is_taken_is_refused(suite):
    with pytest.raises(UserError, match=r"log name 'resnet' of round mini-1 is already that of"):
        load_round("mini", suite(('preset = "mini"', 'preset = "mini"\nlog_name = "resnet"'), folder="zdigits"))


def test_suite_folder_that_is_missing_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="expected a folder of benchmarks"):
        load_round("mini", SuitePath(tmp_path / "none"))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('title = "Digits"', 'tittle = "Digits"', "digits/rules.toml: unknown field 'tittle'. Did you mean 'title'?"),
        ('title = "Digits"', "title = 5", "expected text in field 'title', found '5'"),
        ("runs = 3\n", "", "digits/rules.toml, [[rounds]] number 1: field 'runs' is missing (expected an integer)"),
        ("runs = 3", "runs = 3.0", "expected an integer in field 'runs'"),
        ("runs = 3", "runs = 3\nrun = 3", "unknown field 'run'. Did you mean 'runs'?"),
        ('">= 0.9"', '"0.9"', "expected a range such as"),
        ('">= 0.9"', '">= 0.9 and >= 0.8"', "one bound for each side"),
        ('">= 0.9"', '">= e"', "expected a range such as"),
        ('first = "1"', 'first = "1 +"', "field 'points': expected a formula, found '1 +'"),
        ('unit = "epochs", first', 'unit = "steps", first', "expected one of samples, epochs in field 'unit', found 'steps'"),
        ('step = "1"', 'stop = "1"', "unknown field 'stop'. Did you mean 'step'?"),
        ('value = "epoch"', 'value = "__import__(1)"', "field 'value': formula '__import__(1)': unknown function"),
        ('count = "exactly_one"', 'count = "exactly one"', "digits/rules.toml, [[keys]] number 1: expected one of exactly_one"),
        ("above = 0", "abov = 0", "unknown field 'abov'. Did you mean 'above'?"),
        ("above = 0", "one_of = []", "expected a list of values or one of"),
        ("above = 0", 'at_least = "target"', "'global_batch_size' has no target"),
        ("above = 0", 'above = 0\n[[keys]]\nin = "mini-1"\nkey = "global_batch_size"', "a second rule with id 'global_batch_size' in round mini-1"),
        ('in = "mini-1"\npreset', 'in = "mini-7"\npreset', "unknown round 'mini-7' in 'mini-7', field 'in'. Did you mean 'mini-1'?"),
        ("[[keys]]", '[[rounds]]\nin = "mini-1 smoke-1"\n[[keys]]', "round mini-1 is already covered by"),
        ('preset = "mini"', 'preset = "mini"\nlike = "v4.0"', "expected a round that another entry of this file covers in field 'like', found 'v4.0'"),
        ('preset = "mini"', 'preset = "mini"\nlike = "house-1"', "expected an official round in field 'like'"),
    ],
)
def test_fault_in_a_benchmark_file_names_file_and_field(suite, old, new, words):
    with pytest.raises(UserError) as caught:
        dict(load_round("mini", suite((old, new))).benchmarks)
    assert words in str(caught.value)
    assert "digits/rules.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (",8,", ",eight,", "digits/rcp.csv:2: expected a whole number in field 'batch_size', found 'eight'"),
        ("3 4 5", "3 4 x", "expected numbers separated by blanks in field 'values', found 'x'"),
        ("in,name", "in,names", "field 'name' is missing"),
        ("mini-1,digits_8", "mini-1,", "field 'name' is missing"),
        ("hyperparameters\n", "hyper\n", "unknown field 'hyper'"),
    ],
)
def test_fault_in_reference_points_names_line_and_field(suite, old, new, words):
    with pytest.raises(UserError) as caught:
        dict(load_round("mini", suite(rcp=RCP.replace(old, new))).benchmarks)
    assert words in str(caught.value)


LIKE = """
[[rounds]]
in = "smoke-1"
like = "v4.0"
runs = 1
drop = 0
excepts = { runs = "quick", drop = "one run" }
"""
OFFICIAL = ('in = "mini-1"', 'in = "v4.0"')


def test_derived_entry_takes_what_it_does_not_change(suite):
    path = suite(OFFICIAL, ("[[keys]]", LIKE + "[[keys]]"))
    rules = load_round("smoke", path).benchmarks["digits"]
    assert (rules.runs, rules.drop, rules.preset, rules.target["eval_accuracy"].low) == (1, 0, "mini", 0.9)
    assert [rule.key for rule in rules.keys if not rule.common] == ["global_batch_size"]
    assert rules.excepts == {"runs": "quick", "drop": "one run"}
    assert rules.references == ()


def test_derived_entry_replaces_a_key_in_its_place(suite):
    key = '[[keys]]\nin = "smoke-1"\nkey = "global_batch_size"\nat_most = 64\n'
    like = LIKE.replace('drop = "one run"', 'drop = "one run", global_batch_size = "small"')
    rules = load_round("smoke", suite(OFFICIAL, ("[[keys]]", like + key + "[[keys]]"))).benchmarks["digits"]
    assert [(rule.constraint.above, rule.constraint.at_most) for rule in rules.keys if not rule.common] == [(None, 64)]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (', drop = "one run"', "", "'drop' differs from round v4.0, but 'excepts' gives no reason"),
        ('drop = "one run"', 'drop = "one run", unit = "x"', "'excepts' names 'unit', which does not differ from round v4.0"),
    ],
)
def test_derived_entry_must_give_reasons_for_what_differs(suite, old, new, words):
    with pytest.raises(UserError) as caught:
        dict(load_round("smoke", suite(OFFICIAL, ("[[keys]]", LIKE.replace(old, new) + "[[keys]]"))).benchmarks)
    assert words in str(caught.value)


def test_log_name_without_a_folder_is_legal_and_has_no_rules(rounds):
    text = (rounds / "v4.0.toml").read_text()
    (rounds / "v9.0.toml").write_text(text + 'numbers = "numbers"\n')
    round_ = load_round("v9.0")
    assert "numbers" in round_.suite
    assert by_log_name(round_, "numbers") is None
    assert by_log_name(round_, "nothing") is None
