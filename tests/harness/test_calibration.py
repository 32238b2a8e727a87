"""Tables of calibration runs, and the reference point that the judge then reads."""

import csv
import shutil
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from harness_runs import Quiet, request_of

from laptime.config import SuitePath
from laptime.errors import UserError
from laptime.harness.calibration import (
    FIELDS,
    REFERENCE,
    CalibrationRun,
    fault_runs,
    measure_shortcuts,
    reached,
    read_table,
    reference_runs,
    write_reference_point,
    write_shortcuts,
    write_table,
)
from laptime.rules import load
from laptime.rules.load import load_round
from laptime.rules.model import Interval
from laptime.suite import folders

RUNS = [CalibrationRun(REFERENCE, 5, 7.0, 0.82, ((1.0, 0.25), (7.0, 0.82))),
        CalibrationRun(REFERENCE, 2**62, 8.5, 0.8123, ((1.0, 0.5), (8.5, 0.8123))),
        CalibrationRun("batch norm off", 6, None, 0.1, ((1.0, 0.1),))]
RULES = load_round("mini-1").benchmarks["resnet"]


def test_table_is_read_as_it_was_written(tmp_path):
    write_table(tmp_path / "t.csv", RUNS)
    assert read_table(tmp_path / "t.csv") == RUNS
    assert (tmp_path / "t.csv").read_text().splitlines()[0] == ",".join(FIELDS)
    assert b"\r" not in (tmp_path / "t.csv").read_bytes()


def test_missing_table_has_no_runs(tmp_path):
    assert read_table(tmp_path / "t.csv") == []


def test_runs_of_a_kind_are_replaced_and_the_others_kept(tmp_path):
    write_table(tmp_path / "t.csv", RUNS)
    again = [CalibrationRun(REFERENCE, 9, 6.0, 0.9, ((6.0, 0.9),))]
    write_table(tmp_path / "t.csv", again)
    assert read_table(tmp_path / "t.csv") == [RUNS[2], *again]


def test_writing_no_runs_keeps_the_table(tmp_path):
    write_table(tmp_path / "t.csv", RUNS)
    write_table(tmp_path / "t.csv", [])
    assert read_table(tmp_path / "t.csv") == RUNS


kinds = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1)


@given(st.lists(st.builds(CalibrationRun, kinds, st.integers(0, 2**63 - 1), st.none() | st.integers(1, 10**5).map(float),
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


@pytest.mark.parametrize(("curve", "expected"), [([], None), ([(1, 0.1)], None), ([(1, 0.1), (2, 0.8), (3, 0.7), (4, 0.9)], 2),
                                                 ([(3, 0.9)], 3)])
def test_reached_is_the_first_position_that_meets_the_target(curve, expected):
    assert reached(curve, Interval(low=0.8)) == expected


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
    name = write_reference_point(rules, 77, RUNS[:2], folder / "rcp.csv")
    after = {point.name: point for point in rules_of(folder).references}
    assert name == "copied_mini-1_77"
    assert set(after) == set(before) | {name}
    assert (after[name].batch_size, after[name].unit, after[name].values) == (77, "epochs", (7.0, 8.5))
    assert {n: p for n, p in after.items() if n != name} == before
    assert len((folder / "rcp.csv").read_text().splitlines()) == rows + 1


def test_reference_point_made_again_replaces_the_first(folder):
    rules = rules_of(folder)
    write_reference_point(rules, 77, RUNS[:2], folder / "rcp.csv")
    once = (folder / "rcp.csv").read_text()
    write_reference_point(rules, 77, RUNS[:2], folder / "rcp.csv")
    assert (folder / "rcp.csv").read_text() == once
    write_reference_point(rules, 77, [replace(RUNS[0], units=3.0)], folder / "rcp.csv")
    assert next(p for p in rules_of(folder).references if p.batch_size == 77).values == (3.0,)


def test_reference_points_of_other_rounds_are_untouched(folder):
    official = rules_of(folder, "house-1").references
    write_reference_point(rules_of(folder), 77, RUNS[:2], folder / "rcp.csv")
    assert rules_of(folder, "house-1").references == official
    assert official


def test_reference_point_starts_a_table_where_there_is_none(tmp_path):
    write_reference_point(RULES, 8, RUNS[:1], tmp_path / "rcp.csv")
    (row,) = csv.DictReader((tmp_path / "rcp.csv").read_text().splitlines())
    assert (row["in"], row["name"], row["batch_size"], row["unit"], row["values"]) == ("mini-1", "resnet_mini-1_8", "8", "epochs", "7")


def test_reference_point_of_runs_that_missed_is_refused(folder):
    before = (folder / "rcp.csv").read_bytes()
    with pytest.raises(UserError, match=r"1 of 3 reference runs never reached the target \(seed 6"):
        write_reference_point(rules_of(folder), 77, RUNS, folder / "rcp.csv")
    assert (folder / "rcp.csv").read_bytes() == before


@pytest.mark.seconds
def test_reference_runs_go_on_to_the_limit_and_remember_where_they_converged(tmp_path):
    runs = reference_runs(request_of(tmp_path, runs=2, threads=1), Quiet())
    assert [(run.kind, run.units, run.best) for run in runs] == [(REFERENCE, 2.0, 0.9)] * 2
    assert [run.curve for run in runs] == [((1.0, 0.1), (2.0, 0.9), (3.0, 0.9))] * 2
    assert len({run.seed for run in runs}) == 2


def test_benchmark_without_planted_faults_has_no_fault_runs(tmp_path):
    assert fault_runs(request_of(tmp_path), Quiet()) == []


def test_benchmark_without_shortcuts_is_one_line(tmp_path):
    with pytest.raises(UserError):
        measure_shortcuts(request_of(tmp_path), Quiet())
