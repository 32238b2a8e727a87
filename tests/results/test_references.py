"""Reference points, bands, intervals and published minutes beside the results."""

import pytest
from stores import store_of, write_round
from trees import write_result

from laptime.errors import UserError
from laptime.results.ingest import ingest
from laptime.results.published import published_rows
from laptime.results.query import ask, ask_question
from laptime.rules.load import load_round
from laptime.scoring.rcp import in_use

HEADING = "round,submitter,system,benchmark,minutes\n"


def test_every_point_of_a_round_is_stored_with_its_verdict(tmp_path):
    file = store_of(tmp_path)
    rules = load_round("v4.0").benchmarks["resnet"]
    rows = ask(file, "SELECT batch_size, runs, used, minimum < mean FROM reference WHERE benchmark = 'resnet' "
                     "ORDER BY batch_size").rows
    assert [row[0] for row in rows] == sorted(point.batch_size for point in rules.references)
    assert [row[0] for row in rows if row[2]] == [one.batch_size for one in in_use(rules.references, rules.drop)]
    assert {row[2] for row in rows} == {0, 1}
    assert all(row[3] == 1 for row in rows)


def test_least_mean_of_a_result_at_a_point_is_the_one_of_the_point(tmp_path):
    file = store_of(tmp_path)
    pairs = ask(file, "SELECT r.rcp_minimum, p.minimum, r.rcp_mean, p.mean FROM results AS r JOIN reference_points AS p "
                      "ON p.round = r.round AND p.benchmark = r.benchmark AND p.batch_size = r.batch_size AND p.used").rows
    assert pairs
    assert all(pair[:2] == pytest.approx((pair[1], pair[1])) and pair[2] == pytest.approx(pair[3]) for pair in pairs)


def test_band_reaches_from_the_first_point_in_use_to_the_last(tmp_path):
    file = store_of(tmp_path)
    ((low, high, count),) = ask(file, "SELECT min(batch_size), max(batch_size), count(*) FROM band "
                                      "WHERE benchmark = 'resnet'").rows
    assert ask(file, "SELECT min(batch_size), max(batch_size) FROM reference WHERE benchmark = 'resnet' AND used"
               ).rows == ((low, high),)
    assert count > 20
    assert ask(file, "SELECT count(*) FROM band WHERE least > mean OR least < 0").rows == ((0,),)


def test_interval_of_a_score_is_the_students_of_the_runs_that_count(tmp_path):
    """Runs of 10 to 14 minutes: 11, 12, 13 count; their deviation is 1, t(0.975, 2) = 4.3027."""
    low, high, factor, variation = ask(
        store_of(tmp_path), "SELECT minutes_low, minutes_high, factor, variation FROM results ORDER BY minutes").rows[0]
    half = 4.30265 / 3**0.5
    assert (low / factor, high / factor) == pytest.approx((12 - half, 12 + half), abs=1e-4)
    assert variation == pytest.approx(1 / 12)


def test_bootstrap_interval_holds_the_score(tmp_path):
    for minutes, low, high in ask(store_of(tmp_path), "SELECT minutes, bootstrap_low, bootstrap_high FROM results").rows:
        assert low < minutes < high


def test_published_minutes_stand_beside_the_computed_ones(tmp_path):
    top, file, table = write_round(tmp_path), tmp_path / "results.sqlite", tmp_path / "table.csv"
    table.write_text(HEADING + "4.0,ACME,big,resnet,12.05\nv4.0,Other,box,resnet,40\nv4.0,Nobody,box,resnet,1\n")
    ingest([top], file, processes=1, published=[table])
    rows = ask(file, "SELECT submitter, system, published_minutes, published_difference FROM results "
                     "WHERE published_minutes IS NOT NULL ORDER BY 1").rows
    assert [row[:3] for row in rows] == [("ACME", "big", 12.05), ("Other", "box", 40.0)]
    assert rows[0][3] == pytest.approx(0.0027, abs=1e-4)
    assert [row[1] for row in ask_question(file, "published", {}).rows] == ["Other"]
    assert ask(file, "SELECT DISTINCT file, line FROM published WHERE submitter = 'ACME'").rows == (("table.csv", 2),)


def test_published_minutes_stay_when_others_are_ingested(tmp_path):
    top, file, table = write_round(tmp_path), tmp_path / "results.sqlite", tmp_path / "table.csv"
    table.write_text(HEADING + "v4.0,ACME,big,resnet,12\n")
    ingest([top], file, processes=1, published=[table])
    ingest([write_result(tmp_path, "Third")], file, processes=1)
    assert ask(file, "SELECT minutes FROM published").rows == ((12.0,),)


@pytest.mark.parametrize(("text", "said"), [
    ("round,submitter\n", "no system, benchmark, minutes"), ("", "expected the columns"),
    (HEADING + "v4.0,A,b,c,\n", ":2: expected a value for minutes"), (HEADING + "v4.0,A,b,c,nan\n", "a number above 0"),
    (HEADING + "v4.0,A,b,c,-1\n", "a number above 0"), (HEADING + "v99,A,b,c,1\n", "v99"), (HEADING + 'v4.0,"A,b,c,1\n', "a table"),
    (HEADING + "v4.0,A,b,c,1e300\n", "a number above 0")])
def test_published_table_of_another_form_is_refused(tmp_path, text, said):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        published_rows(tmp_path / "a.csv")


def test_published_table_that_is_no_text_or_not_there_is_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "a.csv", tmp_path / "b.csv"):
        with pytest.raises(UserError):
            published_rows(path)
