"""The score of a set of judged runs: windows, the first that converge, slack, and what public tables print."""

import math
from dataclasses import dataclass, replace

import pytest

from laptime.compliance import scores
from laptime.compliance.result import judge_folder
from laptime.compliance.run import Run
from laptime.log.read import read_log
from laptime.rules.load import load_round


@dataclass(frozen=True)
class Judged:
    """What a score needs of a run."""

    status: str
    minutes: float | None
    convergence: float | None = 35.0


@pytest.fixture
def score(tmp_path, make):
    """score([10, 11, None, ...]): runs of these minutes, None for one that did not converge, launched in this order."""
    log = read_log(make.log(tmp_path / "v4.0/acme/results/box/resnet/result_0.txt", make.records("v4.0"), "v4.0"))

    def call(minutes, *, needed=None, published=None, window=True, level="rules", launched=None, **changes):
        round_ = replace(load_round("v4.0"), window_scores=window)
        rules = replace(round_.benchmarks["resnet"], **changes)
        runs = [Run(moved(log, hour), round_, rules, level) for hour in launched or range(len(minutes))]
        needed = needed or [35.0] * len(minutes)
        verdicts = [Judged("not converged", one, None) if one is None else Judged("converged", one, need)
                    for one, need in zip(minutes, needed, strict=True)]
        return scores.score(runs, verdicts, published)
    return call


def moved(log, hours):
    return replace(log, records=tuple(replace(r, time_ms=r.time_ms + hours * 3_600_000) for r in log.records))


def test_as_many_runs_as_asked_all_count(score):
    found = score([10, 11, 12, 13, 14])
    assert (found.minutes, found.kept, found.dropped, found.unused) == (12, (1, 2, 3), (0, 4), ())


def test_more_runs_are_scored_by_the_median_window(score):
    found = score([1, 1, 1, 1, 1, 9, 9])
    assert (found.minutes, found.unused) == (1, (0, 6))  # windows 1, 1, 3.67
    assert set(found.kept) | set(found.dropped) == {1, 2, 3, 4, 5}


def test_windows_follow_the_clock_and_not_the_file_names(score):
    found = score([9, 9, 9, 1, 1, 1], launched=[3, 4, 5, 0, 1, 2])
    assert found.unused == (3,)


def test_before_windows_were_allowed_all_runs_count(score):
    assert score([1, 1, 1, 1, 1, 9, 9], window=False).unused == ()


def test_failures_outside_the_window_do_not_count(score):
    assert score([None, None, 2, 3, 4, 5, 1]).minutes == 4
    assert score([None, None, 2, 3, 4]) is None


def test_the_first_that_converge_count(score):
    found = score([None, 5, 4, None, 3, 2, 1, 9], first_converged=5, window=False, max_failures=0)
    assert (found.minutes, found.unused) == (3, (0, 3, 7))


def test_too_few_that_converge_leave_no_score(score):
    assert score([None, 5, 4, None, 3, 2], first_converged=5, window=False) is None


def test_what_runs_needed_is_told_with_the_drops_of_the_round_and_with_one_at_each_end(score):
    found = score(list(range(10, 20)), needed=[float(n) for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 100)], drop=4, runs=10,
                  max_failures=4)
    assert (found.convergence_mean, found.samples_to_converge) == (5.5, 5.5)
    skewed = score(list(range(10, 20)), needed=[1.0, 1.0, 1.0, 1.0, 5.0, 6.0, 7.0, 8.0, 9.0, 100.0], drop=4, runs=10,
                   max_failures=4)
    assert (skewed.convergence_mean, skewed.samples_to_converge) == (5.5, 4.75)


@pytest.mark.parametrize(("level", "passed"), [("rules", False), ("official", True)])
def test_slack_belongs_to_an_authority(score, level, passed):
    found = score([10] * 5, needed=[33.0] * 5, convergence_slack={"checker": 2.0}, level=level)
    assert found.rcp.passed is passed


def test_a_benchmark_without_convergence_check_says_so(score):
    found = score([10] * 5, needed=[1.0] * 5, convergence_check=False)
    assert (found.rcp.passed, found.rcp.text) == (True, "this benchmark has no convergence check")


