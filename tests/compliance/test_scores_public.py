"""Scores and convergence checks of five real rounds, all benchmarks: the same numbers as the official tools give.

The archives lie beside the checkout (../shared/rounds) where they are at hand; result folders are unpacked into a cache.
Every known difference is listed here with its reason, and in docs/differences.md.
"""

import csv
import gzip
import os
import tarfile
from collections import Counter, defaultdict
from functools import lru_cache
from pathlib import Path

import pytest

from laptime.compliance.result import judge_folder
from laptime.rules.load import load_round
from laptime.scoring.needed import closeness, pooled

ROUNDS = Path(__file__).parents[3] / "shared" / "rounds"
EXPECTED = ROUNDS / "expected"
MINUTES = 1e-3
FACTOR = 1e-6

pytestmark = pytest.mark.slow

SCORES = {"v0.7": 126, "v2.0": 262, "v4.0": 202, "v5.0": 201}  # rows compared
CHECKS = {"v2.0": ("rcp_v2.0_dlrmfix.csv.gz", 241), "v4.0": ("rcp_v4.0.csv.gz", 202), "v5.0": ("rcp_v5.0.csv.gz", 201)}
UNTESTED = {  # verdicts that differ, by our words -> (how many, in which rounds, why)
    "this benchmark has no convergence check": (14, "v2.0", "exempt by the rules; the official tool crashes (KeyError)"),
    "The runs have different batch sizes": (2, "v2.0", "the official tool crashes (KeyError: None)"),
    "the convergence check is for the closed division": (5, "v2.0", "the rules exempt the open division; the table of "
                                                                    "expected verdicts tests it all the same"),
}
PAPER = {5: 0.05, 10: 0.10}  # runs of a set -> how close nine in ten are: Mattson et al. 2020, section on variance


def unpacked(name):
    """The result folders of a round in the cache, or a skip that says why not."""
    archive = ROUNDS / f"{name}.tar.xz"
    if not archive.exists():
        pytest.skip(f"the public logs of {name} are not at hand ({archive.name})")
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "laptime" / "public-rounds"
    target = home / f"{name}-{archive.stat().st_size}-results"
    if not target.exists():
        partial = target.with_name(f"{target.name}.{os.getpid()}")
        with tarfile.open(archive) as files:
            files.extractall(partial, (m for m in files if "/results/" in m.name and m.isfile()), filter="data")
        partial.rename(target)
    return target / next(path.name for path in target.iterdir())


def rows(name):
    path = EXPECTED / name
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return list(csv.DictReader(content.decode().splitlines()))


@lru_cache(maxsize=4)
def results(name):
    return {(r.folder.submitter, r.folder.system, r.folder.benchmark): r
            for r in judge_folder(unpacked(name), round_name=name, level="official")}


@pytest.mark.parametrize("name", SCORES)
class TestRound:
    """All that is compared of one round, judged once."""

    def test_every_score_is_the_expected_one(self, name):
        compared = 0
        for row in rows("scores.csv"):
            if row["round"] != name[1:]:
                continue
            result = results(name)[row["submitter"], row["system"], row["benchmark"]]
            minutes = result.score and result.score.minutes * (result.score.published_factor or 1)
            assert minutes == pytest.approx(float(row["expected_minutes"]), abs=MINUTES), row
            compared += 1
        assert compared == SCORES[name]

    def test_every_verdict_and_factor_is_the_official_one(self, name):
        if name not in CHECKS:
            assert {result.rcp.text for result in results(name).values() if result.rcp} == {
                "this round has no convergence check"}
            return
        file, wanted = CHECKS[name]
        equal, differing = 0, Counter()
        for row in rows(file):
            decision = results(name)[row["submitter"], row["system"], row["benchmark_dir"]].rcp
            verdict = f"{'pass' if decision.passed else 'fail'}: {decision.text}"
            if decision.text in UNTESTED:
                differing[decision.text] += 1
                continue
            factor = decision.factor if decision.passed else decision.to_reference or 1.0
            assert verdict == row["pruned_verdict"], row
            assert factor == pytest.approx(float(row["pruned_norm"] or 1), abs=FACTOR), row
            equal += 1
        assert equal == wanted
        assert differing == {text: count for text, (count, round_, _) in UNTESTED.items() if round_ == name}

    def test_what_runs_needed_is_what_the_public_tables_print(self, name):
        compared = 0
        for row in rows(f"summary_{name}.csv.gz"):
            for column, text in row.items():
                benchmark, _, kind = column.partition(":")
                if kind != "samples_to_converge" or not text:
                    continue
                result = results(name).get((row["submitter"], row["system"], benchmark))
                if result is None or result.score is None or result.score.samples_to_converge is None:
                    continue
                assert result.score.samples_to_converge == pytest.approx(float(text), rel=1e-6), (row["system"], column)
                compared += 1
        assert compared > 0 or name not in CHECKS

    def test_nine_in_ten_sets_are_as_close_as_the_paper_says(self, name):
        """5 runs within 5 %, 10 runs within 10 %. Other numbers of runs came after the paper."""
        shares = paper_claim(results(name).values(), name)
        assert len(shares) >= 6
        assert {benchmark: share for benchmark, share in shares.items() if share < 0.9} == {}


def paper_claim(found, name):
    """Per benchmark: the share of sets, of as many runs as the round asks for, as close to the true time as the paper
    says, drawn from the times of closed results."""
    times = defaultdict(list)
    for result in found:
        minutes = [run.minutes for run in result.runs if run.status == "converged"]
        if result.division == "closed" and len(minutes) >= 3 and result.score:
            times[result.benchmark].append(minutes)
    shares = {}
    for benchmark, groups in times.items():
        rules = load_round(name).benchmarks[benchmark]
        if within := PAPER.get(rules.runs):
            rows_ = closeness(pooled(groups), within=within, drop=rules.drop, most=rules.runs)
            shares[benchmark] = rows_[-1].share
    return shares


def test_scores_of_the_first_round_are_those_expected():
    top = unpacked("v0.5")
    found = {str(r.folder.path.relative_to(top)).partition("/")[2]: r
             for r in judge_folder(top, round_name="v0.5", level="official")}
    wanted = {row["dir"]: row for row in rows("scores_v0.5.csv")}
    assert len(wanted) == 35
    for folder, row in wanted.items():
        assert found[folder].score.minutes == pytest.approx(float(row["score_minutes"]), abs=MINUTES), folder
    wide = {benchmark: share for benchmark, share in paper_claim(found.values(), "v0.5").items() if share < 0.9}
    assert {benchmark: round(share, 1) for benchmark, share in wide.items()} == {"ssd": 0.9}  # 0.876 of sets within 5 %
