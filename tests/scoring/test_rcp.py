"""The convergence check against the worked examples of the rules and, where the facts are at hand, all 548 points."""

import csv
import math
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laptime.rules.model import ReferencePoint
from laptime.scoring.rcp import (
    UNTESTED,
    Reference,
    check_convergence,
    check_mean,
    comparison,
    in_use,
    interpolated,
    minimum_mean,
    pruned,
    statistics,
)

FACTS = Path(__file__).parents[3] / "shared" / "facts" / "rules"
BS_128 = (16, 14, 16, 17, 16, 16, 15, 16, 15, 16)
BS_256 = (20, 21, 21, 20, 22, 22, 21, 21, 20, 20)


def table(name):
    return list(csv.DictReader((FACTS / name).read_text().splitlines()))


def point(batch_size, values):
    return ReferencePoint(f"ref_{batch_size}", batch_size, "epochs", tuple(values), {})


def check(batch_size, values, points=None, **changes):
    rules = {"runs": 5, "drop": 1, "max_failures": 1, **changes}
    points = [point(128, BS_128), point(256, BS_256)] if points is None else points
    return check_convergence(points, batch_size=batch_size, values=values, **rules)


def test_statistics_of_the_appendix_example():
    reference = statistics(point(128, BS_128), 1)
    assert (reference.mean, reference.n) == (15.75, 8)
    assert reference.stdev == pytest.approx(0.7810, abs=5e-5)
    assert minimum_mean(reference, 5) == pytest.approx(14.7807, abs=5e-5)


def test_minimum_of_the_appendix_example_with_the_trimmed_deviation():
    assert minimum_mean(Reference(128, 15.75, 0.4330127, 8), 5) == pytest.approx(15.2126, abs=5e-5)


def test_minimum_of_an_interpolated_point_with_the_trimmed_deviation():
    line = interpolated(Reference(128, 15.75, 0.4330127, 8), Reference(256, 20.75, 0.6614378, 8), 192, 10)
    assert line.mean == 18.25
    assert minimum_mean(line, 5) == pytest.approx(17.603, abs=5e-4)


def test_same_batch_size_slightly_fast_passes_with_a_factor():
    decision = check(128, [15, 15, 15, 16, 16])
    assert (decision.passed, decision.text) == (True, "RCP found")
    assert decision.factor == pytest.approx(15.75 / (46 / 3))


def test_same_batch_size_too_fast_fails():
    decision = check(256, [19, 19, 19, 20, 20])
    assert (decision.passed, decision.text, decision.factor) == (False, "RCP found", 1.0)


def test_slower_than_the_reference_passes_without_factor():
    assert check(128, [17] * 5).factor == 1.0


def test_between_two_points_is_interpolated():
    decision = check(192, [17, 18, 18, 18, 20])
    assert (decision.passed, decision.text, decision.reference_mean) == (True, "RCP Interpolation", 18.25)


def test_beyond_the_largest_batch_size_misses_a_point():
    decision = check(512, [40] * 5)
    assert (decision.passed, decision.text) == (False, "Missing RCP, please submit RCP with BS = 512")


def test_below_the_smallest_batch_size_slower_passes():
    assert check(64, [16] * 5).text == "RCP not found but slower convergence on smaller batch size"


def test_below_the_smallest_batch_size_faster_misses_a_point():
    decision = check(64, [10] * 5)
    assert (decision.passed, decision.text) == (False, "Missing RCP, please submit RCP with BS = 64")


def test_one_failed_run_is_the_slowest():
    assert check(128, [16, 16, 16, 16, math.inf]).submission_mean == 16


def test_two_failed_runs_are_insufficient():
    assert check(128, [16, 16, 16, math.inf, math.inf]).text == "Insufficient convergence"


def test_no_batch_size_and_no_points_are_said():
    assert check(None, [16] * 5).text == "Could not detect global_batch_size"
    assert check(128, [16] * 5, points=[]).text == "Cannot find any RCPs"


