"""A real set of runs by the harness goes into the store as it lies."""

import pytest
from harness_runs import SUITE, Quiet, request_of

from laptime.harness.preparation import prepare
from laptime.harness.runset import run_set
from laptime.results.ingest import Ask, ingest
from laptime.results.query import ask


@pytest.mark.seconds
def test_set_of_runs_is_stored_with_curves_and_hyperparameters(tmp_path):
    request = request_of(tmp_path, runs=2)
    prepare(request, Quiet())
    run_set(request, Quiet())
    file = tmp_path / "results.sqlite"
    done = ingest([tmp_path / "out"], file, Ask(suite=SUITE), processes=1)
    assert (done.new, done.left_out) == (1, ())
    assert ask(file, "SELECT round, submitter, system, benchmark, runs, converged FROM results").rows == (
        ("mini-1", "laptime", "box", "standin", 2, 2),)
    assert ask(file, "SELECT count(DISTINCT run), min(met), max(met) FROM evaluation").rows[0][0] == 2
    assert ask(file, "SELECT count(*) FROM hyperparameter WHERE name = 'global_batch_size' AND asked").rows == ((1,),)
    assert ask(file, "SELECT count(*) FROM runs WHERE minutes > 0 AND seed IS NOT NULL").rows == ((2,),)
