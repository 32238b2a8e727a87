"""Events as log records: blocks, epochs, positions and the vocabularies of rounds."""

from dataclasses import replace

import pytest
from harness_runs import SUITE, ListSink

from laptime.events import At, Cadence, Checkpoint, Epoch, Evaluated, Evaluating, Note, Plan, Point, Progress, Sizes
from laptime.harness.clock import Clock
from laptime.harness.journal import Journal, Nowhere
from laptime.log.record import Record
from laptime.rules.formula import Formula
from laptime.rules.load import load_round
from laptime.rules.model import Position

SAMPLES = Position("samples_count", Formula("samples"))
PER_EPOCH = 100


class Ticking(Clock):
    """Every reading is a millisecond later."""

    def __init__(self):
        self.ms = 1000

    def now_ms(self):
        self.ms += 1
        return self.ms


def journal_of(round_name="v4.0", *, benchmark="resnet", cadence=None, limit=None, **changes):
    """(journal, sink) for a benchmark's rules in a round, with `changes` to the rules."""
    round_, sink = load_round(round_name, SUITE), ListSink()
    journal = Journal(sink, round_, replace(round_.benchmarks[benchmark], **changes), Ticking())
    if cadence:
        journal.follow(Plan(10, limit or Point(41, "epochs"), cadence, Sizes(PER_EPOCH, 10, PER_EPOCH)))
    return journal, sink


def shown(sink, *keys):
    """(key, metadata) of records, without the place in the source."""
    return [(r.key, {k: v for k, v in r.metadata.items() if k not in ("file", "lineno")}) for r in sink.records
            if not keys or r.key in keys]


def evaluated(journal, at, value=0.5):
    for event in (Evaluating(at), Note(at, {"train_loss": 1.0}), Evaluated(at, {"eval_accuracy": value})):
        journal.event(event)


def epochs_to(journal, last, evaluate):
    """Play epochs 1 to `last` with evaluations after those in `evaluate`."""
    for epoch in range(1, last + 1):
        journal.event(Epoch(At(samples=PER_EPOCH * (epoch - 1), epoch=epoch)))
        journal.event(Progress(At(samples=PER_EPOCH * epoch - 50, epoch=epoch)))
        if epoch in evaluate:
            evaluated(journal, At(samples=PER_EPOCH * epoch, epoch=epoch))


def test_block_of_epochs_holds_its_epochs_and_ends_before_the_evaluation():
    journal, sink = journal_of(cadence=Cadence("epochs", (2,), 4))
    epochs_to(journal, 3, {2})
    assert shown(sink) == [
        ("block_start", {"first_epoch_num": 1, "epoch_count": 2}),
        ("epoch_start", {"epoch_num": 1}), ("epoch_stop", {"epoch_num": 1}),
        ("epoch_start", {"epoch_num": 2}), ("epoch_stop", {"epoch_num": 2}),
        ("block_stop", {"first_epoch_num": 1}),
        ("eval_start", {"epoch_num": 2}), ("tracked_stats", {}), ("eval_accuracy", {"epoch_num": 2}), ("eval_stop", {"epoch_num": 2}),
        ("block_start", {"first_epoch_num": 3, "epoch_count": 4}), ("epoch_start", {"epoch_num": 3})]


@pytest.mark.parametrize(("offset", "limit", "expected"), [
    (0, 41, [(1, 1), (2, 4), (6, 4), (10, 1)]), (2, 41, [(1, 3), (4, 4), (8, 3)]), (3, 41, [(1, 4), (5, 4), (9, 2)]),
    (2, 5, [(1, 3), (4, 2)]), (0, 1, [(1, 1)]), (3, 2, [(1, 2)]),
])
def test_blocks_reach_to_the_next_evaluation_or_to_the_limit(offset, limit, expected):
    cadence = Cadence("epochs", (1 + offset,), 4)
    last = min(limit, 10)
    journal, sink = journal_of(cadence=cadence, limit=Point(limit, "epochs"))
    epochs_to(journal, last, range(1 + offset, last + 1, 4))
    journal.finish(At(samples=PER_EPOCH * last, epoch=last), converged=False)
    blocks = [data for _, data in shown(sink, "block_start")]
    assert [block["first_epoch_num"] for block in blocks] == [first for first, _ in expected]
    covered = [(b["first_epoch_num"], min(b["epoch_count"], last - b["first_epoch_num"] + 1)) for b in blocks]
    assert covered == expected
    assert sink.keys.count("block_stop") == len(blocks)


