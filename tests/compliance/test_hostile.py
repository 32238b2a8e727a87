"""Logs that hold anything: the judge never raises, and what it says is printable and JSON."""

import json
import os
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from laptime.compliance.result import judge_folder

ODD = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400) \
    | st.lists(st.integers(), max_size=2) | st.dictionaries(st.sampled_from(["eval_accuracy", "x"]), st.floats(), max_size=2)
NAMES = st.sampled_from(["epoch_num", "epoch_count", "first_epoch_num", "status", "tensor", "file", "lineno"])
EDITS = st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(["value", "metadata", "key", "time_ms", "drop", "swap"]),
                           NAMES, ODD), min_size=1, max_size=6)


def edited(records, edits):
    for place, what, name, odd in edits:
        at = place % len(records)
        line = records[at]
        if what == "value":
            records[at] = replace(line, value=odd)
        elif what == "metadata":
            records[at] = replace(line, metadata={**line.metadata, name: odd})
        elif what == "key":
            records[at] = replace(line, key=records[place % 7].key)
        elif what == "time_ms":
            records[at] = replace(line, time_ms=place * 1e6)
        elif what == "drop" and len(records) > 1:
            del records[at]
        else:
            records[at], records[place % 11 % len(records)] = records[place % 11 % len(records)], line
    return records


@pytest.mark.parametrize(("round_name", "level"), [("v4.0", "rules"), ("v2.0", "official"), ("v0.5", "rules")])
def test_any_edits_are_judged(tmp_path, make, round_name, level):
    good = make.records(round_name)
    path = tmp_path / "resnet" / "result_0.txt"

    @settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
    @given(EDITS)
    def judge(edits):
        path.unlink(missing_ok=True)
        make.log(path, edited(list(good), edits), round_name)
        (result,) = judge_folder(path.parent, round_name=round_name, level=level)
        json.dumps(result.to_json(), allow_nan=False)
        for finding in result.runs[0].findings:
            assert finding.text().isprintable()

    judge()


def test_control_characters_of_a_log_do_not_reach_the_terminal(tmp_path, make):
    records = [replace(r, value="\x1b[31mred\nline") if r.key == "opt_name" else r for r in make.records("v4.0")]
    make.log(tmp_path / "resnet/result_0.txt", records, "v4.0")
    (result,) = judge_folder(tmp_path, round_name="v4.0")
    assert any("\\x1b[31mred\\nline" in finding.text() for finding in result.runs[0].findings)


def findings_of(result):
    return {finding.rule for run in result.runs for finding in run.findings} | {finding.rule for finding in result.findings}


def test_a_pipe_and_a_file_nobody_may_read_are_findings_of_their_folder(tmp_path, make):
    make.result(tmp_path / "resnet", "v4.0", make.set("v4.0", 4))
    os.mkfifo(tmp_path / "resnet/result_4.txt")
    (tmp_path / "resnet/result_5.txt").symlink_to("/etc/passwd")
    (result,) = judge_folder(tmp_path, round_name="v4.0")
    assert [run.status for run in result.runs] == ["converged"] * 4 + ["invalid"]
    assert "log-grammar" in {finding.rule for finding in result.runs[4].findings}


def test_a_folder_of_no_known_round_does_not_end_the_judging_of_others(tmp_path, make):
    make.result(tmp_path / "training_results_v4.0/acme/results/box/resnet", "v4.0", make.set("v4.0"))
    make.result(tmp_path / "elsewhere/results/box/resnet", "v4.0", make.set("v4.0"))
    strange, good = judge_folder(tmp_path)
    assert good.ok
    assert (strange.ok, strange.round, findings_of(strange)) == (False, "", {"round-unknown"})
    assert {run.status for run in strange.runs} == {"not judged"}
    json.dumps(strange.to_json(), allow_nan=False)


def test_time_running_backwards_is_judged(tmp_path, make):
    records = make.records("v4.0")
    make.log(tmp_path / "resnet/result_0.txt", [replace(r, time_ms=2e12 - r.time_ms) for r in records], "v4.0")
    (result,) = judge_folder(tmp_path, round_name="v4.0")
    assert "time-order" in findings_of(result)
    assert result.runs[0].status != "converged"
