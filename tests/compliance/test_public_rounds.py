"""The resnet logs of four real rounds: same times, same verdicts and same convergence checks as the official tools.

The archives lie beside the checkout (../shared/rounds) where they are at hand; only */resnet/* is unpacked, into a
cache. Every known difference is listed here with its reason.
"""

import csv
import gzip
import os
import tarfile
from functools import lru_cache
from pathlib import Path

import pytest

from laptime.compliance.result import judge_folder

ROUNDS = Path(__file__).parents[3] / "shared" / "rounds"
EXPECTED = ROUNDS / "expected"
TOLERANCE = 5e-4

pytestmark = pytest.mark.slow

# RCP verdicts that differ from the official tool's, with the reason
RCP_DIFFERENCES = {
    ("v2.0", "Dell", "XE8545x4A100-SXM-40GB"): "one run has another batch size; the official tool crashes on it",
    ("v2.0", "MosaicML", "8xA100_80GB-baseline"): "open division, which the rules exempt; the table tests it anyway",
    ("v2.0", "MosaicML", "8xA100_80GB-methods"): "open division, which the rules exempt; the table tests it anyway",
}


def unpacked(name):
    """The resnet files of a round in the cache, or a skip that says why not."""
    archive = ROUNDS / f"{name}.tar.xz"
    if not archive.exists():
        pytest.skip(f"the public logs of {name} are not at hand ({archive.name})")
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "laptime" / "public-rounds"
    target = home / f"{name}-{archive.stat().st_size}"
    if not target.exists():
        partial = target.with_name(f"{target.name}.{os.getpid()}")
        with tarfile.open(archive) as files:
            files.extractall(partial, (m for m in files if "/resnet/" in m.name and m.isfile()), filter="data")
        partial.rename(target)
    return target / next(path.name for path in target.iterdir())


def rows(name):
    path = EXPECTED / name
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return list(csv.DictReader(content.decode().splitlines()))


@lru_cache(maxsize=4)
def results(name, level="official"):
    return judge_folder(unpacked(name), round_name=name, level=level)



@pytest.mark.parametrize("name", ["v0.7", "v2.0", "v4.0"])
def test_scores_are_those_expected(name):
    found = {(r.folder.submitter, r.folder.system): r for r in results(name)}
    checked = 0
    for row in rows("scores.csv"):
        if row["round"] != name[1:] or row["benchmark"] != "resnet" or row["logs_missing_in_archive"] == "True":
            continue
        result = found[row["submitter"], row["system"]]
        minutes = result.score and result.score.minutes * (result.score.published_factor or 1)
        assert minutes == pytest.approx(float(row["expected_minutes"]), rel=TOLERANCE), (row, result.findings)
        checked += 1
    assert checked >= 25


def test_scores_of_the_first_round_are_those_expected():
    top = unpacked("v0.5")
    found = {str(r.folder.path.relative_to(top)).partition("/")[2]: r for r in results("v0.5")}
    wanted = {row["dir"]: row for row in rows("scores_v0.5.csv") if row["benchmark"] == "resnet"}
    assert found.keys() == wanted.keys()
    for folder, row in wanted.items():
        assert found[folder].score.minutes == pytest.approx(float(row["score_minutes"]), rel=TOLERANCE), folder


@pytest.mark.parametrize("name", ["v0.7", "v2.0", "v4.0"])
def test_verdicts_are_those_of_the_official_checker(name):
    top = unpacked(name)
    official = {row["path"]: row["passed"] == "pass" for row in rows(f"compliance_{name}.csv.gz")}
    checked = 0
    for result in results(name):
        for run in result.runs:
            path = str(run.path.relative_to(top))
            errors = [finding.text() for finding in run.findings if finding.severity == "error"]
            assert (not errors) == official[path], (path, errors)
            checked += 1
    assert checked >= 140


@pytest.mark.parametrize("name", ["v2.0", "v4.0"])
def test_convergence_checks_are_those_of_the_official_tool(name):
    official = {(row["submitter"], row["system"]): row for row in rows(f"rcp_{name}.csv.gz")
                if row["benchmark_dir"] == "resnet"}
    differing = set()
    for result in results(name):
        key = (result.folder.submitter, result.folder.system)
        decision, row = result.score.rcp, official[key]
        verdict = f"{'pass' if decision.passed else 'fail'}: {decision.text}"
        if verdict != row["pruned_verdict"] or decision.factor != pytest.approx(float(row["pruned_norm"]), abs=1e-6):
            differing.add((name, *key))
    assert differing == {key for key in RCP_DIFFERENCES if key[0] == name}


def test_the_rules_text_finds_what_the_official_checker_lets_pass():
    """At level "rules", no published v4.0 log has an error that the official checker does not see."""
    for result in results("v4.0", "rules"):
        for run in result.runs:
            errors = {finding.rule for finding in run.findings if finding.severity == "error"}
            assert errors <= {"run_stop"}, [finding.text() for finding in run.findings]
