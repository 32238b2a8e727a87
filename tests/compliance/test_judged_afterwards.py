"""Order of lines where models are judged after training: the run's end is stamped when the winning one was saved."""

from dataclasses import replace
from pathlib import Path

import pytest

from laptime.compliance.order import check_late_keys, check_time_order
from laptime.compliance.run import Run
from laptime.log.read import Log
from laptime.log.record import Record
from laptime.rules.load import load_round

START = 1_700_000_000_000


def run(records, **changes):
    round_ = load_round("v2.1")
    rules = replace(round_.benchmarks["minigo"], **changes)
    lines = tuple(replace(record, line=number) for number, record in enumerate(records, 1))
    return Run(Log(Path("result_0.txt"), "mllog", lines, ()), round_, rules, "rules")


def line(key, second, value=None, **metadata):
    return Record(key, value, START + second * 1000, metadata=metadata)


STOPPED_EARLIER = [line("run_start", 0), line("block_stop", 5, first_epoch_num=1), line("eval_start", 9, epoch_num=1),
                   line("eval_accuracy", 10, 0.6, epoch_num=1), line("eval_stop", 10, epoch_num=1),
                   line("run_stop", 5, status="success")]


@pytest.mark.parametrize("offline", [True, False])
def test_a_stop_before_the_evaluations_is_in_order_only_where_they_come_afterwards(offline):
    found = list(check_time_order(run(STOPPED_EARLIER, evaluate_offline=offline)))
    assert bool(found) is not offline


def test_other_lines_stay_in_order_there_too():
    records = [*STOPPED_EARLIER[:3], line("eval_accuracy", 8, 0.6, epoch_num=1), *STOPPED_EARLIER[4:]]
    assert [one.rule for one in check_time_order(run(records))] == ["time-order"]


@pytest.mark.parametrize(("metadata", "warned"), [({}, True), ({"epoch_num": 1}, False)])
def test_what_is_told_of_a_generation_may_come_while_the_clock_runs(metadata, warned):
    records = [line("run_start", 0), line("actual_selfplay_games_per_generation", 3, 8192, **metadata), line("run_stop", 5)]
    assert [one.rule for one in check_late_keys(run(records))] == (["key-on-clock"] if warned else [])


def test_nothing_is_told_after_the_end():
    records = [line("run_start", 0), line("run_stop", 5), line("actual_selfplay_games_per_generation", 6, 8192, epoch_num=1)]
    assert [one.rule for one in check_late_keys(run(records))] == ["late-key"]