def test_a_published_factor_replaces_ours(score):
    found = score([10] * 5, needed=[34.6] * 5, published=1.5)
    assert (found.normalised_minutes, found.rcp.factor > 1) == (15, True)


def test_uncertainty_is_that_of_the_area(score):
    assert score([10] * 5).uncertainty == 0.025
    assert score([10] * 5, area="Language").uncertainty == 0.05


def test_different_batch_sizes_fail_the_check(tmp_path, make):
    runs = make.set("v4.0")
    runs[3] = [replace(r, value=3264) if r.key == "global_batch_size" else r for r in runs[3]]
    (result,) = judge_folder(make.result(tmp_path / "resnet", "v4.0", runs), round_name="v4.0")
    assert (result.rcp.passed, result.rcp.text) == (False, "The runs have different batch sizes")


def test_a_set_without_score_still_has_a_convergence_check(tmp_path, make):
    runs = [[replace(r, value="adam") if r.key == "opt_name" else r for r in records] for records in make.set("v4.0")]
    (result,) = judge_folder(make.result(tmp_path / "resnet", "v4.0", runs), round_name="v4.0")
    assert (result.score, result.rcp.text) == (None, "RCP found")


@pytest.mark.parametrize(("statuses", "window", "first", "words"), [
    (["converged"] * 4 + ["invalid"], False, None, ""),
    (["converged"] * 3 + ["invalid"] * 2, False, None, "2 of 5 runs did not converge or are invalid, expected at most 1"),
    (["converged"] * 5 + ["invalid"] * 2, True, None, ""),
    (["converged"] * 3 + ["invalid"] * 2, False, 3, ""),
    (["converged"] * 3 + ["invalid"] * 2, False, 4, "3 of 5 runs converged, expected at least 4")])
def test_failures_that_leave_no_score_are_said(statuses, window, first, words):
    rules = replace(load_round("v4.0").benchmarks["resnet"], first_converged=first)
    assert scores.too_many_failed(rules, statuses, window=window) == words


def test_numbers_that_json_has_not_become_null():
    assert scores.as_json(Judged("x", math.inf, math.nan), more=[math.inf, {"a": math.inf}]) == {
        "status": "x", "minutes": None, "convergence": None, "more": [None, {"a": None}]}


def test_a_round_that_gated_no_score_scores_logs_with_errors(tmp_path, make):
    runs = [[r for r in records if r.key != "submission_poc_name"] for records in make.set("v0.6")]
    (result,) = judge_folder(make.result(tmp_path / "resnet", "v0.6", runs), round_name="v0.6")
    assert any(finding.severity == "error" for run in result.runs for finding in run.findings)
    assert [run.status for run in result.runs] == ["converged"] * 5
    assert result.score is not None


def test_models_evaluated_after_training_are_scored_by_their_closing_line(tmp_path, make):
    """v0.6: no run_stop, but eval_result with the seconds from run_start to the winning model."""
    runs = [[*(r for r in records if r.key != "run_stop"),
             make.record("eval_result", None, records[-1].time_ms + 9_999_999, {"timestamp": 60.0 * number, "iteration": 3})]
            for number, records in enumerate(make.set("v0.6"), 1)]
    (result,) = judge_folder(make.result(tmp_path / "resnet", "v0.6", runs), round_name="v0.6")
    assert (result.score.minutes, result.score.dropped) == (3, (0, 4))


@pytest.mark.parametrize(("place", "content", "level", "severity"), [
    ("", "rcp-bypass", "official", "warning"), ("..", "rcp-bypass", "official", "warning"),
    ("", "rcp-bypass\n", "official", "error"), ("", "rcp-bypass", "rules", "error"), ("", "other", "official", "error")])
def test_a_bypass_is_told_and_heeded_as_the_official_tool_does(tmp_path, make, place, content, level, severity):
    folder = make.result(tmp_path / "acme/results/box/resnet", "v4.0", make.set("v4.0", last=31))
    (folder / place / "package_checker_params").write_text(content)
    (result,) = judge_folder(folder, round_name="v4.0", level=level)
    (found,) = (finding for finding in result.findings if finding.rule == "convergence-check")
    assert (found.severity, "asks to bypass it" in found.message) == (severity, "bypass" in content)
