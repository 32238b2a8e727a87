"""Requests looked up in rules and suite: names, plans from rule formulas, settings that the closed division forbids."""

from dataclasses import replace

import pytest
from harness_runs import SUITE, request_of

from laptime.config import RunRequest
from laptime.errors import IllegalRun, InvalidConfiguration, UnknownName
from laptime.events import Cadence, Point, Sizes
from laptime.harness.preflight import check_hyperparameters, make_plan, numbers, refuse_illegal, resolve
from laptime.rules.formula import Formula
from laptime.rules.model import Evaluations

SIZES = Sizes(1281167, 50000, 1281167, 41)


def flight_of(*overrides, **more):
    return resolve(RunRequest("resnet", **{"round": "v4.0", "overrides": overrides, "suite": SUITE, **more}))


@pytest.mark.parametrize(("change", "words"), [
    ({"benchmark": "resnt"}, "unknown benchmark 'resnt'. Did you mean 'resnet'?"),
    ({"benchmark": ""}, "unknown benchmark ''"),
    ({"benchmark": "../resnet"}, "unknown benchmark '../resnet'"),
    ({"round": "v4.9"}, "unknown round 'v4.9'. Did you mean 'v4.1'?"),
    ({"round": "../v4.0"}, "unknown round '../v4.0'"),
    ({"round": "common"}, "unknown round 'common'"),
    ({"division": "closd"}, "division 'closd' is not part of round v4.0. Did you mean 'closed'?"),
    ({"status": "researhc"}, "status 'researhc' is unknown in round v4.0. Did you mean 'research'?"),
    ({"status": "on-premise", "round": "v4.0"}, "status 'on-premise' is unknown in round v4.0. Did you mean 'onprem'?"),
    ({"overrides": ("optimizer.nmae=sgd",)}, "unknown setting 'nmae' in override 'optimizer.nmae=sgd'. Did you mean 'name'?"),
])
def test_unknown_name_is_told_with_the_nearest_one(change, words):
    with pytest.raises(UnknownName) as error:
        resolve(replace(RunRequest("resnet", round="v4.0", suite=SUITE), **change))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_benchmark_outside_the_round_is_told_with_those_inside(tmp_path):
    with pytest.raises(UnknownName, match=r"benchmark 'standin' is not part of round v4\.0") as error:
        resolve(request_of(tmp_path, round="v4.0"))
    assert "resnet" in error.value.hint


def test_unknown_benchmark_is_told_before_an_empty_round_is():
    with pytest.raises(UnknownName, match="unknown benchmark"):
        resolve(RunRequest("nothing", round="v4.0"))


@pytest.mark.parametrize(("round_name", "status"), [("v0.5", "on-premise"), ("v4.0", "onprem"), ("v4.0", "preview")])
def test_status_is_spelled_as_the_round_spells_it(round_name, status):
    assert flight_of(round=round_name, status=status).request.status == status


@pytest.mark.parametrize(("round_name", "batch", "preset"), [("v4.0", 2048, "full"), ("v0.5", 2048, "v0.5"), ("mini", 64, "mini"),
                                                             ("smoke", 16, "smoke")])
def test_preset_is_that_of_the_round(round_name, batch, preset):
    flight = flight_of(round=round_name)
    assert (flight.config.global_batch_size, flight.rules.preset) == (batch, preset)


def test_overrides_are_applied_in_order():
    assert flight_of("global_batch_size=8", "global_batch_size=16").config.global_batch_size == 16


@pytest.mark.parametrize("offset", [0, 1, 2, 3])
def test_plan_of_the_full_preset_evaluates_every_fourth_epoch_to_the_limit(offset):
    flight = flight_of(f"evaluation_offset={offset}")
    plan = make_plan(flight.rules, flight.config, SIZES)
    assert (plan.global_batch_size, plan.limit, plan.sizes) == (2048, Point(41, "epochs"), SIZES)
    assert [epoch for epoch in range(1, 42) if plan.due_at_end(epoch)] == list(range(1 + offset, 42, 4))


def test_plan_of_the_full_preset_ends_at_epoch_41():
    flight = flight_of()
    plan = make_plan(flight.rules, flight.config, SIZES)
    assert [epoch for epoch in range(1, 42) if plan.due_at_end(epoch)] == [3, 7, 11, 15, 19, 23, 27, 31, 35, 39]
    assert [plan.exhausted_after(epoch) for epoch in (40, 41)] == [False, True]


@pytest.mark.parametrize("round_name", ["mini", "smoke"])
def test_plan_of_a_small_round_evaluates_after_every_epoch(round_name):
    flight = flight_of(round=round_name)
    plan = make_plan(flight.rules, flight.config, Sizes(10, 10, 10, 9))
    assert [plan.due_at_end(epoch) for epoch in range(1, 10)] == [True] * 9