def test_list_of_evaluations_without_step_ends_blocks_at_the_limit():
    journal, sink = journal_of(cadence=Cadence("epochs", (2, 5)), limit=Point(8, "epochs"))
    epochs_to(journal, 8, {2, 5})
    assert [data for _, data in shown(sink, "block_start")] == [
        {"first_epoch_num": first, "epoch_count": count} for first, count in [(1, 2), (3, 3), (6, 3)]]


def samples_journal():
    return journal_of(cadence=Cadence("samples", (40,), 40), position=SAMPLES)


def test_positions_in_samples_are_samples_count():
    journal, sink = samples_journal()
    journal.event(Epoch(At()))
    evaluated(journal, At(samples=40, step=4))
    assert shown(sink, "block_start", "block_stop", "eval_start", "eval_accuracy", "eval_stop") == [
        ("block_start", {"samples_count": 0}), ("block_stop", {"samples_count": 0}), ("eval_start", {"samples_count": 40}),
        ("eval_accuracy", {"samples_count": 40}), ("eval_stop", {"samples_count": 40})]


def test_evaluations_inside_an_epoch_have_a_block_each():
    journal, sink = samples_journal()
    journal.event(Epoch(At()))
    evaluated(journal, At(samples=40))
    journal.event(Progress(At(samples=50)))
    evaluated(journal, At(samples=80))
    evaluated(journal, At(samples=90))  # no sign of life in between
    journal.finish(At(samples=90), converged=True)
    assert [key for key in sink.keys if key != "tracked_stats"] == [
        "block_start", "epoch_start", *["block_stop", "eval_start", "eval_accuracy", "eval_stop", "block_start"] * 2,
        "block_stop", "eval_start", "eval_accuracy", "eval_stop", "epoch_stop", "run_stop"]
    assert [data["samples_count"] for _, data in shown(sink, "block_start")] == [0, 40, 80]


def test_block_after_an_evaluation_starts_when_that_ended():
    journal, sink = samples_journal()
    journal.event(Epoch(At()))
    evaluated(journal, At(samples=40))
    ended = sink.records[-1].time_ms
    journal.event(Note(At(samples=60), {"train_loss": 2.0}))
    (_, again) = [record for record in sink.records if record.key == "block_start"]
    assert again.time_ms == ended
    assert [record.time_ms for record in sink.records] == sorted(record.time_ms for record in sink.records)


def test_training_between_an_evaluation_and_the_end_of_its_epoch_is_in_a_block_that_goes_on():
    journal, sink = samples_journal()
    journal.event(Epoch(At()))
    evaluated(journal, At(samples=80))
    journal.event(Epoch(At(samples=100, epoch=2)))
    assert [data["samples_count"] for _, data in shown(sink, "block_start")] == [0, 80]
    assert sink.keys[-3:] == ["block_start", "epoch_stop", "epoch_start"]


def test_evaluation_at_the_very_end_of_an_epoch_starts_its_block_with_the_next_one():
    journal, sink = samples_journal()
    journal.event(Epoch(At()))
    evaluated(journal, At(samples=100))
    journal.event(Epoch(At(samples=100, epoch=2)))
    assert [data["samples_count"] for _, data in shown(sink, "block_start")] == [0, 100]
    assert sink.keys[-3:] == ["epoch_stop", "block_start", "epoch_start"]


def nothing(journal):
    return At()


def in_epoch(journal):
    journal.event(Epoch(At()))
    return At()


def in_evaluation(journal):
    journal.event(Epoch(At()))
    journal.event(Evaluating(At(samples=40)))
    return At(samples=40)


def after_evaluation(journal):
    journal.event(Epoch(At()))
    evaluated(journal, At(samples=40))
    return At(samples=40)


def on_the_way_to_the_next(journal):
    after_evaluation(journal)
    journal.event(Progress(At(samples=50)))
    return At(samples=50)


def on_the_way_unseen(journal):
    after_evaluation(journal)
    return At(samples=50)


STATES = (nothing, in_epoch, in_evaluation, after_evaluation, on_the_way_to_the_next, on_the_way_unseen)


@pytest.mark.parametrize("unit", ["samples", "epochs"])
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("converged", [True, False])
def test_finish_closes_whatever_is_open(state, unit, converged):
    journal, sink = journal_of(cadence=Cadence(unit, (40,), 40), position=SAMPLES)
    stamp = journal.finish(state(journal), converged=converged)
    for name in ("block", "epoch", "eval"):
        assert sink.keys.count(f"{name}_start") == sink.keys.count(f"{name}_stop")
    assert shown(sink)[-1] == ("run_stop", {"status": "success" if converged else "aborted"})
    assert sink.records[-1].time_ms == stamp