def test_points_without_spread_accept_their_own_mean_only():
    constant = [point(8, [3] * 10)]
    assert check(8, [3] * 5, constant).passed
    assert not check(8, [2.999] * 5, constant).passed


@pytest.mark.parametrize("runs", [1, 2])
@pytest.mark.parametrize("batch_size", [64, 128, 192, 512])
def test_too_few_runs_for_a_test_pass_and_say_so(batch_size, runs):
    decision = check(batch_size, [1.0] * runs, runs=runs, drop=0, max_failures=0)
    assert (decision.passed, decision.text, decision.factor, decision.minimum_mean) == (True, UNTESTED, 1.0, None)


def test_too_few_runs_that_failed_are_insufficient_all_the_same():
    assert check(128, [math.inf], runs=1, drop=0, max_failures=0).text == "Insufficient convergence"


@pytest.mark.parametrize(("runs", "n"), [(2, 8), (1, 8), (3, 1)])
def test_there_is_no_least_mean_without_degrees_of_freedom(runs, n):
    assert minimum_mean(Reference(128, 15.75, 0.5, n), runs) is None
    assert minimum_mean(Reference(128, 15.75, 0.0, n), runs) is None


def test_one_reference_run_and_three_runs_cannot_be_tested():
    decision = check_mean([Reference(128, 15.75, 0.0, 1)], batch_size=64, submission=3.0, runs=3)
    assert (decision.passed, decision.text) == (True, UNTESTED)


def test_points_of_too_few_values_are_not_in_use():
    assert in_use([point(128, [15, 16]), point(256, BS_256)], 1) == (statistics(point(256, BS_256), 1),)


@pytest.mark.parametrize(("batch_size", "basis", "mean"), [
    (128, "exact", 15.75), (192, "interpolated", 18.25), (64, "smaller", 15.75), (512, "larger", None)])
def test_a_set_is_compared_with_the_nearest_points(batch_size, basis, mean):
    found = comparison(in_use([point(128, BS_128), point(256, BS_256)], 1), batch_size, 5)
    assert (found.basis, found.reference and found.reference.mean) == (basis, mean)


@pytest.mark.parametrize("batch_size", [64, 128, 192, 256, 512])
@pytest.mark.parametrize("submission", [10.0, 15.0, 17.7, 25.0])
def test_a_mean_gets_the_verdict_of_a_set_with_that_mean(batch_size, submission):
    kept = in_use([point(128, BS_128), point(256, BS_256)], 1)
    assert check_mean(kept, batch_size=batch_size, submission=submission, runs=5) == check(batch_size, [submission] * 5)


def test_pruning_removes_the_slow_and_the_small():
    points = [Reference(1, 12, 1, 8), Reference(2, 10, 1, 8), Reference(3, 20, 1, 8), Reference(4, 14, 1, 8)]
    assert [p.batch_size for p in pruned(points)] == [2, 4]


def test_every_reference_point_has_the_known_statistics_and_pruning():
    """548 points of 11 rounds: mean, deviation, least mean, speed-up; which of them pruning keeps."""
    if not FACTS.exists():
        pytest.skip("the tables of all reference points are not at hand")
    wanted = {(r["round"], r["benchmark"], r["rcp_name"]): r for r in table("rcp_stats.csv")}
    groups = defaultdict(list)
    for row in table("rcp.csv"):
        values = [float(v) for v in row["values"].split()]
        groups[row["round"], row["benchmark"]].append((row["rcp_name"], point(float(row["batch_size"]), values)))
    checked = 0
    for (round_name, benchmark), points in groups.items():
        rows = [wanted[round_name, benchmark, name] for name, _ in points]
        runs = int(rows[0]["runs_required"])
        references = [statistics(p, 4 if runs == 40 else 1) for _, p in points]  # only the 40-run benchmark drops 4
        kept = {p.batch_size for p in pruned(references)}
        for row, reference in zip(rows, references, strict=True):
            least = minimum_mean(reference, runs)
            assert reference.mean == pytest.approx(float(row["mean"]), rel=1e-9), row
            assert reference.stdev == pytest.approx(float(row["stdev"]), rel=1e-9, abs=1e-9), row
            assert least == pytest.approx(float(row["min_mean"]), abs=6e-5, rel=1e-9), row
            if least > 1:
                assert reference.mean / least == pytest.approx(float(row["max_speedup"]), rel=5e-5), row
            assert ("yes" if reference.batch_size in kept else "no") == row["survives_pruning"], row
            checked += 1
    assert checked == len(wanted)


