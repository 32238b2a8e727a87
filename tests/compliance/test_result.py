"""Folders of runs: verdicts, seeds, mixtures, score and convergence, and where the round comes from."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from laptime.compliance.result import judge_folder, judge_log
from laptime.errors import UserError
from laptime.log.record import ROUND_KEY, Record


def judged(folder, round_name="v4.0", **options):
    (result,) = judge_folder(folder, round_name=round_name, **options)
    return result


def rules_of(result):
    return {(finding.rule, finding.severity) for finding in result.findings if finding.severity != "note"}


def aborted(records):
    """The same run, given up at its last evaluation."""
    return [replace(r, metadata={**r.metadata, "status": "aborted"}) if r.key == "run_stop" else
            replace(r, value=0.7) if r.key == "eval_accuracy" else r for r in records]


def test_a_good_set_has_a_score(tmp_path, make):
    runs = [make.stretched(records, factor) for records, factor in zip(make.set("v4.0"), (1, 2, 3, 4, 5), strict=True)]
    result = judged(make.result(tmp_path / "v4.0/acme/results/box/resnet", "v4.0", runs))
    unit = (runs[0][-1].time_ms - next(r.time_ms for r in runs[0] if r.key == "run_start")) / 60_000
    assert (result.ok, result.findings) == (True, ())
    assert [run.status for run in result.runs] == ["converged"] * 5
    assert result.score.minutes == pytest.approx(3 * unit)
    assert (result.score.kept, sorted(result.score.dropped)) == ((1, 2, 3), [0, 4])
    assert (result.score.convergence_mean, result.score.unit) == (35, "epochs")
    assert (result.score.rcp.passed, result.score.rcp.text, result.score.rcp.factor) == (True, "RCP found", 1.0)
    assert result.score.interval95.low < result.score.minutes < result.score.interval95.high


def test_a_run_verdict_tells_the_run(tmp_path, make):
    verdict = judge_log(make.log(tmp_path / "r.txt", make.records("v4.0", seed=11), "v4.0"), round_name="4.0")
    assert (verdict.round, verdict.benchmark, verdict.seed, verdict.convergence) == ("v4.0", "resnet", 11, 35)
    assert verdict.curve[0] == (3, 0.7)
    assert verdict.curve[-1] == (35, 0.7601)
    assert verdict.init_seconds == 15


def test_one_aborted_run_is_the_slowest(tmp_path, make):
    runs = make.set("v4.0")
    runs[2] = aborted(runs[2])
    result = judged(make.result(tmp_path / "resnet", "v4.0", runs))
    assert [run.status for run in result.runs].count("not converged") == 1
    assert result.ok
    assert 2 in result.score.dropped


def test_two_aborted_runs_are_too_many(tmp_path, make):
    runs = make.set("v4.0")
    result = judged(make.result(tmp_path / "resnet", "v4.0", [aborted(runs[0]), aborted(runs[1]), *runs[2:]]))
    assert rules_of(result) == {("too-many-failures", "error")}
    assert (result.score, result.ok) == (None, False)


@pytest.mark.parametrize("level", ["rules", "official"])
def test_an_invalid_run_has_no_time(tmp_path, make, level):
    runs = make.set("v4.0")
    runs[0] = [replace(r, value="adam") if r.key == "opt_name" else r for r in runs[0]]
    result = judged(make.result(tmp_path / "resnet", "v4.0", runs), level=level)
    assert result.runs[0].status == "invalid"
    assert not result.ok
    assert 0 in result.score.dropped


def test_a_missing_run_is_said_and_scored(tmp_path, make):
    result = judged(make.result(tmp_path / "resnet", "v4.0", make.set("v4.0", runs=4)))
    assert rules_of(result) == {("run-count", "error")}
    assert result.score is not None


@pytest.mark.parametrize("key", ["global_batch_size", "submission_division"])
def test_mixed_runs_are_found(tmp_path, make, key):
    runs = make.set("v4.0")
    other = {"global_batch_size": 3264, "submission_division": "open"}[key]
    runs[3] = [replace(r, value=other) if r.key == key else r for r in runs[3]]
    assert ("run-mixture", "error") in rules_of(judged(make.result(tmp_path / "resnet", "v4.0", runs)))


def test_one_seed_in_two_runs_is_found(tmp_path, make):
    runs = [make.records("v4.0", seed=1) for _ in range(5)]
    assert ("seed-repeated", "warning") in rules_of(judged(make.result(tmp_path / "resnet", "v4.0", runs)))


def test_one_seed_in_two_runs_is_an_error_where_seeds_are_required(tmp_path, make):
    runs = [make.records("mini-1", seed=seed, last=11) for seed in (1, 1, 2, 3, 4)]
    result = judged(make.result(tmp_path / "resnet", "mini-1", runs), "mini-1")
    assert ("seed-repeated", "error") in rules_of(result)


def test_a_run_without_seed_is_found_where_seeds_are_required(tmp_path, make):
    records = [r for r in make.records("mini-1") if r.key != "seed"]
    verdict = judge_log(make.log(tmp_path / "r.txt", records, "mini-1"), round_name="mini-1")
    assert "seed" in {finding.rule for finding in verdict.findings if finding.severity == "error"}


def test_seeds_from_different_places_may_be_equal(tmp_path, make):
    runs = [[replace(r, metadata={**r.metadata, "lineno": number}) for r in records]
            for number, records in enumerate([make.records("v4.0", seed=1) for _ in range(5)])]
    assert rules_of(judged(make.result(tmp_path / "resnet", "v4.0", runs))) == set()


def test_the_wrong_folder_is_found(tmp_path, make):
    folder = make.result(tmp_path / "acme/results/box/bert", "v4.0", make.set("v4.0"))
    assert rules_of(judged(folder)) == {("folder-benchmark", "error")}


def test_convergence_too_fast_fails_the_check(tmp_path, make):
    result = judged(make.result(tmp_path / "resnet", "v4.0", make.set("v4.0", last=31)))
    assert rules_of(result) == {("convergence-check", "error")}
    assert (result.score.rcp.passed, result.ok) == (False, False)


def test_a_published_factor_counts(tmp_path, make):
    folder = make.result(tmp_path / "resnet", "v4.0", make.set("v4.0"))
    (folder / "scaling.json").write_text('{"scaling_factor": 1.25}')
    score = judged(folder).score
    assert score.normalised_minutes == pytest.approx(1.25 * score.minutes)


@pytest.mark.parametrize("text", ["", "[]", '{"scaling_factor": "2"}', '{"scaling_factor": -1}', '{"scaling_factor": NaN}', "["*9999])
def test_a_broken_scaling_file_is_said(tmp_path, make, text):
    folder = make.result(tmp_path / "resnet", "v4.0", make.set("v4.0"))
    (folder / "scaling.json").write_text(text)
    result = judged(folder)
    assert (rules_of(result), result.score.published_factor) == ({("scaling-file", "warning")}, None)


def test_a_house_round_without_reference_points_says_so(tmp_path, make):
    result = judged(make.result(tmp_path / "resnet", "smoke-1", make.set("smoke-1", runs=1)), "smoke-1")
    assert (result.score.rcp.passed, result.score.rcp.factor) == (True, 1.0)
    assert "no reference points" in result.score.rcp.text


def test_the_round_is_read_from_the_log(tmp_path, make):
    records = make.records("v3.0")
    records.insert(0, Record(ROUND_KEY, "v3.0", records[0].time_ms))
    path = make.log(tmp_path / "v4.0/acme/results/box/resnet/result_0.txt", records, "v3.0")
    assert judge_log(path).round == "v3.0"
    assert judge_log(path, round_name="v3.1").round == "v3.1"


@pytest.mark.parametrize(("folder", "name"), [("v4.0", "v4.0"), ("training_results_v2.1", "v2.1")])
def test_the_round_is_read_from_the_path(tmp_path, make, folder, name):
    path = make.log(tmp_path / folder / "acme/results/box/resnet/result_0.txt", make.records(name), name)
    assert judge_log(path).round == name


@pytest.mark.parametrize("name", ["v0.5", "v0.6"])
def test_the_round_is_told_by_a_dialect_of_its_own(tmp_path, make, name):
    assert judge_log(make.log(tmp_path / "result_0.txt", make.records(name), name)).round == name


def test_a_log_of_unknown_round_asks_for_it(tmp_path, make):
    with pytest.raises(UserError, match="expected the round of") as error:
        judge_log(make.log(tmp_path / "result_0.txt", make.records("v4.0"), "v4.0"))
    assert "--round" in error.value.hint


def test_an_unknown_benchmark_is_said(tmp_path, make):
    records = [replace(r, value="resent") if r.key == "submission_benchmark" else r for r in make.records("v4.0")]
    verdict = judge_log(make.log(tmp_path / "resent/result_0.txt", records, "v4.0"), round_name="v4.0")
    assert verdict.status == "not judged"
    assert "Did you mean 'resnet'?" in verdict.findings[0].message


@pytest.mark.parametrize(("content", "rule"), [("", "log-empty"), ("\x00\xff" * 500, "log-empty"),
                                               (':::MLL 1.0 seed: {"value": 1, "metadata": {}}', "log-dialect")])
def test_a_file_that_is_no_log_of_the_round_gets_one_finding(tmp_path, content, rule):
    (tmp_path / "resnet").mkdir()
    path = tmp_path / "resnet" / "result_0.txt"
    path.write_text(content, encoding="latin-1")
    verdict = judge_log(path, round_name="v4.0")
    assert [finding.rule for finding in verdict.findings] == [rule]
    assert verdict.status == "invalid"


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_log_is_judged(tmp_path, make, cut):
    path = make.log(tmp_path / "resnet/result_0.txt", make.records("v4.0"), "v4.0")
    whole = path.read_bytes()
    path.write_bytes(whole[:int(len(whole) * cut)])
    verdict = judge_log(path, round_name="v4.0")
    assert "run_stop" in {finding.rule for finding in verdict.findings}
    assert verdict.status != "converged"


def test_a_finding_reads_like_a_compilers(tmp_path, make):
    records = [replace(r, value="adam") if r.key == "opt_name" else r for r in make.records("v4.0")]
    verdict = judge_log(make.log(tmp_path / "result_0.txt", records, "v4.0"), round_name="v4.0")
    assert verdict.findings[0].text() == ("result_0.txt:10: error opt_name-closed: opt_name is 'adam', expected 'sgd' or "
                                          "'lars' (rules, hyperparameter table; checker closed_resnet)")


def test_results_are_json(tmp_path, make):
    runs = make.set("v4.0")
    result = judged(make.result(tmp_path / "resnet", "v4.0", [aborted(runs[0]), *runs[1:]]))
    data = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert data["score"]["rcp"]["text"] == "RCP found"
    assert data["runs"][0]["status"] == "not converged"
    assert data["ok"] is True


def test_hundreds_of_findings_of_one_rule_are_collapsed(tmp_path, make):
    records = [replace(r, event_type="POINT_IN_TIME") for r in make.records("v4.0")]
    verdict = judge_log(make.log(tmp_path / "result_0.txt", records, "v4.0"), round_name="v4.0")
    assert len(verdict.findings) == 5
    assert "more such findings" in verdict.findings[-1].message


def test_judging_needs_no_training_and_no_terminal():
    code = ("import sys, laptime.compliance.result; "
            "print(sorted({'torch', 'numpy', 'rich', 'click', 'yaml'} & set(sys.modules)))")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
