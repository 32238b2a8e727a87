"""Every runnable benchmark goes the whole way at round smoke: data, run, log, verdict. At mini it reaches its target."""

import time

import pytest
from harness_runs import Quiet

from laptime import errors
from laptime.compliance.result import judge_folder
from laptime.config import RunRequest
from laptime.harness.preparation import prepare
from laptime.harness.runset import run_set
from laptime.suite import folders

RUNNABLE = [name for name, folder in folders().items() if (folder / "benchmark.py").is_file()]
BUDGET_SECONDS = 10  # design, section 15; of CPU-bound work, so it is checked with room for a busy machine
SLACK = 3


def judged(name, round_name, folder, out="out", **more):
    request = RunRequest(name, round=round_name, out=folder / out, data=folder / "data", system="box", **more)
    outcome = run_set(request, Quiet())
    return outcome, {level: judge_folder(outcome.folder, level=level)[0] for level in ("rules", "official")}


@pytest.mark.parametrize("name", RUNNABLE)
def test_smoke_run_converges_and_passes_every_check(name, tmp_path):
    prepare(RunRequest(name, round="smoke", out=tmp_path / "out", data=tmp_path / "data"), Quiet())
    started = time.monotonic()
    outcome, results = judged(name, "smoke", tmp_path, threads=1)
    assert time.monotonic() - started <= SLACK * BUDGET_SECONDS
    assert outcome.exit_code == errors.FINE
    for result in results.values():
        assert [finding.text() for run in result.runs for finding in run.findings] == []
        assert result.ok
        assert result.score.minutes > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNNABLE)
def test_smoke_run_of_two_processes_converges_and_passes_every_check(name, tmp_path):
    outcome, results = judged(name, "smoke", tmp_path, nproc=2, threads=1)
    assert outcome.exit_code == errors.FINE
    assert all(result.ok for result in results.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNNABLE)
def test_mini_set_converges_and_is_scored(name, tmp_path):
    """A second set where the first was too quick: the convergence test, one-sided at 0.05, takes one honest set in twenty
    for more than luck."""
    outcome, results = judged(name, "mini", tmp_path)
    if outcome.exit_code == errors.FINE and not results["rules"].score.rcp.passed:
        outcome, results = judged(name, "mini", tmp_path, "again")
    assert outcome.exit_code == errors.FINE
    assert results["rules"].ok
    assert results["rules"].score.rcp.passed
