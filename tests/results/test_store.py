"""The file: its version, its keys, who may use it."""

import hashlib
import re
import sqlite3

import pytest
from stores import store_of

from laptime.errors import UserError
from laptime.results import store
from laptime.results.store import key_number, reading, storable, writing


def test_new_store_has_every_table(tmp_path):
    with writing(tmp_path / "a.sqlite") as connection:
        assert set(store.counts(connection)) == set(store.TABLES)


def test_changed_schema_has_another_version():
    """Who changes a table changes store.VERSION, then this number: stores of before are then refused with a reason."""
    tables = "".join(re.sub(r"\s*--.*", "", statement) for statement in store._statements("schema.sql"))
    assert (store.VERSION, hashlib.sha256(tables.encode()).hexdigest()[:8]) == (2, "9e591533")


def test_store_of_another_version_is_refused_with_what_to_do(tmp_path):
    file = store_of(tmp_path)
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    for opened in (reading, writing):
        with pytest.raises(UserError, match="found version 99") as told, opened(file):
            pass
        assert "new file" in told.value.hint


def test_database_of_another_program_is_refused_and_left_alone(tmp_path):
    file = tmp_path / "other.sqlite"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE run (x)")
    connection.commit()
    connection.close()
    before = file.read_bytes()
    with pytest.raises(UserError, match="another program"), writing(file):
        pass
    assert file.read_bytes() == before


def test_file_that_is_no_database_is_refused(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("not a database, but long enough to be looked at " * 100)
    with pytest.raises(UserError, match="not a database"), writing(file):
        pass


def test_missing_store_says_how_to_make_one(tmp_path):
    with pytest.raises(UserError) as told, reading(tmp_path / "none.sqlite"):
        pass
    assert "laptime ingest" in told.value.hint
    assert not (tmp_path / "none.sqlite").exists()


def test_store_opened_for_reading_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match="readonly"), reading(store_of(tmp_path)) as connection:
        connection.execute("DELETE FROM run")


def test_store_is_one_file_after_ingest(tmp_path):
    store_of(tmp_path)
    assert [path.name for path in tmp_path.glob("results.sqlite*")] == ["results.sqlite"]


def test_views_of_an_older_program_are_renewed(tmp_path):
    file = store_of(tmp_path)
    connection = sqlite3.connect(file)
    connection.execute("DROP VIEW runs")
    connection.execute("CREATE VIEW runs AS SELECT 1 AS wrong")
    connection.commit()
    connection.close()
    with writing(file) as connection:
        assert connection.execute("SELECT minutes FROM runs LIMIT 1").fetchone()


def test_key_numbers_fit_javascript_and_are_stable():
    assert key_number("a") == 3564032869835195
    assert 0 <= max(key_number(str(number)) for number in range(1000)) < 2**53


@pytest.mark.parametrize(("value", "kept"), [("a\0b", "a\ufffdb"), ("\ud800", "?"), (2**70, float("inf")), (-2**70, float("-inf")),
                                             (2**63 - 1, 2**63 - 1), (None, None), (0.5, 0.5)])
def test_values_that_a_database_does_not_take_are_made_fit(value, kept):
    assert storable(value) == kept


def test_content_hash_sees_every_change(tmp_path):
    file = store_of(tmp_path)
    with writing(file) as connection:
        before = store.content_hash(connection)
        connection.execute("UPDATE evaluation SET value = value + 1e-9 WHERE run = 0 AND number = 0")
        assert store.content_hash(connection) != before