@pytest.mark.parametrize("event", [Progress(At(samples=5)), Checkpoint(At(), None)])
def test_events_without_a_line_write_none(event):
    journal, sink = journal_of(cadence=Cadence("epochs", (1,)))
    journal.event(event)
    assert sink.records == []


def test_first_round_has_its_own_words_and_numbers_from_zero():
    journal, sink = journal_of("v0.5", cadence=Cadence("epochs", (1,), 4))
    journal.event(Epoch(At()))
    evaluated(journal, At(samples=100))
    journal.event(Epoch(At(samples=100, epoch=2)))
    journal.finish(At(samples=150, epoch=2), converged=False)
    assert shown(sink) == [("train_epoch", {"epoch_num": 0}), ("eval_start", {"epoch": 0}), ("eval_accuracy", {"epoch": 0}),
                           ("eval_target", {}), ("eval_stop", {"epoch": 0}), ("train_epoch", {"epoch_num": 1}),
                           ("run_stop", {"status": "aborted"}), ("run_final", {})]
    assert sink.values("eval_target") == [0.749]


def test_second_round_has_blocks_and_no_statistics():
    journal, sink = journal_of("v0.6", cadence=Cadence("epochs", (1,), 4))
    journal.event(Epoch(At()))
    evaluated(journal, At(samples=100))
    journal.finish(At(samples=100), converged=True)
    assert sink.keys == ["block_start", "epoch_start", "epoch_stop", "block_stop", "eval_start", "eval_accuracy", "eval_stop",
                         "run_stop"]


@pytest.mark.parametrize(("round_name", "written"), [("v0.5", []), ("v0.7", []), ("v1.0", ["weights_initialization"]),
                                                     ("v2.1", ["weights_initialization"]), ("v3.0", [])])
def test_initialised_tensors_are_logged_where_the_round_knows_them(round_name, written):
    journal, sink = journal_of(round_name)
    journal.point("weights_initialization", None, {"tensor": "fc_weight"})
    assert sink.keys == written
    assert all(data == {"tensor": "fc_weight"} for _, data in shown(sink))


@pytest.mark.parametrize(("round_name", "key"), [("v0.5", "run_set_random_seed"), ("v0.6", "run_set_random_seed"), ("v0.7", "seed"),
                                                 ("v4.0", "seed")])
def test_seed_is_called_as_the_round_calls_it(round_name, key):
    journal, sink = journal_of(round_name)
    journal.point("seed", 5)
    assert (sink.keys, sink.values(key)) == ([key], [5])


LIVE = {"global_batch_size": 2048, "opt_name": "lars", "train_samples": 1281167, "eval_samples": 50000, "model_bn_span": 128,
        "gradient_accumulation_steps": 1, "lars_opt_base_learning_rate": 8.5, "lars_opt_end_learning_rate": 0.0001,
        "lars_opt_weight_decay": 0.0002, "lars_opt_momentum": 0.9, "lars_epsilon": 0.0, "lars_opt_learning_rate_decay_steps": 22,
        "lars_opt_learning_rate_decay_poly_power": 2.0, "opt_learning_rate_warmup_epochs": 5, "something_else": 1}


@pytest.mark.parametrize("round_name", ["v0.5", "v0.6", "v0.7", "v1.0", "v1.1", "v2.1", "v3.1", "v4.0", "mini-1"])
def test_values_are_in_the_order_of_the_rounds_rules_each_once(round_name):
    journal, sink = journal_of(round_name)
    journal.values(dict(reversed(LIVE.items())))
    rules = load_round(round_name).benchmarks["resnet"]
    order = list(dict.fromkeys(rule.key for rule in rules.keys if rule.name in LIVE and rule.applies("closed", "both", LIVE)))
    ours = [key for key in sink.keys if key in order]
    assert ours == order
    assert len(set(sink.keys)) == len(sink.keys) >= 3
    assert "something_else" not in sink.keys


def test_values_do_not_depend_on_the_order_they_are_given_in():
    logs = []
    for values in (LIVE, dict(reversed(LIVE.items()))):
        journal, sink = journal_of()
        journal.values(values)
        logs.append([(record.key, record.value) for record in sink.records])
    assert logs[0] == logs[1]


