"""Tables of calibration runs, and the reference point that the judge then reads."""

import csv
import json
import shutil
from dataclasses import replace

import pytest
from harness_runs import Quiet, request_of
from hypothesis import given
from hypothesis import strategies as st

from laptime.config import RunRequest, SuitePath
from laptime.errors import FINE, INTERRUPTED, NOT_CONVERGED, Incomplete, UserError
from laptime.harness import calibration
from laptime.harness.calibration import (
    FIELDS,
    REFERENCE,
    CalibrationRun,
    fault_runs,
    measure_shortcuts,
    reached,
    read_table,
    reference_runs,
    values_of,
    write_reference_point,
    write_shortcuts,
    write_table,
)
from laptime.harness.runset import SetOutcome
from laptime.rules import load
from laptime.rules.formula import Formula
from laptime.rules.load import load_round
from laptime.rules.model import Interval, Position
from laptime.suite import folders
from laptime.suite import load as load_config

RUNS = [CalibrationRun("mini-1", REFERENCE, 5, 7.0, 0.82, ((1.0, 0.25), (7.0, 0.82))),
        CalibrationRun("mini-1", REFERENCE, 2**62, 8.5, 0.8123, ((1.0, 0.5), (8.5, 0.8123))),
        CalibrationRun("mini-1", "batch norm off", 6, None, 0.1, ((1.0, 0.1),))]
RULES = load_round("mini-1").benchmarks["resnet"]
CONFIG = replace(load_config("resnet", "config").mini(), global_batch_size=77)


def test_table_is_read_as_it_was_written(tmp_path):
    write_table(tmp_path / "t.csv", RUNS)
    assert read_table(tmp_path / "t.csv") == RUNS
    assert (tmp_path / "t.csv").read_text().splitlines()[0] == ",".join(FIELDS)
    assert b"\r" not in (tmp_path / "t.csv").read_bytes()


def test_missing_table_has_no_runs(tmp_path):
    assert read_table(tmp_path / "t.csv") == []


def test_runs_of_a_kind_are_replaced_and_the_others_kept(tmp_path):
    write_table(tmp_path / "t.csv", RUNS)
    again = [CalibrationRun("mini-1", REFERENCE, 9, 6.0, 0.9, ((6.0, 0.9),))]
    write_table(tmp_path / "t.csv", again)
    assert read_table(tmp_path / "t.csv") == [RUNS[2], *again]


def test_runs_of_another_round_are_kept(tmp_path):
    write_table(tmp_path / "t.csv", RUNS)
    other = [replace(run, round="smoke-1") for run in RUNS]
    write_table(tmp_path / "t.csv", other)
    assert read_table(tmp_path / "t.csv") == [*RUNS, *other]


def test_writing_no_runs_keeps_the_table(tmp_path):
    write_table(tmp_path / "t.csv", RUNS)
    write_table(tmp_path / "t.csv", [])
    assert read_table(tmp_path / "t.csv") == RUNS


kinds = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1)


@given(st.lists(st.builds(CalibrationRun, st.sampled_from(["mini-1", "house-1"]), kinds, st.integers(0, 2**63 - 1), st.none() | st.integers(1, 10**5).map(float),
                          st.integers(0, 10**4).map(lambda n: n / 10**4),
                          st.lists(st.tuples(st.integers(1, 999).map(float), st.integers(0, 99).map(lambda n: n / 100))).map(tuple))))
def test_any_table_is_read_as_it_was_written(tmp_path_factory, runs):
    path = tmp_path_factory.mktemp("table") / "t.csv"
    write_table(path, runs)
    assert read_table(path) == runs


def test_table_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for write in (lambda p: write_table(p, RUNS), lambda p: write_shortcuts(p, {"a": 1})):
        with pytest.raises(UserError, match="cannot write"):
            write(tmp_path / "nowhere" / "t.csv")


def test_shortcuts_are_a_table_of_names_and_values(tmp_path):
    write_shortcuts(tmp_path / "s.csv", {"nearest mean": 0.25, "colour": 1 / 3})
    assert (tmp_path / "s.csv").read_text() == "shortcut,value\nnearest mean,0.2500\ncolour,0.3333\n"


