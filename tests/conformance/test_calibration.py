"""The targets of the mini round are honest: the committed tables of reference runs, faults and shortcuts say so."""

import csv
import statistics

import pytest

from laptime.harness.calibration import REFERENCE, TABLE, reached, read_table, values_of
from laptime.rules.load import load_round
from laptime.suite import folders, load

RUNNABLE = [name for name, folder in folders().items() if (folder / "benchmark.py").is_file()]


@pytest.fixture(params=RUNNABLE)
def rules(request):
    return load_round("mini").benchmarks[request.param]


@pytest.fixture
def table(rules):
    return [run for run in read_table(rules.folder / TABLE) if run.round == rules.round]


@pytest.fixture
def references(table):
    return [run for run in table if run.kind == REFERENCE]


def evaluations(run):
    """How many evaluations a run needed."""
    return sum(1 for position, _ in run.curve if position <= run.units)


def test_target_was_set_from_ten_seeds_or_more_that_all_reach_it(references):
    assert len({run.seed for run in references}) == len(references) >= 10
    assert all(run.units is not None for run in references)


def test_units_of_the_table_are_those_of_the_round_s_target(rules, table):
    for run in table:
        assert run.units == reached(run.values(), list(rules.target.values()))


def test_no_run_reaches_the_target_at_its_first_two_evaluations_and_the_median_needs_five(references):
    assert min(evaluations(run) for run in references) > 2
    assert statistics.median(evaluations(run) for run in references) >= 5


def test_spread_of_the_reference_runs_is_within_its_budget(rules, references):
    """Design, section 15: coefficient of variation of the units to the target, 15 % unless the rules say why not."""
    units = [run.units for run in references]
    assert statistics.stdev(units) / statistics.fmean(units) <= rules.spread


def test_reference_point_of_the_round_is_made_of_these_runs(rules, references):
    (point,) = rules.references
    assert sorted(point.values) == sorted(run.units for run in references)
    assert point.unit == rules.convergence_unit


def test_no_shortcut_reaches_the_target(rules):
    with (rules.folder / "shortcuts.csv").open(newline="") as file:
        found = {row["shortcut"]: values_of(row["value"]) for row in csv.DictReader(file)}
    assert set(found) == set(load(rules.name, "shortcuts").SHORTCUTS)
    assert not [name for name, values in found.items() if reached([(0.0, values)], list(rules.target.values())) is not None]


def test_planted_faults_show(rules, table, references):
    """At least four of five faults miss the target, or need more than the slowest sound run: in both of two seeds, or
    three of four."""
    slowest = max(run.units for run in references)
    faults = load(rules.name, "config").FAULTS
    shown = []
    for fault in faults:
        runs = [run for run in table if run.kind == fault]
        assert len(runs) >= 2, fault
        caught = sum(1 for run in runs if run.units is None or run.units > slowest)
        if caught / len(runs) >= 3 / 4:
            shown.append(fault)
    assert len(faults) >= 5
    assert len(shown) >= len(faults) - 1, shown
