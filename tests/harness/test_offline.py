"""Checkpoints judged after training: the first that meets the target ends the run at the moment it was saved."""

from dataclasses import replace
from pathlib import Path

import pytest
from harness_runs import run_of

from laptime.events import At, Checkpoint, Epoch, Note


class Saving:
    """A session that saves a checkpoint per epoch and judges them later."""

    def __init__(self, real, values):
        self.hyperparameters, self.initialised = real.hyperparameters, real.initialised
        self.values, self.judged = values, []
        self.state, self.warm_up = real.state, real.warm_up

    def train(self):
        at = At()
        for epoch in range(1, len(self.values) + 1):
            yield Epoch(at := at.in_epoch(epoch))
            yield Note(at, {"opt_weight": 0.5, "loss": 1.0})
            at = at.after(4)
            yield Checkpoint(at, Path(str(epoch)))

    def evaluate(self, checkpoint):
        self.judged.append(int(checkpoint.name))
        return {"eval_accuracy": self.values[int(checkpoint.name) - 1]}


def saving_run(tmp_path, values, **options):
    run, sink = run_of(tmp_path, **options)
    made, real = [], run.flight.benchmark

    def build(config, ctx):
        made.append(Saving(real.build(config, ctx), values))
        return made[-1]

    run.flight = replace(run.flight, benchmark=replace(real, build=build))
    return run, sink, made


def test_the_first_passing_checkpoint_ends_the_run_when_it_was_saved(tmp_path):
    run, sink, made = saving_run(tmp_path, [0.1, 0.2, 0.9, 0.95])
    outcome = run.execute()
    assert outcome.status == "converged"
    assert made[0].judged == [1, 2, 3]
    assert sink.values("eval_accuracy") == [0.1, 0.2, 0.9]
    assert sink.keys.count("epoch_stop") == 4
    stops = [record.time_ms for record in sink.records if record.key == "block_stop"]
    assert outcome.seconds == (sink.time("run_stop") - sink.time("run_start")) / 1000
    assert stops[1] <= sink.time("run_stop") <= stops[2]
    assert sink.metadata("run_stop") == [{"status": "success"}]
    assert sink.keys[-1] == "run_stop"


def test_no_passing_checkpoint_is_a_run_that_missed(tmp_path):
    run, sink, made = saving_run(tmp_path, [0.1, 0.2])
    assert run.execute().status == "not converged"
    assert made[0].judged == [1, 2]
    assert sink.metadata("run_stop") == [{"status": "aborted"}]


@pytest.mark.parametrize(("accuracies", "where"), [
    ([0.1, 0.9, 0.95], "first at the target in epoch 2"), ([0.1, 0.2], "never at the target")])
def test_a_run_to_its_limit_says_where_it_met_the_target(tmp_path, accuracies, where):
    run, _, _ = saving_run(tmp_path, accuracies, stop_at_target=False)
    assert run.execute().message == f"went on to epoch {len(accuracies)}, as asked; {where}"


def test_calibration_judges_every_checkpoint(tmp_path):
    run, _, made = saving_run(tmp_path, [0.1, 0.9, 0.2], stop_at_target=False)
    assert run.execute().status == "not converged"
    assert made[0].judged == [1, 2, 3]
    assert [one["metrics"]["eval_accuracy"] for one in run.account.evaluations] == [0.1, 0.9, 0.2]


def test_a_failing_evaluation_fails_the_run(tmp_path):
    run, sink, _ = saving_run(tmp_path, [0.1, "no number"])
    with pytest.raises(TypeError):
        run.execute()
    assert sink.metadata("run_stop") == [{"status": "aborted"}]


def test_a_note_with_a_key_of_the_rules_is_a_line_of_its_own(tmp_path):
    run, sink, _ = saving_run(tmp_path, [0.9])
    run.execute()
    own = [record for record in sink.records if record.key == "opt_weight"]
    assert [record.metadata.get("epoch_num") for record in own] == [None, 1]
    assert sink.values("tracked_stats") == [{"loss": 1.0}]