def test_the_eight_billion_example_of_the_facts():
    """Facts, example B, with statistics given there instead of the points."""
    reference = Reference(64, 226_645.3333333, 10_623.97, 18)
    assert minimum_mean(reference, 10) == pytest.approx(218_921.87, abs=0.02)
    line = interpolated(Reference(32, 178_858.67, 7_165.07, 18), Reference(64, 226_645.33, 10_623.97, 18), 48, 20)
    assert minimum_mean(line, 10) == pytest.approx(196_405.66, abs=0.02)


def test_slack_lets_a_set_be_that_far_below():
    assert not check(128, [14.5] * 5).passed
    decision = check(128, [14.5] * 5, slack=0.5)
    assert (decision.passed, decision.minimum_mean) == (True, pytest.approx(14.2807, abs=5e-5))


def test_slack_never_asks_for_less_than_nothing():
    assert minimum_mean(Reference(128, 15.75, 0.5, 8), 5, slack=100) == 0
    assert minimum_mean(Reference(128, 15.75, 0.0, 8), 5, slack=100) == 0


def test_a_set_that_fails_could_still_be_brought_to_the_reference():
    decision = check(256, [19, 19, 19, 20, 20])
    assert (decision.passed, decision.factor) == (False, 1.0)
    assert decision.to_reference == pytest.approx(20.75 / (58 / 3))
    assert check(512, [40] * 5).to_reference is None


def test_words_of_a_decision_hold_its_numbers():
    assert check(256, [19, 19, 19, 20, 20]).words == "RCP found: mean 19.3333, expected at least 19.8213"
    assert check(None, [16] * 5).words == "Could not detect global_batch_size"


VALUES = st.lists(st.floats(1, 100), min_size=6, max_size=12)
SETS = st.lists(st.floats(1, 100), min_size=5, max_size=5)


@given(VALUES, SETS, st.floats(0.01, 1000))
def test_the_verdict_knows_no_unit(reference, values, factor):
    here, there = (check(128, [f * v for v in values], [point(128, [f * v for v in reference])]) for f in (1, factor))
    assert there.factor == pytest.approx(here.factor, rel=1e-6) or here.passed != there.passed
    if not math.isclose(here.submission_mean, here.minimum_mean, rel_tol=1e-9):
        assert here.passed == there.passed


@given(VALUES, SETS, st.floats(0, 50))
def test_who_needs_more_passes_all_the_more(reference, values, more):
    points = [point(128, reference)]
    quick, slow = check(128, values, points), check(128, [value + more for value in values], points)
    assert slow.passed or not quick.passed
    assert slow.factor <= max(quick.factor, 1.0) + 1e-12 or not quick.passed


@given(VALUES, SETS)
def test_a_factor_brings_a_set_to_the_reference(reference, values):
    decision = check(128, values, [point(128, reference)])
    if decision.factor > 1:
        assert decision.factor * decision.submission_mean == pytest.approx(decision.reference_mean)
        assert decision.max_speedup is None or decision.factor <= decision.max_speedup + 1e-9


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(1, 100)), min_size=1, max_size=8, unique_by=lambda pair: pair[0]))
def test_pruning_keeps_some_of_the_points_and_the_fastest(pairs):
    points = [Reference(size, mean, 1.0, 8) for size, mean in pairs]
    kept = pruned(points)
    assert set(kept) <= set(points)
    assert min(points, key=lambda one: (one.mean, one.batch_size)).mean == kept[0].mean
    assert pruned(kept)[0] == kept[0]
