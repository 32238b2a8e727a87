"""Ingest: every result once, nothing twice, and the same store however it came about."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from good_logs import Kind, good_records, record, write_log
from stores import store_of, write_description, write_round
from trees import ROUND, write_result, write_run

from laptime.errors import UnknownName, UserError
from laptime.log.record import ROUND_KEY
from laptime.results import ingest as module
from laptime.results import store
from laptime.results.ingest import Ask, ingest

KILLED = """
import os, signal, sys
from pathlib import Path
from laptime.results.ingest import ingest
def stop(done, total):
    if done == 2:
        os.kill(os.getpid(), signal.SIGKILL)
ingest([Path(sys.argv[1])], Path(sys.argv[2]), processes=1, progress=stop)
"""


def digest(file):
    with store.reading(file) as connection:
        return store.content_hash(connection)


def rows(file, sql):
    with store.reading(file) as connection:
        return [tuple(row) for row in connection.execute(sql)]


def test_every_result_and_run_of_a_round_is_stored(tmp_path):
    file = store_of(tmp_path)
    with store.reading(file) as connection:
        found = store.counts(connection)
    assert {name: found[name] for name in ("round", "submitter", "system", "entry", "run", "score")} == {
        "round": 1, "submitter": 2, "system": 3, "entry": 3, "run": 15, "score": 3}


def test_score_is_the_mean_without_both_ends(tmp_path):
    measured, factor, minutes, chips, by_chips, by_nodes = rows(
        store_of(tmp_path),
        "SELECT measured_minutes, factor, minutes, chips, chip_minutes, node_minutes FROM results ORDER BY minutes")[0]
    assert measured == pytest.approx(12)  # of 10, 11, 12, 13, 14
    assert factor == pytest.approx(1.0044, abs=1e-4)  # they needed a little less than the reference
    assert (minutes, by_chips, by_nodes) == pytest.approx((12 * factor, minutes * chips, minutes * 4))
    assert chips == 4 * 8


def test_repeated_ingest_judges_nothing_and_changes_nothing(tmp_path):
    file = store_of(tmp_path)
    before = digest(file)
    done = ingest([tmp_path / ROUND], file)
    assert (done.new, done.changed, done.unchanged) == (0, 0, 3)
    assert digest(file) == before


def test_order_and_number_of_processes_do_not_matter(tmp_path):
    top = write_round(tmp_path)
    one, two = tmp_path / "one.sqlite", tmp_path / "two.sqlite"
    ingest([top], one, processes=1)
    ingest([top / "Other", top / "ACME"], two, processes=2)
    assert digest(one) == digest(two)


def test_killed_ingest_repeated_gives_the_same_store(tmp_path):
    top = write_round(tmp_path)
    whole, halved = tmp_path / "whole.sqlite", tmp_path / "halved.sqlite"
    ingest([top], whole, processes=1)
    ended = subprocess.run([sys.executable, "-c", KILLED, str(top), str(halved)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert len(rows(halved, "SELECT key FROM entry")) == 2
    assert digest(halved) != digest(whole)
    assert ingest([top], halved, processes=1).unchanged == 2
    assert digest(halved) == digest(whole)


@pytest.mark.seconds
def test_ingest_killed_at_any_moment_and_repeated_gives_the_same_store(tmp_path):
    """With workers, from outside, at moments spread over the whole work: before the store exists, between, at the end."""
    top, whole = write_round(tmp_path), tmp_path / "whole.sqlite"
    code = "import sys; from pathlib import Path; from laptime.results.ingest import ingest; " \
           "print(flush=True); ingest([Path(sys.argv[1])], Path(sys.argv[2]), processes=2)"
    ingest([top], whole, processes=1)
    halved, killed = tmp_path / "halved.sqlite", 0
    for tenths in (0, 0.3, 0.8, 1.5, 2.5, 4):
        with subprocess.Popen([sys.executable, "-c", code, str(top), str(halved)], stdout=subprocess.PIPE) as one:
            one.stdout.readline()  # the program is loaded
            try:
                one.wait(tenths / 10)
            except subprocess.TimeoutExpired:
                one.send_signal(signal.SIGKILL)
        killed += one.returncode == -signal.SIGKILL
    assert killed
    ingest([top], halved, processes=1)
    assert digest(halved) == digest(whole)


def test_entry_that_cannot_be_written_whole_is_not_written_at_all(tmp_path, monkeypatch):
    top, file = write_round(tmp_path), tmp_path / "results.sqlite"
    insert = store._insert

    def failing(connection, table, rows):
        if table == "score":
            raise RuntimeError("killed here")
        insert(connection, table, rows)

    monkeypatch.setattr(store, "_insert", failing)
    with pytest.raises(RuntimeError):
        ingest([top], file, processes=1)
    monkeypatch.undo()
    assert rows(file, "SELECT * FROM entry") == rows(file, "SELECT * FROM run") == []


@pytest.mark.parametrize("change", ["log", "description", "scaling"])
def test_changed_result_replaces_what_was_held_of_it(tmp_path, change):
    top = write_round(tmp_path)
    file = store_of(tmp_path, top)
    folder = top / "ACME" / "results" / "big" / "resnet"
    if change == "log":
        rewrite(folder / "result_0.txt", submitter="ACME", seed=77, minutes=11)
    elif change == "description":
        write_description(top / "ACME", "big", number_of_nodes="1")
    else:
        (folder / "scaling.json").write_text('{"scaling_factor": 2}')
    done = ingest([top], file)
    assert (done.new, done.changed, done.unchanged) == (0, 1, 2)
    fresh = tmp_path / "fresh.sqlite"
    ingest([top], fresh)
    assert digest(file) == digest(fresh)


def test_changed_judge_judges_again(tmp_path, monkeypatch):
    file = store_of(tmp_path)
    monkeypatch.setattr(module, "judge_digest", lambda suite: "another judge")
    assert ingest([tmp_path / ROUND], file, processes=1).changed == 3


def test_published_factor_multiplies_the_score(tmp_path):
    home = write_result(tmp_path, "ACME", minutes=10)
    (home / "results" / "box" / "resnet" / "scaling.json").write_text('{"scaling_factor": 1.5}')
    found = rows(store_of(tmp_path, home), "SELECT measured_minutes, factor, minutes FROM results")
    assert found == [pytest.approx((12, 1.5, 18))]


def test_every_row_tells_its_file_and_line(tmp_path):
    file = store_of(tmp_path)
    log = "ACME/results/big/resnet/result_0.txt"
    (line,) = rows(file, f"SELECT h.line FROM hyperparameter h JOIN run r ON r.entry = h.entry AND r.number = h.run "
                         f"WHERE r.file = '{log}' AND h.name = 'global_batch_size'")
    text = (tmp_path / ROUND / log).read_text().splitlines()
    assert '"global_batch_size"' in text[line[0] - 1]
    (point,) = rows(file, f"SELECT e.line, e.value, e.position FROM evaluation e JOIN run r ON r.entry = e.entry "
                          f"AND r.number = e.run WHERE r.file = '{log}' AND e.met")
    assert '"eval_accuracy"' in text[point[0] - 1]
    assert point[1:] == (0.76, 35)
    assert rows(file, "SELECT DISTINCT file FROM system ORDER BY 1") == [
        ("ACME/systems/big.json",), ("ACME/systems/box.json",), ("Other/systems/box.json",)]


def test_value_that_runs_do_not_agree_on_has_a_row_for_each(tmp_path):
    home = write_result(tmp_path, "ACME")
    rewrite(home / "results" / "box" / "resnet" / "result_3.txt", submitter="ACME", seed=9, model_bn_span=32)
    found = rows(store_of(tmp_path, home), "SELECT value, runs, run FROM hyperparameter WHERE name = 'model_bn_span'")
    assert found == [("64", 4, 0), ("32", 1, 3)]


def test_time_structure_adds_up_to_the_clock(tmp_path):
    file = store_of(tmp_path)
    for minutes, init, training, evaluation, rest in rows(
            file, "SELECT minutes, init_minutes, training_minutes, evaluation_minutes, rest_minutes FROM runs"):
        assert init == 1
        assert training + evaluation + rest == pytest.approx(minutes)
        assert evaluation == pytest.approx(minutes / 10, rel=1e-3)


def rewrite(path, **options):
    """The run at `path` again, otherwise."""
    path.unlink()
    write_run(path, **options)


def own_runs(top, *, submitter="laptime"):
    """A folder of runs as `laptime run` leaves it: no round in its path, but in its logs."""
    kind = Kind("mini-1", "resnet")
    for run in range(5):
        path = top / "runs" / submitter / "results" / "box" / "resnet" / f"result_{run}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = good_records(kind)
        write_log(path, [lines[0], record(ROUND_KEY, "mini-1", lines[0].time_ms, {}), *lines[1:]], "mini-1")
    return top / "runs"


def test_own_runs_stand_beside_published_ones(tmp_path):
    file = store_of(tmp_path, write_round(tmp_path), own_runs(tmp_path))
    assert rows(file, "SELECT round, round_kind, submitter, runs FROM results WHERE submitter = 'laptime'") == [
        ("mini-1", "house", "laptime", 5)]
    assert rows(file, "SELECT comparable_since FROM benchmark WHERE round = 'mini-1' AND name = 'resnet'") == [("mini-1",)]
    assert len(rows(file, "SELECT 1 FROM results")) == 4


def test_labels_tell_sets_of_own_runs_apart(tmp_path):
    first, second = own_runs(tmp_path / "a"), own_runs(tmp_path / "b")
    file = tmp_path / "results.sqlite"
    done = ingest([first, second], file, processes=1)
    assert [key for key, _ in done.left_out] == ["laptime/results/box/resnet"]
    ingest([second], file, Ask(label="second"), processes=1)
    assert rows(file, "SELECT label FROM entry ORDER BY 1") == [("",), ("second",)]


def test_same_folder_given_twice_counts_once(tmp_path):
    top = write_round(tmp_path)
    done = ingest([top, top / "ACME"], tmp_path / "results.sqlite", processes=1)
    assert (done.new, done.left_out) == (3, ())


def test_logs_of_no_round_are_kept_with_what_is_wrong(tmp_path):
    folder = tmp_path / "somewhere" / "results" / "box" / "resnet"
    folder.mkdir(parents=True)
    (folder / "result_0.txt").write_text("no log at all\n")
    file = store_of(tmp_path, folder)
    assert rows(file, "SELECT round, minutes, errors > 0 FROM results") == [(None, None, 1)]


def test_bug_on_one_result_leaves_out_this_one_only(tmp_path, monkeypatch):
    judge = module.judge_result

    def failing(found, **options):
        if found.submitter == "Other":
            raise ZeroDivisionError("oh")
        return judge(found, **options)

    monkeypatch.setattr(module, "judge_result", failing)
    done = ingest([write_round(tmp_path)], tmp_path / "results.sqlite", processes=1)
    assert done.new == 2
    assert "ZeroDivisionError" in done.left_out[0][1]


def test_nothing_to_ingest_is_an_error(tmp_path):
    with pytest.raises(UserError, match="found nothing"):
        ingest([tmp_path / "none"], tmp_path / "results.sqlite")
    assert not (tmp_path / "results.sqlite").exists()


def test_unknown_round_is_an_error(tmp_path):
    with pytest.raises(UnknownName):
        ingest([tmp_path], tmp_path / "results.sqlite", Ask("v99.9"))


HOSTILE = "=cmd|' /C calc'!A0<script>alert(1)</script>\x1b[31m\x00\ud800'; DROP TABLE run; --"


def test_hostile_strings_are_data(tmp_path):
    home = write_result(tmp_path, "ACME", minutes=10)
    logs = home / "results" / "box" / "resnet"
    for run in range(5):
        rewrite(logs / f"result_{run}.txt", submitter=HOSTILE.replace("\ud800", ""), seed=run,
                  more={"opt_name": HOSTILE.replace("\ud800", "")})
    write_description(home, "box", system_name=HOSTILE, accelerator_model_name=HOSTILE, framework=["a", {"b": 10**400}],
                      accelerators_per_node=10**30, hw_notes="x" * 500_000)
    file = store_of(tmp_path, home)
    ((title, accelerator, framework, accelerators, notes),) = rows(
        file, "SELECT title, accelerator, framework, accelerators, length(hw_notes) FROM system")
    assert title == accelerator == HOSTILE.replace("\x00", "\ufffd").replace("\ud800", "?")
    assert framework is accelerators is None
    assert notes < 25_000
    assert len(rows(file, "SELECT * FROM run")) == 5


def test_links_out_of_the_folder_are_not_read(tmp_path):
    home = write_result(tmp_path, "ACME", minutes=10)
    secret = tmp_path / "secret.json"
    secret.write_text('{"system_name": "secret"}')
    (home / "systems").mkdir()
    os.symlink(secret, home / "systems" / "box.json")
    os.symlink(secret, home / "results" / "box" / "resnet" / "result_9.txt")
    file = store_of(tmp_path, home)
    assert rows(file, "SELECT title FROM system") == [(None,)]
    assert len(rows(file, "SELECT * FROM run")) == 5


def test_thinned_curve_keeps_first_last_and_crossing():
    from laptime.results.rows import thinned

    assert thinned(5, 4) == [0, 1, 2, 3, 4]
    kept = thinned(10_000, 4321)
    assert len(kept) <= 200
    assert {0, 4321, 9999} <= set(kept)
    assert len(thinned(10_000, None)) == 200


def test_provenance_does_not_tell_where_the_checkout_lies(tmp_path):
    file = store_of(tmp_path)
    assert str(Path(tmp_path)).encode() not in file.read_bytes()


@pytest.mark.seconds
def test_two_ingests_at_once_share_a_store(tmp_path):
    top, file, whole = write_round(tmp_path), tmp_path / "shared.sqlite", tmp_path / "whole.sqlite"
    code = "import sys; from pathlib import Path; from laptime.results.ingest import ingest; " \
           "ingest([Path(sys.argv[1])], Path(sys.argv[2]), processes=1)"
    both = [subprocess.Popen([sys.executable, "-c", code, str(top / name), str(file)]) for name in ("ACME", "Other")]
    assert [one.wait(60) for one in both] == [0, 0]
    ingest([top], whole, processes=1)
    assert digest(file) == digest(whole)
