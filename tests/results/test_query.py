"""Questions: what they answer, and what nobody can do with them."""

import sqlite3

import pytest
from stores import store_of

from laptime.errors import UnknownName, UserError
from laptime.results.query import ask, ask_question, questions


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return store_of(tmp_path_factory.mktemp("query"))


def test_select_gives_columns_and_rows(file):
    found = ask(file, "SELECT submitter, count(*) AS results FROM results GROUP BY 1 ORDER BY 1")
    assert (found.columns, found.rows, found.cut) == (("submitter", "results"), (("ACME", 2), ("Other", 1)), False)


@pytest.mark.parametrize("sql", [
    "DELETE FROM run", "UPDATE run SET seed = 1", "DROP TABLE run", "INSERT INTO submitter VALUES ('x', '', 0)",
    "ATTACH '/tmp/x.sqlite' AS x", "CREATE TEMP TABLE t (x)", "PRAGMA query_only = OFF", "PRAGMA user_version = 3",
    "VACUUM INTO '/tmp/x.sqlite'", "SELECT load_extension('x')", "SELECT * FROM pragma_database_list", "BEGIN",
    "SELECT randomblob(1000000000)", "SELECT 1; DELETE FROM run", "", "-- nothing", "EXPLAIN DELETE FROM run"])
def test_anything_but_reading_is_refused(file, sql):
    before = file.read_bytes()
    with pytest.raises(UserError):
        ask(file, sql)
    assert file.read_bytes() == before


def test_rows_are_limited(file):
    found = ask(file, "SELECT file FROM run", rows=4)
    assert (len(found.rows), found.cut) == (4, True)
    assert not ask(file, "SELECT file FROM run LIMIT 4", rows=4).cut


def test_time_is_limited(file):
    with pytest.raises(UserError, match=r"longer than 0\.2 s"):
        ask(file, "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n", seconds=0.2)


def test_values_are_limited(file):
    with pytest.raises(UserError, match="too big"):
        ask(file, "SELECT replace(hex(zeroblob(9)), '0', printf('%.*c', 9000000, 'x'))".replace("hex(zeroblob(9))", "'00'"))


def test_parameters_are_values_and_nothing_else(file):
    found = ask(file, "SELECT count(*) FROM run WHERE seed = :seed", {"seed": "1' OR '1' = '1"})
    assert found.rows == ((0,),)


@pytest.mark.parametrize("name", questions())
def test_question_can_be_asked(file, name):
    given = {"round": "v4.0", "benchmark": "resnet", "name": "opt_name", "accelerator": "chip", "earlier": "v4.0", "later": "v4.0"}
    needed = {parameter: given[parameter] for parameter, (_, default) in questions()[name].parameters.items() if default is None}
    assert ask_question(file, name, needed).columns


def test_fastest_is_one_per_number_of_chips(file):
    found = ask_question(file, "fastest", {"benchmark": "resnet"})
    assert [(row[2], row[4]) for row in found.rows] == [(8, "ACME"), (32, "ACME")]


def test_scaling_tells_speedup_and_efficiency(file):
    found = ask_question(file, "scaling", {"round": "v4.0", "benchmark": "resnet", "accelerator": "chip x"})
    assert [(row[0], row[4], row[5]) for row in found.rows] == [(8, 1.0, 1.0), (32, 3.5, 0.875)]


def test_winners_gives_the_hyperparameters_of_the_fastest(file):
    found = ask_question(file, "winners", {"round": "v4.0"})
    assert found.rows[0][:3] == ("resnet", "ACME", 32)
    assert {row[4]: row[5] for row in found.rows}["global_batch_size"] == "3264"


def test_near_bound_orders_by_margin(file):
    found = ask_question(file, "near-bound", {"margin": "10"})
    assert [row[8] for row in found.rows] == sorted(row[8] for row in found.rows)
    assert len(found.rows) == 3


def test_speedup_between_rounds_tells_whether_they_compare(tmp_path):
    from stores import write_description
    from trees import write_result

    write_description(write_result(tmp_path, "ACME", minutes=40), "box", number_of_nodes="2")
    earlier = tmp_path / "v3.1" / "ACME"
    (tmp_path / "v4.0" / "ACME").rename((earlier.parent.mkdir(), earlier)[1])
    write_description(write_result(tmp_path, "ACME", minutes=19, first_seed=50), "box", number_of_nodes="2")
    file = store_of(tmp_path, tmp_path / "v3.1", tmp_path / "v4.0")
    found = ask_question(file, "speedup", {"earlier": "v3.1", "later": "v4.0"})
    assert found.rows == (("resnet", 16, 42.185, 21.092, 2.0, "yes"),)
    improved = ask_question(file, "improved", {"earlier": "v3.1", "later": "v4.0"})
    assert improved.rows == (("ACME", "resnet", 16, 42.185, 21.092, 2.0, "yes"),)
    assert ask_question(file, "growth", {"earlier": "v3.1", "later": "v4.0"}).rows[0][:4] == ("resnet", 16, 16, 1.0)


def test_unknown_question_and_parameter_get_the_nearest_name(file):
    with pytest.raises(UnknownName, match="fastest"):
        ask_question(file, "fatsest", {})
    with pytest.raises(UnknownName, match="benchmark"):
        ask_question(file, "fastest", {"benchmrk": "x"})
    with pytest.raises(UserError, match="needs the parameter 'round'"):
        ask_question(file, "winners", {})


def test_hostile_store_cannot_run_code(tmp_path):
    file = store_of(tmp_path)
    connection = sqlite3.connect(file)
    connection.execute("DROP VIEW runs")
    connection.execute("CREATE VIEW runs AS SELECT load_extension('evil') AS minutes")
    connection.commit()
    connection.close()
    with pytest.raises(UserError):
        ask(file, "SELECT minutes FROM runs")
