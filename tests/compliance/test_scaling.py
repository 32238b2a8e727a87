"""scaling.json as anybody may have written it: a factor, or a finding, never an exception."""

import os
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laptime.compliance.result import judge_folder
from laptime.compliance.scaling import LARGEST_BYTES, check_factor, published_factor
from laptime.layout import ResultFolder
from laptime.scoring.rcp import RcpDecision

PASSED = RcpDecision(True, "RCP found", factor=1.25, reference_mean=10.0, minimum_mean=7.0)

BROKEN = {
    "nothing": "", "a list": "[]", "no factor": "{}", "text": '{"scaling_factor": "2"}', "a list inside": '{"scaling_factor": [1.5]}',
    "true": '{"scaling_factor": true}', "null": '{"scaling_factor": null}', "negative": '{"scaling_factor": -1}',
    "below one": '{"scaling_factor": 0.999}', "NaN": '{"scaling_factor": NaN}', "infinite": '{"scaling_factor": Infinity}',
    "too large a float": '{"scaling_factor": 1e999}', "too large an integer": f'{{"scaling_factor": {10**400}}}',
    "more digits than Python reads": f'{{"scaling_factor": 1{"0" * 5000}}}', "too deep": "[" * 9999,
    "not text": "\xff\xfe\x00", "large file": '{"scaling_factor": 1.5' + " " * LARGEST_BYTES + "}",
}


def beside(folder):
    return published_factor(ResultFolder(folder, "acme", "box", "resnet", ()))


def complaints(folder):
    factor, findings = beside(folder)
    assert factor is None
    return [(finding.rule, finding.severity, finding.path.name) for finding in findings]


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_what_holds_no_factor_is_a_finding(tmp_path, content):
    (tmp_path / "scaling.json").write_text(content, encoding="latin-1")
    assert complaints(tmp_path) == [("scaling-file", "warning", "scaling.json")]
    assert len(beside(tmp_path)[1][0].message) < 200


@pytest.mark.parametrize(("text", "factor"), [("1", 1.0), ("1.0", 1.0), ("1.25", 1.25), ("3", 3.0)])
def test_a_factor_of_at_least_one_is_taken(tmp_path, text, factor):
    (tmp_path / "scaling.json").write_text(f'{{"scaling_factor": {text}}}')
    assert beside(tmp_path) == (factor, ())


def test_no_file_is_no_finding(tmp_path):
    assert beside(tmp_path) == (None, ())


@pytest.mark.parametrize("target", ["../secret.json", "scaling.json", "missing.json"])
def test_a_link_is_not_followed(tmp_path, target):
    (tmp_path / "secret.json").write_text('{"scaling_factor": 9}')
    folder = tmp_path / "resnet"
    folder.mkdir()
    (folder / "scaling.json").symlink_to(target)
    assert complaints(folder) == [("scaling-file", "warning", "scaling.json")]


def test_a_folder_or_a_pipe_is_not_opened(tmp_path):
    (tmp_path / "a" / "scaling.json").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    os.mkfifo(tmp_path / "b" / "scaling.json")
    assert complaints(tmp_path / "a") == complaints(tmp_path / "b") == [("scaling-file", "warning", "scaling.json")]


def test_any_bytes_are_a_factor_or_a_finding(tmp_path):
    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=60) | st.from_regex(rb'\{"scaling_factor": [-0-9.eE+]{1,20}\}', fullmatch=True))
    def holds(content):
        (tmp_path / "scaling.json").write_bytes(content)
        factor, findings = beside(tmp_path)
        assert (factor is None) == bool(findings)
        assert factor is None or 1 <= factor < float("inf")

    holds()


@pytest.mark.parametrize(("factor", "noted"), [(1.25, False), (1.25 * (1 + 9e-7), False), (1.25 * (1 + 2e-6), True), (1.0, True), (None, False)])
def test_another_factor_than_that_of_the_check_is_noted(tmp_path, factor, noted):
    folder = ResultFolder(tmp_path, "acme", "box", "resnet", ())
    found = list(check_factor(folder, factor, PASSED))
    assert [(finding.rule, finding.severity) for finding in found] == [("scaling-differs", "note")] * noted


@pytest.mark.parametrize("decision", [replace(PASSED, passed=False), RcpDecision(True, "no test in this round")])
def test_without_a_factor_of_our_own_nothing_is_compared(tmp_path, decision):
    assert list(check_factor(ResultFolder(tmp_path, "acme", "box", "resnet", ()), 1.5, decision)) == []


def test_the_note_reaches_the_result_and_hinders_nothing(tmp_path, make):
    folder = make.result(tmp_path / "resnet", "v4.0", make.set("v4.0"))
    (folder / "scaling.json").write_text('{"scaling_factor": 1.25}')
    (result,) = judge_folder(folder, round_name="v4.0")
    assert [finding.rule for finding in result.findings] == ["scaling-differs"]
    assert (result.ok, result.score.published_factor) == (True, 1.25)
