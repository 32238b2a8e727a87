"""Submissions as wholes: their findings stand in the store, once, and follow every change of the tree."""

import shutil
import tarfile

import pytest
from stores import store_of, write_description, write_round
from trees import ROUND, write_result

from laptime.compliance.package import judge_packages
from laptime.results import store
from laptime.results.ingest import Ask, ingest
from laptime.results.query import ask, ask_question


def digest(file):
    with store.reading(file) as connection:
        return store.content_hash(connection)


def found(file):
    return sorted(ask(file, "SELECT submitter, rule, severity, file FROM all_findings WHERE package IS NOT NULL").rows)


@pytest.mark.parametrize("level", ["official", "rules"])
def test_findings_are_those_of_the_judge_of_packages(tmp_path, level):
    top = write_round(tmp_path)
    (top / "ACME" / "systems" / "big.json").write_text('{"division": "closed"}')
    file = store_of(tmp_path, top, level=level)
    wanted = sorted((report.submitter, one.rule, one.severity) for report in judge_packages(top, level=level)
                    for one in report.findings)
    assert [row[:3] for row in found(file)] == wanted
    assert any(rule == "system-fields" for _, rule, _ in wanted)


def test_finding_names_its_file_below_the_round(tmp_path):
    home = write_result(tmp_path, "ACME")
    assert ("ACME", "system-missing", "error", "ACME/results/box") in found(store_of(tmp_path, home))


def test_view_counts_findings_of_each_submission(tmp_path):
    file = store_of(tmp_path, write_result(tmp_path, "ACME"))
    ((submitter, results, errors),) = ask(file, "SELECT submitter, results, errors FROM packages").rows
    assert (submitter, results) == ("ACME", 1)
    assert errors == sum(row[2] == "error" for row in found(file)) > 0
    assert "system-missing" in {row[3] for row in ask_question(file, "package-findings", {}).rows}


def test_result_by_itself_makes_no_submission(tmp_path):
    home = write_result(tmp_path, "ACME")
    file = store_of(tmp_path, home / "results" / "box" / "resnet")
    assert ask(file, "SELECT count(*) FROM package").rows == ((0,),)


@pytest.mark.parametrize("change", ["description", "stray file", "switch"])
def test_changed_tree_replaces_the_findings(tmp_path, change):
    top = write_round(tmp_path)
    file = store_of(tmp_path, top)
    before = found(file)
    if change == "description":
        write_description(top / "ACME", "box", status="sometimes")
    elif change == "stray file":
        (top / "ACME" / "a b.txt").write_text("x")
    else:
        (top / "ACME" / "package_checker_params").write_text("no such switch\n")
    ingest([top], file, processes=1)
    assert found(file) != before
    fresh = tmp_path / "fresh.sqlite"
    ingest([top], fresh, processes=1)
    assert digest(file) == digest(fresh)


def test_archive_gives_the_findings_of_its_tree(tmp_path):
    top = write_round(tmp_path)
    (top / "ACME" / "benchmarks" / "resnet").mkdir(parents=True)
    (top / "ACME" / "benchmarks" / "resnet" / "train.py").write_text("pass")
    plain = found(store_of(tmp_path, top))
    with tarfile.open(tmp_path / "v4.0.tar.gz", "w:gz") as archive:
        archive.add(top, ROUND)
    shutil.rmtree(top)
    packed = tmp_path / "packed.sqlite"
    ingest([tmp_path / "v4.0.tar.gz"], packed, processes=1)
    assert found(packed) == plain


def test_submission_without_a_known_round_says_so(tmp_path):
    home = tmp_path / "somewhere" / "ACME"
    log = home / "results" / "box" / "resnet" / "result_0.txt"
    log.parent.mkdir(parents=True)
    log.write_text("nothing that is a log\n")
    file = store_of(tmp_path, home)
    assert [row[1] for row in found(file)] == ["package-unreadable"]


def test_rows_of_submissions_are_labelled_apart(tmp_path):
    top = write_round(tmp_path)
    file = store_of(tmp_path, top)
    ingest([top], file, Ask(label="again"), processes=1)
    assert ask(file, "SELECT label, count(*) FROM package GROUP BY 1").rows == (("", 2), ("again", 2))
