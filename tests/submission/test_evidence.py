"""Facts of logs that the judge has no use for: times, positions, values, marks."""

import pytest
from trees import write_result, write_run

from laptime.submission.borrowing import loans
from laptime.submission.evidence import entries
from laptime.submission.hyperparameters import alike, compared, nearest_reference


@pytest.fixture
def entry(tmp_path):
    (found,) = entries(write_result(tmp_path, "acme"))
    return found


def test_times_of_a_run_add_up(entry):
    times = entry.logs[0].times
    assert times.init == 60_000
    assert times.run == 3_600_000
    assert times.evaluation == pytest.approx(360_000, abs=20)  # a tenth
    assert times.training == pytest.approx(3_240_000, abs=20)
    assert times.rest == pytest.approx(0, abs=1)


def test_positions_are_those_of_the_evaluations(entry):
    assert entry.logs[0].positions == (3, 7, 11, 15, 19, 23, 27, 31, 35)


def test_hyperparameters_are_those_of_the_benchmark_alone(entry):
    values = entry.hyperparameters
    assert values["opt_name"] == "sgd"
    assert values["global_batch_size"] == entry.batch_size == 3264
    assert not {"seed", "eval_accuracy", "submission_org", "run_start"} & values.keys()


def test_copies_have_one_digest_and_one_rhythm(tmp_path):
    path = write_result(tmp_path, "acme", runs=1) / "results/box/resnet"
    (path / "result_1.txt").write_bytes((path / "result_0.txt").read_bytes())
    write_run(path / "result_2.txt", submitter="acme", seed=9, start_ms=5)
    (entry,) = entries(path)
    one, same, shifted = entry.logs
    assert one.digest == same.digest != shifted.digest
    assert one.rhythm == same.rhythm == shifted.rhythm


def test_places_are_relative_to_the_round(entry):
    assert entry.place == "acme/results/box/resnet"
    assert entry.logs[0].place == "acme/results/box/resnet/result_0.txt"


def test_junk_among_the_logs_ends_nothing(tmp_path):
    path = write_result(tmp_path, "acme", runs=4) / "results/box/resnet"
    (path / "result_4.txt").write_bytes(b"\x00\xff:::MLLOG {")
    (entry,) = entries(path)
    assert entry.logs[4].values == {}
    assert len(entry.logs) == 5


def test_the_nearest_reference_point_is_that_of_the_batch_size(entry):
    assert nearest_reference(entry).batch_size == 3264


def test_rows_mark_what_departs_from_the_reference(entry):
    rows = {row.name: row for row in compared(entry, ())}
    assert not rows["global_batch_size"].departs
    assert rows["opt_name"].departs  # the reference point was made with another optimizer


@pytest.mark.parametrize(("one", "other", "same"), [
    (0.1, "0.1", True), ("1e-4", 0.0001, True), ("LARS", "lars", True), (1, 2, False), (None, "x", False), (True, 1, False)])
def test_alike_compares_numbers_as_numbers(one, other, same):
    assert alike(one, other) is same


def test_values_are_borrowed_from_other_submitters_only_and_batch_sizes_stay(tmp_path):
    write_result(tmp_path, "acme")
    write_result(tmp_path, "acme", system="two", opt_learning_rate_warmup_epochs=2)
    home = write_result(tmp_path, "globex", global_batch_size=6528, sgd_opt_base_learning_rate=0.5)
    found = loans(entries(tmp_path / "v4.0/acme"), entries(home))
    assert [loan.lender.submitter for loan in found] == ["globex", "globex"]
    assert found[0].changes == {"opt_base_learning_rate": (0.1, 0.5)}
    assert loans(entries(home), entries(home)) == ()


def test_a_benchmark_can_be_excluded_from_borrowing(tmp_path):
    from dataclasses import replace

    (mine,) = entries(write_result(tmp_path, "acme"))
    (other,) = entries(write_result(tmp_path, "globex", sgd_opt_base_learning_rate=0.5))
    assert loans([mine], [other])
    assert not loans([replace(mine, rules=replace(mine.rules, borrowing=False))], [other])
    assert not loans([replace(mine, result=replace(mine.result, division="open"))], [other])