@pytest.mark.parametrize(("rule", "own", "expected"), [(None, None, 1000), ("12", None, 12), (None, 7.5, 7.5), ("12", 7, 7), ("5", 7, 5),
                                                       ("samples_per_epoch / global_batch_size", None, 5)])
def test_limit_is_the_smaller_of_rule_and_schedule(rule, own, expected):
    flight = flight_of("global_batch_size=10")
    rules = replace(flight.rules, limit=Formula(rule) if rule else None)
    assert make_plan(rules, flight.config, Sizes(50, 5, 50, own)).limit == Point(expected, "epochs")


def evaluations(points, step=None, unit="samples"):
    return Evaluations(unit, tuple(map(Formula, points)), Formula(step) if step else None, "")


def test_plan_in_samples_rounds_formulas_up():
    flight = flight_of("global_batch_size=48")
    rules = replace(flight.rules, evaluations=evaluations(["train_samples / 7", "0.5 * train_samples"], "train_samples / 3"))
    assert make_plan(rules, flight.config, Sizes(100, 10, 100)).evaluations == Cadence("samples", (15, 50), 34)


@pytest.mark.parametrize("points", [["5", "5"], ["6", "5"], []])
def test_evaluation_points_that_do_not_increase_are_refused(points):
    flight = flight_of()
    with pytest.raises(InvalidConfiguration, match="expected increasing evaluation points"):
        make_plan(replace(flight.rules, evaluations=evaluations(points)), flight.config, SIZES)


def test_formula_that_is_no_number_is_refused():
    flight = flight_of()
    with pytest.raises(InvalidConfiguration, match="expected a number from the rule '1 < 2'"):
        make_plan(replace(flight.rules, limit=Formula("1 < 2")), flight.config, SIZES)


@pytest.mark.parametrize("setting", ["evaluation_offset=5", "evaluation_offset=-1", "label_smoothing=1.5", "global_batch_size=0"])
@pytest.mark.parametrize("division", ["closed", "open"])
def test_setting_that_cannot_be_run_is_refused_in_either_division(setting, division):
    with pytest.raises(InvalidConfiguration, match=f"expected .*{setting.partition('=')[0]}"):
        flight_of(setting, division=division)


@pytest.mark.parametrize(("setting", "words"), [("label_smoothing=0.3", "label_smoothing is 0.3, expected 0 or 0.1"),
                                                ("model.width=32", "model.width is 32, expected 64 as in the reference"),
                                                ("data.flip=false", "data.flip is False, expected True as in the reference")])
def test_setting_outside_the_rules_is_refused_in_the_closed_division_only(setting, words):
    with pytest.raises(IllegalRun) as error:
        flight_of(setting)
    assert words in str(error.value)
    assert "round v4.0" in str(error.value)
    for free in ({"division": "open"}, {"seed": 1}):
        assert flight_of(setting, **free).request.overrides == (setting,)


def test_settings_outside_the_rules_are_told_together():
    with pytest.raises(IllegalRun, match=r"model\.width is 32.*data\.crop is 128"):
        flight_of("model.width=32", "data.crop=128")


def test_number_of_processes_is_validated_with_the_configuration():
    with pytest.raises(InvalidConfiguration, match="divisible by processes x accumulation_steps = 3"):
        flight_of(nproc=3)


@pytest.mark.parametrize("setting", ["evaluation_offset=3", "label_smoothing=0", "label_smoothing=0.1"])
def test_setting_within_the_rules_is_accepted(setting):
    assert flight_of(setting).request.overrides == (setting,)


def test_violations_name_key_value_and_source():
    rules = flight_of().rules
    (one,) = check_hyperparameters(rules, {"opt_name": "adam"}, "closed")
    assert one.startswith("opt_name is 'adam'")
    assert one.endswith(")")
    assert check_hyperparameters(rules, {"opt_name": "adam"}, "open") == []
    assert check_hyperparameters(rules, {"opt_name": "lars"}, "closed") == []
    assert check_hyperparameters(rules, {}, "closed") == []


def test_illegal_run_lists_every_violation_on_one_line():
    rules = flight_of().rules
    with pytest.raises(IllegalRun, match=r"round v4\.0: a is 1; b is 2") as error:
        refuse_illegal(["a is 1", "b is 2"], rules)
    assert "--division open" in error.value.hint
    refuse_illegal([], rules)


def test_numbers_are_the_numeric_settings_at_the_root():
    assert numbers(flight_of().config) == {"global_batch_size": 2048, "label_smoothing": 0.1, "evaluation_offset": 2}


def test_limit_in_samples_goes_before_one_in_epochs(tmp_path):
    flight = resolve(request_of(tmp_path))
    assert make_plan(flight.rules, flight.config, Sizes(100, 10, 100, 9, limit_samples=250)).limit == Point(250, "samples")
