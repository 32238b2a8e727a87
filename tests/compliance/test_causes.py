"""A log that breaks one rule has one root finding; what follows from it hangs below it."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from laptime.compliance.catalogue import CATALOGUE
from laptime.compliance.causes import attributed, roots, shape
from laptime.compliance.finding import Cause, Finding
from laptime.compliance.grouping import flattened, grouped
from laptime.compliance.quirks import QUIRKS
from laptime.compliance.result import judge_folder, judge_log
from laptime.compliance.run import Run
from laptime.log.read import read_log
from laptime.rules.load import load_round, round_names

PATH = Path("result_0.txt")


def without(*keys):
    return lambda records: [each for each in records if each.key not in keys]


def changed(key, **metadata):
    def edit(records):
        return [replace(each, metadata={**each.metadata, **metadata}) if each.key == key else each for each in records]
    return edit


def valued(key, value):
    return lambda records: [replace(each, value=value) if each.key == key else each for each in records]


def found(tmp_path, make, edit, level="rules", round_name="v4.0"):
    path = make.log(tmp_path / "result_0.txt", edit(make.records(round_name)), round_name)
    return judge_log(path, round_name=round_name, level=level).findings


@pytest.mark.parametrize(("edit", "root"), [
    (without("run_stop"), "run_stop"), (without("init_start"), "init_start"), (without("init_stop"), "init_stop"),
    (without("run_start"), "run_start"), (without("eval_accuracy"), "eval_accuracy-closed-position"),
    (valued("submission_division", "ajar"), "submission_division"), (without("opt_name"), "opt_name-closed"),
    (without("epoch_start"), "interval-pairs"), (valued("eval_accuracy", 0.5), "target-missed"),
    (changed("run_stop", status="aborted"), "run-status"), (without("global_batch_size"), "global_batch_size-closed")])
def test_one_cause_has_one_root(tmp_path, make, edit, root):
    errors = [finding for finding in found(tmp_path, make, edit) if finding.severity != "note"]
    assert [finding.rule for finding in roots(errors)] == [root], [f"{one.text()} <- {one.because}" for one in errors]


def single_edits():
    """The edits of the neighbouring test file: each breaks one thing."""
    spec = importlib.util.spec_from_file_location("one_edit", Path(__file__).with_name("test_one_edit.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: edit for name, (edit, _, _) in module.EDITS.items() if edit}


@pytest.mark.seconds
@pytest.mark.parametrize("level", ["rules", "official"])
@pytest.mark.parametrize("round_name", ["v0.5", "v0.6", "v1.1", "v4.0", "mini-1"])
def test_every_single_edit_has_at_most_one_root(tmp_path, make, round_name, level):
    several = {}
    for number, (name, edit) in enumerate(single_edits().items()):
        records = make.records(round_name)
        try:
            edit(records)
        except (IndexError, StopIteration):  # the round does not log that key
            continue
        path = make.log(tmp_path / f"result_{number}.txt", records, round_name)
        listed = [one for one in judge_log(path, round_name=round_name, level=level).findings if one.severity != "note"]
        if len(roots(listed)) > 1 or (listed and not roots(listed)):
            several[name] = [one.text() for one in roots(listed)]
    assert several == {}


def test_a_missed_target_is_one_root_at_the_official_level_too(tmp_path, make):
    errors = [one for one in found(tmp_path, make, valued("eval_accuracy", 0.5), "official") if one.severity != "note"]
    assert len(errors) > 1
    (root,) = roots(errors)
    assert root.severity == "error"


def test_a_line_that_cannot_be_read_is_the_root_of_what_it_lacks(tmp_path, make):
    path = make.log(tmp_path / "result_0.txt", make.records("v4.0"), "v4.0")
    path.write_text(path.read_text().replace('"key": "opt_name"', '"key": opt_name"'))
    findings = judge_log(path, round_name="v4.0").findings
    assert [finding.rule for finding in roots(findings)] == ["log-grammar"]
    assert {finding.because.rule for finding in findings if finding.because} == {"log-grammar"}


def test_two_independent_errors_are_two_roots(tmp_path, make):
    edit = valued("opt_name", "adam")
    findings = found(tmp_path, make, lambda records: without("train_samples")(edit(records)))
    assert {finding.rule for finding in roots(findings) if finding.severity == "error"} == {"opt_name-closed", "train_samples"}


def test_too_many_failures_follow_from_what_failed(tmp_path, make):
    runs = [without("run_stop")(records) for records in make.set("v4.0")]
    (result,) = judge_folder(make.result(tmp_path / "resnet", "v4.0", runs), round_name="v4.0")
    (failed,) = [finding for finding in result.findings if finding.rule == "too-many-failures"]
    assert failed.because.rule == "run_stop"


def test_runs_too_few_to_compare_are_one_root(tmp_path, make):
    (result,) = judge_folder(make.result(tmp_path / "resnet", "v4.0", make.set("v4.0", 1)), round_name="v4.0")
    assert [finding.rule for finding in roots(result.findings)] == ["run-count"]


def test_every_cause_is_a_finding_of_the_log_and_none_is_its_own(tmp_path, make):
    for edit in (without("run_start"), without("block_start"), without("init_start", "run_stop"), valued("submission_division", 1)):
        path = tmp_path / "result_0.txt"
        path.unlink(missing_ok=True)
        findings = found(tmp_path, make, edit)
        known = {finding.cause() for finding in findings}
        assert all(finding.because is None or finding.because in known for finding in findings)
        assert roots(findings)


def test_attribution_of_hundreds_of_findings_ends(tmp_path, make):
    path = make.log(tmp_path / "result_0.txt", make.records("v4.0"), "v4.0")
    round_ = load_round("v4.0")
    run = Run(read_log(path), round_, round_.benchmarks["resnet"], "rules")
    findings = tuple(Finding("interval-pairs", "error", f"x {place}", path, place) for place in range(1, 200))
    first, *rest = attributed(findings, run)
    assert first.because is None
    assert all(finding.because is not None for finding in rest)


def test_shape_is_the_message_without_numbers():
    assert shape("took 31.5 min of 30") == shape("took 32 min of 30")
    assert shape("a (and 3 more such findings)") == "a"


def finding(rule, line=0, path=PATH, because=None, severity="error"):
    return Finding(rule, severity, f"{rule} at {line}", path, line, because=because)


def test_groups_hold_each_finding_once():
    logs = [Path(f"result_{number}.txt") for number in range(3)]
    listed = [one for log in logs for one in (
        finding("a", 1, log), finding("b", 2, log, Cause("a", log, 1)), finding("b", 3, log, Cause("a", log, 1)),
        finding("c", 0, log, severity="warning"))]
    groups = grouped(listed)
    assert [(depth, group.first.rule, len(group.findings)) for depth, group in flattened(groups)] == [
        (0, "a", 3), (1, "b", 6), (0, "c", 3)]
    assert sum(len(group.findings) for _, group in flattened(groups)) == len(listed)


def test_a_finding_whose_cause_is_elsewhere_is_a_root_of_its_list():
    assert len(grouped([finding("b", 2, because=Cause("a", PATH, 1))])) == 1


def test_errors_come_before_warnings():
    groups = grouped([finding("w", 1, severity="warning"), finding("e", 2)])
    assert [group.first.rule for group in groups] == ["e", "w"]


def test_a_message_without_an_expectation_gets_that_of_its_rule():
    plain = Finding("clock-order", "error", "init_stop comes first", PATH, 3, expected="First things first; then more.")
    assert plain.text() == "result_0.txt:3: error clock-order: init_stop comes first; expected: first things first"
    assert Finding("x", "error", "is 1, expected 2", PATH, expected="2").said == "is 1, expected 2"


def test_every_quirk_is_of_a_rule_or_key_that_exists():
    keys = {rule.key for name in round_names() for rules in load_round(name).benchmarks.values() for rule in rules.keys}
    assert not QUIRKS.keys() - CATALOGUE.keys() - keys