def test_size_that_no_rule_asks_for_is_logged_where_the_round_knows_it():
    journal, sink = journal_of("mini-1", benchmark="standin")
    journal.values({"global_batch_size": 8, "opt_weight": 0.5, "train_samples": 16, "eval_samples": 4})
    assert [key for key in sink.keys if key in ("train_samples", "eval_samples")] == ["train_samples", "eval_samples"]


def test_given_stamp_is_written_and_returned():
    journal, sink = journal_of()
    assert journal.stop("init_stop", at_ms=77) == 77
    assert journal.start("run_start", at_ms=77) == 77
    assert [record.time_ms for record in sink.records] == [77, 77]


def test_moment_that_the_round_does_not_know_still_has_a_time():
    journal, sink = journal_of("v0.5")
    assert journal.start("init_start") == 1001
    assert sink.records == []


def test_event_types_are_those_of_points_and_intervals():
    journal, sink = journal_of(cadence=Cadence("epochs", (1,)))
    journal.event(Epoch(At()))
    evaluated(journal, At(samples=100))
    types = {record.key: record.event_type for record in sink.records}
    assert types == {"block_start": "INTERVAL_START", "epoch_start": "INTERVAL_START", "epoch_stop": "INTERVAL_END",
                     "block_stop": "INTERVAL_END", "eval_start": "INTERVAL_START", "tracked_stats": "POINT_IN_TIME",
                     "eval_accuracy": "POINT_IN_TIME", "eval_stop": "INTERVAL_END"}


def test_literal_line_passes_the_vocabulary_by_and_names_its_caller():
    journal, sink = journal_of("v0.5")
    journal.line("laptime_round", "v0.5", {"data": "x"})
    (record,) = sink.records
    assert (record.key, record.metadata["data"], record.metadata["file"]) == ("laptime_round", "x", "test_journal.py")


def test_ranks_without_a_log_write_nowhere():
    assert Nowhere().write(Record("a", 1, 0)) is None


def test_blocks_between_points_in_samples_are_counted_and_never_go_back_in_time():
    """The second evaluation lies at the very end of an epoch; blocks follow one another all the same."""
    journal, sink = journal_of(cadence=Cadence("samples", (50,), 50), limit=Point(300, "samples"))
    journal.event(Epoch(At()))
    for samples in (50, 100):
        evaluated(journal, At(samples, 1))
    journal.event(Epoch(At(100, 2)))
    for samples in (150, 200):
        evaluated(journal, At(samples, 2))
    journal.finish(At(200, 2), converged=True)
    assert [(key, metadata["first_epoch_num"]) for key, metadata in shown(sink, "block_start", "block_stop")] == [
        (key, number) for number in (1, 2, 3, 4) for key in ("block_start", "block_stop")]
    times = [record.time_ms for record in sink.records]
    assert times == sorted(times)


TOKENS = Position("epoch_num", Formula("samples * max_sequence_length"), everywhere=True)


def tokens_journal(step=40, limit=None):
    journal, sink = journal_of(cadence=Cadence("samples", (step,), step), limit=limit, position=TOKENS)
    journal.values({"max_sequence_length": 8})
    return journal, sink


def test_positions_take_hyperparameters_and_are_used_everywhere_where_a_round_says_so():
    journal, sink = tokens_journal()
    journal.event(Epoch(At()))
    evaluated(journal, At(samples=40, step=4))
    journal.event(Progress(At(samples=50, step=5)))
    journal.event(Epoch(At(samples=60, epoch=2, step=6)))
    assert shown(sink, "block_start", "block_stop", "epoch_start", "epoch_stop", "eval_start", "eval_accuracy", "eval_stop") == [
        ("block_start", {"first_epoch_num": 0, "epoch_count": 320}), ("epoch_start", {"epoch_num": 0}),
        ("block_stop", {"first_epoch_num": 0}), ("eval_start", {"epoch_num": 320}), ("eval_accuracy", {"epoch_num": 320}),
        ("eval_stop", {"epoch_num": 320}), ("block_start", {"first_epoch_num": 320, "epoch_count": 320}),
        ("epoch_stop", {"epoch_num": 0}), ("epoch_start", {"epoch_num": 480})]


def test_length_of_a_block_is_in_whole_batches():
    journal, sink = tokens_journal(step=45)  # batches of 10
    journal.event(Epoch(At()))
    evaluated(journal, At(samples=50, step=5))
    journal.event(Progress(At(samples=60, step=6)))
    assert [data for _, data in shown(sink, "block_start")] == [
        {"first_epoch_num": 0, "epoch_count": 400}, {"first_epoch_num": 400, "epoch_count": 320}]
