"""Five real rounds in one store: every score is the expected one, and a second ingest changes nothing."""

import pytest
from public_rounds import expected_rows, whole_round

from laptime.results import store
from laptime.results.ingest import ingest
from laptime.results.query import ask, ask_question
from laptime.rules.load import load_round

pytestmark = pytest.mark.slow

ROUNDS = ("v0.5", "v0.7", "v2.0", "v4.0", "v5.0")
SCORES = {"v0.7": 126, "v2.0": 262, "v4.0": 202, "v5.0": 201}
MINUTES = 1e-3


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("public") / "results.sqlite"
    ingest([whole_round(name) for name in ROUNDS], path)
    return path


@pytest.mark.parametrize("name", SCORES)
def test_every_score_is_the_expected_one(file, name):
    found = {row[:3]: row[3] for row in ask(
        file, "SELECT submitter, system, log_name, minutes FROM results WHERE round = :round", {"round": name}).rows}
    wanted = [row for row in expected_rows("scores.csv") if row["round"] == name[1:]]
    for row in wanted:
        assert found[row["submitter"], row["system"], row["benchmark"]] == pytest.approx(
            float(row["expected_minutes"]), abs=MINUTES), row
    assert len(wanted) == SCORES[name]


def test_scores_of_the_first_round_are_those_expected(file):
    found = dict(ask(file, "SELECT file, minutes FROM results WHERE round = 'v0.5'").rows)
    wanted = expected_rows("scores_v0.5.csv")
    for row in wanted:
        assert found[row["dir"]] == pytest.approx(float(row["score_minutes"]), abs=MINUTES), row
    assert len(wanted) == 35


@pytest.mark.parametrize("name", ["v2.0", "v4.0", "v5.0"])
def test_reference_points_are_those_of_the_official_tool(file, name):
    """Mean, deviation, least mean (which that tool finds by search, before any slack), and whether pruning keeps it."""
    found = {row[:2]: row[2:] for row in ask(
        file, "SELECT log_name, p.name, mean, deviation, minimum, used, benchmark FROM reference_points AS p "
              "WHERE round = :round", {"round": name}).rows}
    wanted = expected_rows(f"rcp_reference_{name}.csv.gz")
    for row in wanted:
        mean, deviation, minimum, used, benchmark = found[row["benchmark"], row["rcp"]]
        slack = load_round(name).benchmarks[benchmark].convergence_slack.get("checker", 0.0)
        assert (mean, deviation) == pytest.approx((float(row["mean"]), float(row["stdev"])), rel=1e-9), row
        assert minimum + slack == pytest.approx(float(row["min_epochs"]), rel=1e-4), row
        assert bool(used) == (row["kept_after_pruning"] == "True"), row
    assert len(wanted) >= 40


def test_submissions_have_findings_of_their_own(file):
    ((count, submissions),) = ask(file, "SELECT count(*), count(DISTINCT package) FROM all_findings WHERE package IS NOT NULL").rows
    assert count > 500
    assert submissions > 70


def test_second_ingest_changes_nothing(file):
    with store.reading(file) as connection:
        before = store.content_hash(connection)
    done = ingest([whole_round(name) for name in ROUNDS], file)
    assert (done.new, done.changed, done.left_out) == (0, 0, ())
    with store.reading(file) as connection:
        assert store.content_hash(connection) == before


def test_the_papers_comparison_of_two_rounds_can_be_recomputed(file):
    """Between these rounds every benchmark at 16 chips became faster, and the fastest entries grew."""
    speedups = ask_question(file, "speedup", {"earlier": "v0.5", "later": "v0.7"}).rows
    assert {row[0] for row in speedups} >= {"resnet"}
    assert all(row[4] > 1 for row in speedups)
    growth = ask_question(file, "growth", {"earlier": "v0.5", "later": "v0.7"}).rows
    assert all(row[3] > 1 for row in growth)
