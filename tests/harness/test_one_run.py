"""The timing rules of one run, seen in its records."""

import pytest
from harness_runs import run_of

from laptime.errors import DataTouchedTooEarly, IllegalRun, RunFailed
from laptime.harness import one_run
from laptime.harness.one_run import Stopped

MINUTE_MS = 60_000


def test_good_run_logs_every_moment_in_order(tmp_path):
    run, sink = run_of(tmp_path)
    assert run.execute().status == "converged"
    order = ["submission_org", "submission_benchmark", "cache_clear", "init_start", "global_batch_size", "train_samples",
             "seed", "init_stop", "run_start", "block_start", "epoch_start", "epoch_stop", "block_stop", "eval_start",
             "eval_accuracy", "eval_stop", "run_stop"]
    assert [sink.keys.index(key) for key in order] == sorted(sink.keys.index(key) for key in order)
    assert sink.metadata("run_stop") == [{"status": "success"}]


def test_run_stops_at_the_first_evaluation_that_meets_the_target(tmp_path):
    run, sink = run_of(tmp_path, "reaches_at=2", "limit_epochs=9")
    run.execute()
    assert sink.values("eval_accuracy") == [0.1, 0.9]
    assert sink.metadata("eval_accuracy") == [{"epoch_num": 1}, {"epoch_num": 2}]
    assert sink.keys[-1] == "run_stop"


def test_run_that_never_reaches_the_target_is_aborted_with_everything_closed(tmp_path):
    run, sink = run_of(tmp_path, "reaches_at=0")
    outcome = run.execute()
    assert outcome.status == "not converged"
    assert sink.metadata("run_stop") == [{"status": "aborted"}]
    for name in ("block", "epoch", "eval"):
        assert sink.keys.count(f"{name}_start") == sink.keys.count(f"{name}_stop") == 3


def test_seconds_are_those_between_run_start_and_run_stop(tmp_path):
    run, sink = run_of(tmp_path, "pause=0.02")
    outcome = run.execute()
    assert outcome.seconds == (sink.time("run_stop") - sink.time("run_start")) / 1000
    assert 0.04 <= outcome.seconds < 2


def test_blocks_span_the_epochs_to_the_next_evaluation(tmp_path):
    run, sink = run_of(tmp_path, "evaluation_offset=1", "reaches_at=3", "limit_epochs=5")
    run.execute()
    assert sink.metadata("block_start")[0] == {"first_epoch_num": 1, "epoch_count": 2}


def test_data_touched_in_build_fails_the_run(tmp_path):
    run, sink = run_of(tmp_path, "behaviour=early data")
    with pytest.raises(DataTouchedTooEarly):
        run.execute()
    assert "run_start" not in sink.keys


def test_state_made_by_warm_up_fails_the_run(tmp_path):
    run, _ = run_of(tmp_path, "behaviour=lazy state")
    with pytest.raises(RunFailed, match="velocity"):
        run.execute()


def test_warm_up_that_touches_more_rows_than_it_said_fails_the_run(tmp_path):
    run, sink = run_of(tmp_path, "behaviour=trace")
    with pytest.raises(RunFailed, match="left a trace in 1 entries of the state, first 'weight'"):
        run.execute()
    assert "run_start" not in sink.keys


def test_illegal_closed_run_does_not_start(tmp_path):
    run, sink = run_of(tmp_path, "opt_weight=0.3")
    with pytest.raises(IllegalRun, match=r"opt_weight is 0\.3"):
        run.execute()
    assert "run_start" not in sink.keys


@pytest.mark.parametrize("free", [{"division": "open"}, {"seed": 5}])
def test_open_and_unranked_runs_are_free_to_differ(tmp_path, free):
    run, _ = run_of(tmp_path, "opt_weight=0.3", **free)
    assert run.execute().status == "converged"


def test_initialisation_beyond_its_allowance_starts_the_clock_at_its_end(tmp_path, monkeypatch):
    run, sink = run_of(tmp_path)
    real = run.clock.now_ms
    late = {"by": 0}
    monkeypatch.setattr(run.clock, "now_ms", lambda: real() + late["by"])
    monkeypatch.setattr(one_run.Run, "_warm_up", lambda self, session: late.update(by=31 * MINUTE_MS))
    outcome = run.execute()
    started = sink.time("init_start")
    assert sink.time("init_stop") == sink.time("run_start") == started + 30 * MINUTE_MS - 1
    assert outcome.seconds > 59  # the overrun is on the clock


def test_crash_leaves_an_aborted_log_and_raises(tmp_path):
    run, sink = run_of(tmp_path, "behaviour=crash")
    with pytest.raises(RuntimeError, match="exploded"):
        run.execute()
    assert sink.metadata("run_stop") == [{"status": "aborted"}]
    assert sink.keys.count("epoch_start") == sink.keys.count("epoch_stop")


def test_signal_in_training_is_an_interrupted_run(tmp_path, monkeypatch):
    run, sink = run_of(tmp_path)

    def stop(self, at, metrics, meter):
        raise Stopped("SIGTERM")

    monkeypatch.setattr(one_run.Run, "_evaluated", stop)
    assert run.execute().status == "interrupted"
    assert sink.metadata("run_stop") == [{"status": "aborted"}]


def test_every_record_carries_the_line_that_caused_it(tmp_path):
    one, first = run_of(tmp_path / "a")
    other, second = run_of(tmp_path / "b")
    one.execute(), other.execute()
    sites = [[(r.metadata["file"], r.metadata["lineno"]) for r in sink.records] for sink in (first, second)]
    assert sites[0] == sites[1]
    assert {file for file, _ in sites[0]} == {"laptime/harness/one_run.py"}
