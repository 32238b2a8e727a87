"""What check and score write for other programs: SARIF 2.1.0, JUnit XML, CSV of fixed columns."""

import csv
import json
from pathlib import Path
from urllib.parse import unquote, urlparse
from xml.etree import ElementTree

import pytest
from trees import write_result

LEVELS = {"none", "note", "warning", "error"}


@pytest.fixture
def bad(folder):
    """Five logs with an illegal optimizer; one of them under a name that no format likes."""
    path = folder(opt_name="adam")
    (path / "result_4.txt").rename(path / "result_<&\"'\x1b\u2028 4%20,.txt")
    return path


def sarif(run, path, tmp_path):
    out = tmp_path / "out.sarif"
    run("check", path, "--sarif", out)
    return json.loads(out.read_text())


def test_sarif_has_the_structure_of_the_standard(run, bad, tmp_path):
    log = sarif(run, bad, tmp_path)
    assert log["version"] == "2.1.0"
    assert set(log) == {"$schema", "version", "runs"}
    (one,) = log["runs"]
    driver = one["tool"]["driver"]
    assert driver["name"] == "laptime"
    rules = [rule["id"] for rule in driver["rules"]]
    assert len(rules) == len(set(rules)) > 0
    for rule in driver["rules"]:
        assert all(rule[part]["text"] for part in ("shortDescription", "fullDescription", "help"))
    for result in one["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in LEVELS
        assert result["message"]["text"]
        for place in (*result["locations"], *result.get("relatedLocations", ())):
            physical = place["physicalLocation"]
            assert physical["artifactLocation"]["uri"]
            assert physical.get("region", {"startLine": 1})["startLine"] >= 1
        assert all(isinstance(value, str) for value in result["partialFingerprints"].values())


def test_sarif_names_files_by_valid_addresses(run, bad, tmp_path):
    places = {place["physicalLocation"]["artifactLocation"]["uri"] for result in sarif(run, bad, tmp_path)["runs"][0]["results"]
              for place in result["locations"]}
    assert all(uri.isascii() and " " not in uri and "<" not in uri for uri in places)
    found = {unquote(urlparse(uri).path) for uri in places if uri.startswith("file:")}
    assert {str(log) for log in bad.iterdir()} <= found


def test_sarif_gives_paths_below_the_working_folder_as_relative(run, bad, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = sarif(run, bad, tmp_path)
    location = log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert location["uriBaseId"] == "%SRCROOT%"
    assert location["uri"].startswith("v4.0/laptime/results/box/resnet")
    assert log["runs"][0]["originalUriBaseIds"]["%SRCROOT%"]["uri"].endswith("/")


def test_sarif_points_from_consequences_to_roots(run, bad, tmp_path):
    results = sarif(run, bad, tmp_path)["runs"][0]["results"]
    (folder,) = [result for result in results if result["ruleId"] == "too-many-failures"]
    (related,) = folder["relatedLocations"]
    assert related["message"]["text"] == "follows from opt_name-closed"


def test_sarif_fingerprints_tell_files_apart_and_stay(run, bad, tmp_path):
    marks = [[tuple(result["partialFingerprints"].values()) for result in sarif(run, bad, tmp_path)["runs"][0]["results"]
              if result["ruleId"] == "opt_name-closed"] for _ in range(2)]
    assert marks[0] == marks[1]
    assert len(set(marks[0])) == 5


def test_sarif_of_good_runs_has_no_results(run, folder, tmp_path):
    assert sarif(run, folder(), tmp_path)["runs"][0]["results"] == []


def test_junit_counts_what_it_holds(run, bad, tmp_path):
    out = tmp_path / "out.xml"
    run("check", bad, "--junit", out)
    top = ElementTree.parse(out).getroot()
    (suite,) = top
    cases = list(suite)
    assert (top.tag, suite.tag, {case.tag for case in cases}) == ("testsuites", "testsuite", {"testcase"})
    assert all(case.get("name") and case.get("classname") for case in cases)
    failures = [case for case in cases if case.find("failure") is not None]
    assert int(suite.get("tests")) == len(cases) == int(top.get("tests")) == 6  # the folder and five logs
    assert int(suite.get("failures")) == len(failures) == int(top.get("failures")) == 6
    assert all(case.find("failure").get("type") and "expected" in case.find("failure").get("message") for case in failures)


def test_junit_of_good_runs_has_no_failure(run, folder, tmp_path):
    out = tmp_path / "out.xml"
    assert run("check", folder(), "--junit", out).code == 0
    assert ElementTree.parse(out).getroot().get("failures") == "0"


def test_junit_of_a_log_that_cannot_be_judged_skips_or_fails_it(run, tmp_path):
    path = write_result(tmp_path, "acme", runs=1) / "results/box/resnet/result_0.txt"
    path.write_text(path.read_text().replace('"value": "resnet"', '"value": "nonsense"'))
    moved = path.parent.rename(path.parents[1] / "nonsense")
    out = tmp_path / "out.xml"
    run("check", moved, "--junit", out)
    assert "benchmark-unknown" in out.read_text()


def rows(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_csv_has_a_row_per_log(run, bad, tmp_path):
    run("check", bad, "--csv", tmp_path / "a.csv")
    head, *body = rows(tmp_path / "a.csv")
    assert head == ["round", "path", "passed", "findings"]
    assert body[0][:3] == ["v4.0", "laptime/results/box/resnet/result_0.txt", "fail"]
    assert body[0][3].startswith("error opt_name-closed:")
    assert len(body) == 5


def test_csv_says_pass_and_follows_the_level(run, folder, tmp_path):
    path = folder()
    for log in path.iterdir():  # only the rules mind
        log.write_text(log.read_text().replace('"key": "cache_clear", "value": true', '"key": "cache_clear", "value": false'))
    verdicts = {}
    for level in ("rules", "official"):
        run("check", path, "--csv", tmp_path / "a.csv", "--level", level)
        verdicts[level] = {row[2] for row in rows(tmp_path / "a.csv")[1:]}
    assert verdicts == {"rules": {"fail"}, "official": {"pass"}}


def test_csv_holds_nothing_that_a_spreadsheet_computes(run, tmp_path):
    write_result(tmp_path, "=HYPERLINK(1)", runs=1)
    run("score", tmp_path / "v4.0", "--csv", tmp_path / "s.csv")
    assert rows(tmp_path / "s.csv")[1][1] == "'=HYPERLINK(1)"


def test_a_file_that_cannot_be_written_is_one_line(run, folder, tmp_path):
    answer = run("check", folder(), "--csv", tmp_path / "no" / "a.csv")
    assert (answer.code, len(answer.err.splitlines())) == (2, 2)


def test_scores_have_a_row_per_result(run, tmp_path):
    write_result(tmp_path, "acme", system="one")
    write_result(tmp_path, "acme", system="two", minutes=30, runs=2, first_seed=9)
    out = tmp_path / "s.csv"
    run("score", tmp_path / "v4.0/acme", "--csv", out)
    head, one, two = rows(out)
    assert head == ["round", "submitter", "system", "benchmark", "minutes", "runs", "dropped", "factor", "rcp"]
    assert one[:4] == ["v4.0", "acme", "one", "resnet"]
    assert float(one[4]) == pytest.approx(62 * float(one[7]))
    assert one[5:7] == ["5", "2"]
    assert one[8] == "pass: RCP found"
    assert two[:8] == ["v4.0", "acme", "two", "resnet", "", "2", "", ""]


def test_scores_of_several_paths_stand_in_one_table(run, tmp_path):
    homes = [write_result(tmp_path, name) for name in ("acme", "globex")]
    run("score", *homes, "--csv", tmp_path / "s.csv")
    assert [row[1] for row in rows(tmp_path / "s.csv")[1:]] == ["acme", "globex"]


def test_paths_are_relative_to_the_round_wherever_the_program_stands(run, folder, tmp_path, monkeypatch):
    path = folder()
    monkeypatch.chdir(path)
    run("check", Path("."), "--csv", tmp_path / "a.csv")
    assert rows(tmp_path / "a.csv")[1][1] == "laptime/results/box/resnet/result_0.txt"
