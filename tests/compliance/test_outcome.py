"""How a run ended: on the clock, off the clock, one line per metric, no run_stop, and values in single precision."""

from dataclasses import replace
from pathlib import Path

import pytest

from laptime.compliance import outcome as outcomes
from laptime.compliance.run import Run
from laptime.log.read import Log
from laptime.log.record import Record
from laptime.rules.load import load_round
from laptime.rules.model import Interval

TWO = {"FID": Interval(high=90.0), "CLIP": Interval(low=0.15)}
BLEU = {"eval_accuracy": Interval(low=21.8)}
START, MINUTE = 1_700_000_000_000, 60_000


def run(records, *, level="rules", dialect="mllog", **changes):
    round_ = load_round({"mllog": "v4.0", "mll": "v0.6", "mlp05": "v0.5"}[dialect])
    rules = replace(round_.benchmarks["resnet"], **changes)
    lines = tuple(replace(record, line=number) for number, record in enumerate(records, 1))
    return Run(Log(Path("result_0.txt"), dialect, lines, ()), round_, rules, level)


def line(key, minute, value=None, **metadata):
    return Record(key, value, START + minute * MINUTE, metadata=metadata)


def evaluation(minute, value, epoch, **metadata):
    return line("eval_accuracy", minute, value, epoch_num=epoch, **metadata)


def checkpoints(*triples, order=None):
    """Two lines per checkpoint, evaluated an hour after the training."""
    lines = [evaluation(100 + epoch, value, epoch, metric=name) for epoch, fid, clip in triples
             for name, value in (("FID", fid), ("CLIP", clip))]
    return [line("run_start", 0), *(lines if order is None else [lines[place] for place in order]),
            line("run_stop", 30, status="success")]


def offline(*triples, **changes):
    return run(checkpoints(*triples, **changes), target=TWO, metric_key="metric", evaluate_offline=True)


def test_the_last_evaluation_on_the_clock_decides():
    one = run([line("run_start", 0), evaluation(1, 0.7, 1), evaluation(2, 0.76, 5), line("run_stop", 3, status="success"),
               evaluation(4, 0.1, 9)])
    found = outcomes.outcome(one)
    assert (found.reached, found.success, outcomes.convergence(one, found), outcomes.minutes(one)) == (True, True, 5, 3)


@pytest.mark.parametrize(("level", "reached"), [("rules", False), ("official", True)])
def test_an_evaluation_stamped_after_the_stop_counts_for_the_official_tools_only(level, reached):
    one = run([line("run_start", 0), evaluation(4, 0.76, 5), line("run_stop", 3, status="success")], level=level)
    assert outcomes.outcome(one).reached is reached
    assert outcomes.convergence(one, outcomes.outcome(one)) == (5 if reached else None)


def test_two_metrics_of_one_checkpoint_are_one_evaluation():
    found = outcomes.outcome(offline((1, 120, 0.1), (2, 85, 0.16)))
    assert [record.value for record in found.evaluations] == [{"FID": 120, "CLIP": 0.1}, {"FID": 85, "CLIP": 0.16}]
    assert [record.line for record in found.evaluations] == [3, 5]


def test_the_first_passing_checkpoint_is_the_result():
    one = offline((1, 120, 0.1), (2, 85, 0.16), (3, 80, 0.17))
    found = outcomes.outcome(one)
    assert (found.reached, outcomes.convergence(one, found), outcomes.minutes(one)) == (True, 2, 30)


def test_checkpoints_may_be_evaluated_in_any_order():
    one = offline((1, 120, 0.1), (2, 85, 0.16), (3, 80, 0.17), order=[4, 1, 2, 5, 0, 3])
    assert outcomes.convergence(one, outcomes.outcome(one)) == 2


def test_both_metrics_must_pass_at_one_checkpoint():
    one = offline((1, 85, 0.1), (2, 120, 0.16))
    assert not outcomes.outcome(one).reached
    assert [finding.rule for finding in outcomes.check_outcome(one)] == ["target-missed"]


def test_a_checkpoint_with_one_metric_does_not_pass():
    assert not outcomes.outcome(offline((1, 120, 0.1), (2, 85, 0.16), order=[0, 1, 2])).reached


def test_metric_lines_without_name_or_position_are_left_out():
    records = [line("run_start", 0), line("eval_accuracy", 1, 85, metric="FID"), evaluation(1, 0.2, 1, metric=["CLIP"]),
               line("run_stop", 3, status="success")]
    found = outcomes.outcome(run(records, target=TWO, metric_key="metric", evaluate_offline=True))
    assert (found.evaluations, found.result, found.reached) == ((), None, False)


def test_a_log_that_ends_with_the_winning_model_has_its_time():
    """v0.6 logs of models that were evaluated after training: seconds from run_start instead of run_stop."""
    one = run([line("run_start", 0), evaluation(99, 0.76, 4), line("eval_result", 100, timestamp=120.0, iteration=4)],
              dialect="mll")
    assert (outcomes.minutes(one), outcomes.outcome(one).success) == (2, True)


@pytest.mark.parametrize("timestamp", [None, "x", float("inf"), [1], True])
def test_a_winning_model_without_a_number_has_no_time(timestamp):
    one = run([line("run_start", 0), line("eval_result", 100, timestamp=timestamp)], dialect="mll")
    assert (outcomes.minutes(one), outcomes.outcome(one).status) == (None, None)


@pytest.mark.parametrize(("dialect", "level", "reached"), [
    ("mlp05", "official", True), ("mlp05", "rules", True), ("mllog", "rules", True), ("mllog", "official", False)])
def test_the_target_in_single_precision_is_the_target(dialect, level, reached):
    round_keys = load_round({"mllog": "v4.0", "mlp05": "v0.5"}[dialect]).vocabulary
    records = [line(round_keys["run_start"], 0), line(round_keys["eval_accuracy"], 1, 21.799999237060547, epoch=1),
               line(round_keys["run_stop"], 2, status="success")]
    assert outcomes.outcome(run(records, dialect=dialect, level=level, target=BLEU)).reached is reached


def test_a_value_just_below_the_target_misses_it():
    records = [line("run_start", 0), evaluation(1, 21.79, 1), line("run_stop", 2, status="success")]
    assert not outcomes.outcome(run(records, target=BLEU)).reached


@pytest.mark.parametrize(("late_ms", "reached"), [(1, True), (100, True), (101, False)])
def test_the_deciding_line_and_the_stop_may_be_stamped_in_one_moment(late_ms, reached):
    late = replace(evaluation(3, 0.76, 5), time_ms=START + 3 * MINUTE + late_ms)
    assert outcomes.outcome(run([line("run_start", 0), late, line("run_stop", 3, status="success")])).reached is reached
