"""Which round a log belongs to: its own word, --round, its path, its siblings; junk among good logs; mixtures."""

from dataclasses import replace

import pytest

from laptime.compliance.result import judge_folder, judge_log
from laptime.errors import UserError
from laptime.log.record import ROUND_KEY, Record

JUNK = {"nothing": b"", "binary": b"\x00\xff" * 500, "broken line": b":::MLLOG {broken\n"}


def naming(records, round_name, data_hash="abc"):
    """The log with a line of ours that names its round and its data."""
    return [Record(ROUND_KEY, round_name, records[0].time_ms, metadata={"data_hash": data_hash}), *records]


def found_in(findings, rule):
    return [(finding.severity, finding.message) for finding in findings if finding.rule == rule]


@pytest.mark.parametrize("where", ["first", "last"])
@pytest.mark.parametrize("content", JUNK.values(), ids=JUNK)
def test_junk_among_good_logs_is_judged_by_their_round(tmp_path, make, content, where):
    good = make.result(tmp_path / "v4.0/acme/results/box/resnet", "v4.0", make.set("v4.0"))
    folder = good.rename(tmp_path / "runs")  # no path tells the round any more, nor the benchmark
    for path in folder.iterdir():
        path.write_bytes(make.log(tmp_path / f"named-{path.name}", naming(make.records("v4.0", seed=path.name.encode()[-5]), "v4.0"), "v4.0").read_bytes())
    junk = folder / ("result_0.txt" if where == "first" else "result_4.txt")
    junk.write_bytes(content)
    (result,) = judge_folder(folder)
    (verdict,) = [run for run in result.runs if run.path == junk]
    assert (result.round, result.benchmark, verdict.status) == ("v4.0", "resnet", "invalid")
    assert "log-empty" in {finding.rule for finding in verdict.findings}
    assert [run.status for run in result.runs].count("converged") == 4
    assert found_in(result.findings, "run-mixture") == []
    assert not result.ok


def test_junk_alone_asks_for_its_round(tmp_path):
    (tmp_path / "result_0.txt").write_bytes(b"junk")
    with pytest.raises(UserError, match="expected the round of"):
        judge_folder(tmp_path)


def test_junk_alone_is_a_finding_where_the_round_is_given(tmp_path):
    (tmp_path / "result_0.txt").write_bytes(b"junk")
    (result,) = judge_folder(tmp_path, round_name="mini")
    assert [finding.rule for finding in result.runs[0].findings] == ["log-empty"]
    assert judge_log(tmp_path / "result_0.txt", round_name="mini").findings[0].severity == "error"


def test_logs_that_name_different_rounds_are_a_mixture(tmp_path, make):
    runs = [naming(make.records("v4.0", seed=seed), "v3.1" if seed == 3 else "v4.0") for seed in range(5)]
    folder = make.result(tmp_path / "resnet", "v4.0", runs)
    for asked in (None, "v4.0"):
        (result,) = judge_folder(folder, round_name=asked)
        assert found_in(result.findings, "run-mixture") == [("error", "round is 'v3.1', result_0.txt has 'v4.0'")]
        assert not result.ok


def test_logs_of_different_data_are_a_mixture(tmp_path, make):
    runs = [naming(make.records("v4.0", seed=seed), "v4.0", f"hash-{seed == 2}") for seed in range(5)]
    (result,) = judge_folder(make.result(tmp_path / "resnet", "v4.0", runs))
    assert found_in(result.findings, "run-mixture") == [("error", "data hash is 'hash-True', result_0.txt has 'hash-False'")]


def test_logs_of_one_round_and_data_are_no_mixture(tmp_path, make):
    runs = [naming(make.records("v4.0", seed=seed), "4.0" if seed else "v4.0") for seed in range(5)]  # one name, two spellings
    (result,) = judge_folder(make.result(tmp_path / "resnet", "v4.0", runs))
    assert (result.findings, result.ok) == ((), True)


def test_a_round_given_against_the_log_is_a_warning(tmp_path, make):
    path = make.log(tmp_path / "result_0.txt", naming(make.records("v4.0"), "v4.0"), "v4.0")
    assert found_in(judge_log(path, round_name="v3.1").findings, "round-differs") == [
        ("warning", "the log says round 'v4.0', it is judged by v3.1")]
    assert judge_log(path, round_name="4.0").findings == judge_log(path).findings == ()


def test_a_round_of_the_path_against_the_log_is_a_note(tmp_path, make):
    path = make.log(tmp_path / "v4.0/acme/results/box/resnet/result_0.txt", naming(make.records("v3.1"), "v3.1"), "v3.1")
    verdict = judge_log(path)
    assert (verdict.round, verdict.status) == ("v3.1", "converged")
    assert found_in(verdict.findings, "round-differs") == [("note", "the log says round 'v3.1', its path says 'v4.0'")]


def test_a_log_that_names_a_round_nobody_knows(tmp_path, make):
    runs = [naming(make.records("v4.0", seed=seed), "v99.0" if seed == 4 else "v4.0") for seed in range(5)]
    folder = make.result(tmp_path / "resnet", "v4.0", runs)
    (result,) = judge_folder(folder)  # judged by the round of the others, and said
    assert found_in(result.runs[4].findings, "round-differs")[0][0] == "warning"
    with pytest.raises(UserError, match=r"unknown round 'v99.0'"):
        judge_log(folder / "result_4.txt")


@pytest.mark.parametrize("value", [None, 7, ["v4.0"], {"a": 1}])
def test_a_round_line_without_a_name_is_none(tmp_path, make, value):
    records = [replace(record, value=value) if record.key == ROUND_KEY else record for record in naming(make.records("v4.0"), "")]
    assert judge_log(make.log(tmp_path / "v4.0/result_0.txt", records, "v4.0")).round == "v4.0"