def test_shortcuts_of_two_metrics_are_read_as_they_were_written(tmp_path):
    write_shortcuts(tmp_path / "s.csv", {"mean picture": {"FID": 123.4, "CLIP": 0.05}})
    line = (tmp_path / "s.csv").read_text().splitlines()[1]
    assert line == "mean picture,123.4000/0.0500"
    assert values_of(line.partition(",")[2]) == (123.4, 0.05)


@pytest.mark.parametrize(("curve", "expected"), [([], None), ([(1, 0.1)], None), ([(1, 0.1), (2, 0.8), (3, 0.7), (4, 0.9)], 2),
                                                 ([(3, 0.9)], 3)])
def test_reached_is_the_first_position_that_meets_the_target(curve, expected):
    assert reached([(position, (value,)) for position, value in curve], [Interval(low=0.8)]) == expected


def test_reached_needs_every_metric_at_one_position():
    curve = [(1, (20.0, 0.5)), (2, (30.0, 0.7)), (3, (25.0, 0.7))]
    assert reached(curve, [Interval(high=26.0), Interval(low=0.6)]) == 3
    assert reached(curve[:2], [Interval(high=26.0), Interval(low=0.6)]) is None


def test_table_keeps_every_metric(tmp_path):
    run = CalibrationRun("mini-1", REFERENCE, 5, 2.0, 20.5, ((1.0, 40.0), (2.0, 20.5)), ((0.25,), (0.75,)))
    write_table(tmp_path / "t.csv", [run])
    assert read_table(tmp_path / "t.csv") == [run]
    assert run.values() == ((1.0, (40.0, 0.25)), (2.0, (20.5, 0.75)))


@pytest.fixture
def folder(tmp_path):
    """A copy of a benchmark folder's rules under a name of its own, in a suite of its own."""
    own = tmp_path / "suite" / "copied"
    own.mkdir(parents=True)
    for name in ("rules.toml", "rcp.csv"):
        shutil.copy(folders()["resnet"] / name, own / name)
    return own


def rules_of(folder, round_name="mini-1"):
    load._round.cache_clear()  # the table has changed since
    return load_round(round_name, SuitePath(folder.parent)).benchmarks["copied"]


def test_reference_point_is_what_the_rules_then_say(folder):
    rows = len((folder / "rcp.csv").read_text().splitlines())
    rules = rules_of(folder)
    before = {point.name: point for point in rules.references}
    name = write_reference_point(rules, CONFIG, RUNS[:2], folder / "rcp.csv")
    after = {point.name: point for point in rules_of(folder).references}
    assert name == "copied_mini-1_77"
    assert set(after) == set(before) | {name}
    assert (after[name].batch_size, after[name].unit, after[name].values) == (77, "epochs", (7.0, 8.5))
    assert {n: p for n, p in after.items() if n != name} == before
    assert len((folder / "rcp.csv").read_text().splitlines()) == rows + 1


def test_reference_point_made_again_replaces_the_first(folder):
    rules = rules_of(folder)
    write_reference_point(rules, CONFIG, RUNS[:2], folder / "rcp.csv")
    once = (folder / "rcp.csv").read_text()
    write_reference_point(rules, CONFIG, RUNS[:2], folder / "rcp.csv")
    assert (folder / "rcp.csv").read_text() == once
    write_reference_point(rules, CONFIG, [replace(RUNS[0], units=3.0)], folder / "rcp.csv")
    assert next(p for p in rules_of(folder).references if p.batch_size == 77).values == (3.0,)


def test_reference_points_of_other_rounds_are_untouched(folder):
    official = rules_of(folder, "house-1").references
    write_reference_point(rules_of(folder), CONFIG, RUNS[:2], folder / "rcp.csv")
    assert rules_of(folder, "house-1").references == official
    assert official


