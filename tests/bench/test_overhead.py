"""Loop and event costs: of known loops, and of a played run whose log the judge accepts."""

import pytest

from laptime.bench import overhead
from laptime.bench.overhead import Misses, harness_seconds, inside, outside
from laptime.bench.subject import subjects
from laptime.cli.main import main
from laptime.rules.model import Interval

INTERVALS = [Interval(low=0.75), Interval(low=0.75, low_open=True), Interval(high=0.3), Interval(high=0.3, high_open=True),
             Interval(0.1, 0.3), Interval(low=0.0, low_open=True), Interval(low=-2.0)]


@pytest.mark.parametrize("interval", INTERVALS, ids=str)
def test_played_metrics_miss_and_meet_a_target(interval):
    assert interval.contains(inside(interval))
    assert not interval.contains(outside(interval))


def test_played_run_converges_at_its_last_evaluation():
    plays = Misses({"accuracy": Interval(low=0.5)}, 3)
    assert [plays()["accuracy"] >= 0.5 for _ in range(3)] == [False, False, True]


def test_loop_costs_something_and_not_a_millisecond():
    row = overhead.loop_cost(steps=500, pairs=6)
    assert 0.1 < row.value < 1000
    assert row.details["bare_us"] < 1000


def test_loop_cost_finds_a_slow_loop(monkeypatch):
    usual = overhead.loop_cost(steps=200, pairs=3).value
    plan = overhead.Plan.exhausted

    def slow(self, at):
        for _ in range(3000):
            pass
        return plan(self, at)

    monkeypatch.setattr(overhead.Plan, "exhausted", slow)
    assert overhead.loop_cost(steps=200, pairs=3).value > usual + 10


def test_harness_time_counts_every_event_and_the_lines_of_a_real_run():
    found = harness_seconds({"Epoch": [1.0, 1.0], "Evaluated": [3.0, 5.0]}, run_seconds=5.0)
    assert found.value == 2 * 1.0 + 8.0 + 10 * 1.0  # a progress line every half second


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """(folder, seconds per event by kind, what was run)"""
    folder = tmp_path_factory.mktemp("played")
    return folder, *overhead.played_run(subjects(("resnet",))[0], folder)


def test_played_run_has_the_events_of_a_whole_run(played):
    _, costs, flight = played
    epochs, steps = flight.config.schedule.train_epochs, flight.config.data.train_images // flight.config.global_batch_size
    assert len(costs["Epoch"]) == epochs
    assert len(costs["Progress"]) == epochs * steps // 8
    assert 1 <= len(costs["Evaluated"]) == len(costs["Evaluating"]) <= epochs
    assert all(0 < cost < 1 for values in costs.values() for cost in values)


def test_played_log_passes_every_check(played, capsys):
    folder, *_ = played
    assert main(["check", str(folder / "result_0.txt")]) == 0, capsys.readouterr().out
