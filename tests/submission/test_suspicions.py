"""What a reviewer is pointed at: nothing in honest submissions; each oddity is found, and as what it is."""

import shutil

import pytest
from trees import START, write_result, write_run

from laptime.submission.review import review as whole_review
from laptime.submission.review import unusual_keys
from laptime.submission.suspicions import FEW_BITS, TITLES, usual_step


@pytest.fixture
def pair(tmp_path):
    """Two honest submissions of one round."""
    mine = write_result(tmp_path, "acme")
    other = write_result(tmp_path, "globex", first_seed=501, offset_ms=90_000_123, minutes=50, step=1.5)
    return mine, other


def review(home, others=()):
    """Of the results alone: these trees have no system descriptions and no code."""
    return whole_review(home / "results", others)


def kinds(found):
    return [point.kind for point in found.points]


def test_honest_submissions_raise_no_point(pair):
    mine, other = pair
    assert review(mine, [other]).points == ()


def test_a_copied_log_is_found_with_both_places(pair):
    mine, other = pair
    shutil.copy(other / "results/box/resnet/result_1.txt", mine / "results/box/resnet/result_1.txt")
    (copied,) = [point for point in review(mine, [other]).points if point.kind == "copied-log"]
    assert copied.places == ("acme/results/box/resnet/result_1.txt = globex/results/box/resnet/result_1.txt",)
    assert (copied.against, copied.system, copied.benchmark) == ("acme", "box", "resnet")


def test_a_copied_log_names_another_organisation_too(pair):
    mine, other = pair
    for run in range(5):
        shutil.copy(other / f"results/box/resnet/result_{run}.txt", mine / "results/box/resnet")
    assert any("organisation 'globex'" in point.text for point in review(mine, [other]).points)


def test_a_log_that_was_copied_and_shifted_is_known_by_its_rhythm(pair):
    mine, other = pair
    log = mine / "results/box/resnet/result_0.txt"
    log.unlink()
    write_run(log, submitter="acme", seed=77, start_ms=START + 5_000_000, minutes=50)  # as globex/result_0
    assert kinds(review(mine, [other])) == ["same-rhythm"]


@pytest.mark.parametrize(("offset", "found"), [(123, True), (0, False)])
def test_runs_that_start_in_one_millisecond_are_found_unless_clocks_count_seconds(tmp_path, offset, found):
    mine = write_result(tmp_path, "acme", offset_ms=offset)
    other = write_result(tmp_path, "initech", first_seed=901, minutes=55, step=1.3, offset_ms=offset)
    assert ("same-start" in kinds(review(mine, [other]))) is found


@pytest.mark.parametrize(("step", "found"), [(1, True), (0.001, False)])
def test_equal_times_are_a_point_unless_all_times_lie_close_together(tmp_path, step, found):
    mine = write_result(tmp_path, "acme", offset_ms=7, step=step)
    log = mine / "results/box/resnet/result_0.txt"
    log.unlink()
    write_run(log, submitter="acme", seed=1, minutes=60 + step, start_ms=START + 10**9 + 7)  # as long as result_1
    assert ("same-duration" in kinds(review(mine))) is found


@pytest.mark.parametrize(("seeds", "found"), [([FEW_BITS + 5], True), ([1], False), ([1, 2], False), ([1, 2, 3], True)])
def test_shared_seeds_are_a_point_when_they_are_no_chance(tmp_path, seeds, found):
    mine = write_result(tmp_path, "acme", first_seed=10)
    other = write_result(tmp_path, "globex", first_seed=50, offset_ms=91_000_123, minutes=50, step=1.5)
    for run, seed in enumerate(seeds):
        for home, name, minutes, offset in ((mine, "acme", 60 + run, 0), (other, "globex", 50 + 1.5 * run, 91_000_123)):
            path = home / f"results/box/resnet/result_{run}.txt"
            path.unlink()
            write_run(path, submitter=name, seed=seed, minutes=minutes, start_ms=START + offset + run * 7_200_000)
    assert (kinds(review(mine, [other])) == ["shared-seeds"]) is found


def test_systems_of_one_submitter_are_compared_with_each_other(tmp_path):
    write_result(tmp_path, "acme", system="one")
    home = write_result(tmp_path, "acme", system="two", offset_ms=91_000_123, minutes=50, step=1.5)
    assert kinds(review(home)) == ["shared-seeds"]


@pytest.mark.parametrize(("change", "kind"), [
    ({"sgd_opt_base_learning_rate": 0.2}, "mixed-values"), ({"platform": "other box"}, "mixed-platform"),
    ({"every": 5}, "mixed-cadence"), ({"platform": "globex box"}, "foreign-platform"),
    ({"file": "/workspace/globex/train.py"}, "foreign-files")])
def test_one_run_that_differs_is_found(pair, change, kind):
    mine, other = pair
    log = mine / "results/box/resnet/result_0.txt"
    log.unlink()
    write_run(log, **{"submitter": "acme", "seed": 1, "minutes": 60, **change})
    assert kind in kinds(review(mine, [other]))


def test_a_file_name_that_holds_letters_of_another_name_is_no_point(pair):
    mine, other = pair
    log = mine / "results/box/resnet/result_0.txt"
    log.unlink()
    write_run(log, submitter="acme", seed=1, file="/opt/globexample/globex.py")
    assert review(mine, [other]).points == ()


def test_a_broken_rule_is_one_point_whatever_the_number_of_logs(tmp_path):
    mine = write_result(tmp_path, "acme", opt_name="adam")
    (point,) = [point for point in review(mine).points if "opt_name" in point.text]
    assert point.kind == "rule"
    assert len(point.places) == 5


def test_what_is_missing_around_the_results_is_a_point_once(tmp_path):
    for system in ("one", "two"):
        home = write_result(tmp_path, "acme", system=system, first_seed=len(system) * ord(system[0]))
    points = [point for point in whole_review(home).points if point.subject == ("system-missing",)]
    assert [len(point.places) for point in points] == [2]


def test_ids_do_not_change_when_more_is_found(pair):
    mine, other = pair
    shutil.copy(other / "results/box/resnet/result_1.txt", mine / "results/box/resnet/result_1.txt")
    before = {point.kind: point.id for point in review(mine, [other]).points}
    shutil.copy(other / "results/box/resnet/result_2.txt", mine / "results/box/resnet/result_2.txt")
    after = {point.kind: point.id for point in review(mine, [other]).points}
    assert before["copied-log"] == after["copied-log"]


def test_unusual_keys_are_counted_and_common_ones_left_out(tmp_path):
    mine = write_result(tmp_path, "acme", more={"tracked_stats": {"throughput": 1}, "secret_sauce": 1})
    (entry,) = review(mine).entries
    assert unusual_keys(entry) == {"secret_sauce": 5}


@pytest.mark.parametrize(("positions", "step"), [((3, 7, 11, 15), 4), ((3, 7), None), ((), None), ((1, 2, 3, 10), 1)])
def test_usual_step_is_the_most_frequent_distance(positions, step):
    assert usual_step(positions) == step


def test_every_kind_has_a_title():
    assert all(TITLES.values())