def test_reference_point_starts_a_table_where_there_is_none(tmp_path):
    write_reference_point(RULES, replace(CONFIG, global_batch_size=8), RUNS[:1], tmp_path / "rcp.csv")
    (row,) = csv.DictReader((tmp_path / "rcp.csv").read_text().splitlines())
    assert (row["in"], row["name"], row["batch_size"], row["unit"], row["values"]) == ("mini-1", "resnet_mini-1_8", "8", "epochs", "7")


def test_reference_point_of_runs_that_missed_is_refused(folder):
    before = (folder / "rcp.csv").read_bytes()
    with pytest.raises(UserError, match=r"1 of 3 reference runs never reached the target \(seed 6"):
        write_reference_point(rules_of(folder), CONFIG, RUNS, folder / "rcp.csv")
    assert (folder / "rcp.csv").read_bytes() == before


def test_reference_point_says_what_a_closed_run_may_change(folder):
    rules = replace(rules_of(folder), free=("global_batch_size", "optimizer.*rate"))
    name = write_reference_point(rules, CONFIG, RUNS[:1], folder / "rcp.csv")
    (point,) = [point for point in rules_of(folder).references if point.name == name]
    assert dict(point.hyperparameters) == {"global_batch_size": "77", "optimizer.base_learning_rate": "5.0",
                                           "optimizer.end_learning_rate": "0.0001"}


def test_positions_take_the_hyperparameters_of_the_record(tmp_path):
    record = {"seed": 3, "hyperparameters": {"max_sequence_length": 8, "opt_name": "adam"},
              "evaluations": [{"epoch": 1, "samples": 16, "metrics": {"eval_accuracy": 0.5}}]}
    (tmp_path / "record_0.json").write_text(json.dumps(record))
    rules = replace(RULES, position=Position("epoch_num", Formula("samples * max_sequence_length")))
    assert calibration._read(tmp_path / "record_0.json", REFERENCE, rules, None).curve == ((128.0, 0.5),)


@pytest.mark.parametrize(("code", "kept"), [(INTERRUPTED, 0), (FINE, 1), (NOT_CONVERGED, 1)])
def test_runs_count_only_when_their_set_is_whole(tmp_path, monkeypatch, code, kept):
    record = {"seed": 3, "evaluations": [{"epoch": 1, "samples": 16, "metrics": {"eval_accuracy": 0.5}}]}
    (tmp_path / "record_0.json").write_text(json.dumps(record))
    (tmp_path / "record_1.json").write_text(json.dumps(record))  # without a result: a run that was broken off
    (tmp_path / "result_0.txt").write_text("")
    monkeypatch.setattr(calibration, "run_set", lambda *_: SetOutcome(tmp_path, (), code, "stopped by SIGINT"))
    if not kept:
        with pytest.raises(Incomplete, match="stopped by SIGINT") as error:
            reference_runs(request_of(tmp_path), Quiet())
        assert error.value.exit_code == code
    else:
        assert reference_runs(request_of(tmp_path), Quiet()) == [CalibrationRun("mini-1", REFERENCE, 3, None, 0.5, ((1.0, 0.5),))]


def test_official_rounds_have_no_reference_runs_of_ours():
    with pytest.raises(UserError, match=r"expected a house round, found v4\.0"):
        reference_runs(RunRequest("resnet", round="v4.0"), Quiet())


@pytest.mark.seconds
def test_reference_runs_go_on_to_the_limit_and_remember_where_they_converged(tmp_path):
    runs = reference_runs(request_of(tmp_path, runs=1, threads=1), Quiet())
    assert [(run.kind, run.units, run.best) for run in runs] == [(REFERENCE, 2.0, 0.9)]
    assert runs[0].curve == ((1.0, 0.1), (2.0, 0.9), (3.0, 0.9))


def test_benchmark_without_planted_faults_has_no_fault_runs(tmp_path):
    assert fault_runs(request_of(tmp_path), Quiet()) == []


def test_benchmark_without_shortcuts_is_one_line(tmp_path):
    with pytest.raises(UserError):
        measure_shortcuts(request_of(tmp_path), Quiet())
