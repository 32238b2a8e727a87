"""The reader: three dialects, damage of all kinds, and the round trip from the writer."""

import json
import os
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laptime.errors import UserError
from laptime.log import read
from laptime.log.read import read_log
from laptime.log.record import Record
from laptime.log.write import LogWriter, format_line

GOOD = format_line(Record("seed", 7, 1000, metadata={"file": "run.py", "lineno": 1}), "mllog")
NAMES = st.text(string.ascii_letters + "_", min_size=1, max_size=12)
SCALARS = st.none() | st.booleans() | st.integers(-2**53, 2**53) | st.floats(allow_nan=False) | st.text(max_size=20)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
                      max_leaves=6)
PLACE = st.fixed_dictionaries({"file": NAMES.map(lambda name: name + ".py"), "lineno": st.integers(0, 10**6)})
TIMES = st.integers(0, 10**13)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("logs")


def reading(folder, content):
    path = folder / "log.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_log(path)


def round_trip(folder, records, dialect):
    path = folder / "trip.txt"
    path.unlink(missing_ok=True)
    with LogWriter(path, dialect, "resnet") as writer:
        for record in records:
            writer.write(record)
    return read_log(path)


@given(st.lists(st.builds(Record, st.text(max_size=20), VALUES, TIMES,
                          st.sampled_from(["INTERVAL_START", "INTERVAL_END", "POINT_IN_TIME"]),
                          st.dictionaries(NAMES, VALUES, max_size=3), NAMES), max_size=5))
def test_mllog_records_survive_writing_and_reading(folder, records):
    log = round_trip(folder, records, "mllog")
    assert log.problems == ()
    assert [replace_line(record) for record in log.records] == records


@given(st.lists(st.builds(Record, NAMES, VALUES, TIMES, st.just("POINT_IN_TIME"),
                          st.dictionaries(NAMES, VALUES, max_size=3)), min_size=1, max_size=5))
def test_mll_records_survive_writing_and_reading(folder, records):
    log = round_trip(folder, records, "mll")
    assert (log.dialect, log.problems) == ("mll", ())
    assert [replace_line(record) for record in log.records] == records


@given(PLACE, TIMES, st.integers(0, 100), st.floats(0, 1), st.sampled_from(["success", "aborted"]), SCALARS)
def test_mlp05_records_survive_writing_and_reading(folder, place, time, epoch, accuracy, status, value):
    records = [Record("run_start", None, time, metadata=place, namespace="resnet"),
               Record("input_size", value, time, metadata=place, namespace="resnet"),
               Record("train_epoch", None, time, metadata={**place, "epoch": epoch}, namespace="resnet"),
               Record("eval_accuracy", accuracy, time, metadata={**place, "epoch": epoch}, namespace="resnet"),
               Record("run_stop", None, time, metadata={**place, "status": status}, namespace="resnet")]
    log = round_trip(folder, records, "mlp05")
    assert (log.dialect, log.problems) == ("mlp05", ())
    assert [replace_line(record) for record in log.records] == records


def replace_line(record):
    return Record(record.key, record.value, record.time_ms, record.event_type, record.metadata, record.namespace)


@given(st.binary(max_size=300), st.sampled_from([b":::MLLOG ", b":::MLL ", b":::MLPv0.5.0 ", b""]), st.binary(max_size=100))
def test_random_bytes_never_raise(folder, before, token, after):
    log = reading(folder, before + token + after)
    assert len(log.records) <= (before + token + after).count(b":::ML")


@given(st.text(max_size=80), st.sampled_from([":::MLLOG ", ":::MLL ", ":::MLPv0.5.0 "]))
def test_random_text_after_a_token_is_a_record_or_a_problem(folder, text, token):
    log = reading(folder, token + text.replace("\n", " ").replace("\r", " "))
    assert len(log.records) + len(log.problems) >= 1


@given(st.integers(1, len(GOOD) - 1), st.sampled_from([GOOD, format_line(Record("k", 1, 1), "mll")]))
def test_a_log_cut_anywhere_keeps_its_whole_lines(folder, cut, line):
    log = reading(folder, f"{line}\n{line[:min(cut, len(line) - 1)]}")
    assert len(log.records) == 1
    assert all(problem.line == 2 for problem in log.problems)


def test_line_numbers_count_every_line_of_the_file(folder):
    log = reading(folder, f"hello\n\n{GOOD}\nmore\n[1,0]<stdout>:{GOOD}\r\n")
    assert [record.line for record in log.records] == [3, 5]
    assert log.problems == ()


def test_line_numbers_are_right_across_blocks(folder, monkeypatch):
    monkeypatch.setattr(read, "_BLOCK", 64)
    content = "".join(f"noise {i}\n{GOOD}\n" for i in range(40))
    assert [record.line for record in reading(folder, content).records] == list(range(2, 82, 2))


def test_a_huge_line_is_skipped_with_a_problem(folder, monkeypatch):
    monkeypatch.setattr(read, "_BLOCK", 1000)
    monkeypatch.setattr(read, "LONGEST_LINE", 5000)
    log = reading(folder, f"{GOOD}\n:::MLLOG {'x' * 20_000}\n{GOOD}\n")
    assert [record.line for record in log.records] == [1, 3]
    assert [problem.line for problem in log.problems] == [2]
    assert "longer than" in log.problems[0].text


def test_the_last_of_two_tokens_on_a_line_counts(folder):
    log = reading(folder, f":::MLLOG {{\"namespa{GOOD}\n")
    assert len(log.records) == 1
    assert [problem.harmless for problem in log.problems] == [True]


def test_carriage_returns_of_progress_bars_separate(folder):
    log = reading(folder, f"10%\r20%\r{GOOD}\r30%\n")
    assert (len(log.records), log.problems) == (1, ())


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-8"])
def test_other_encodings_are_read(folder, encoding):
    line = ':::MLLOG {"namespace": "", "time_ms": 1, "event_type": "POINT_IN_TIME", "key": "submission_org", "value": "Zürich", "metadata": {}}'
    log = reading(folder, line.encode(encoding))
    assert (log.records[0].value, log.problems) == ("Zürich", ())


def test_a_utf16_file_is_said(folder):
    log = reading(folder, GOOD.encode("utf-16"))
    assert log.records == ()
    assert "UTF-16" in log.problems[0].text


@pytest.mark.parametrize(("missing", "records"), [("key", 0), ("time_ms", 0), ("value", 1), ("metadata", 1)])
def test_a_missing_field_is_a_problem_with_its_line(folder, missing, records):
    fields = json.loads(GOOD[9:])
    del fields[missing]
    log = reading(folder, f"\n:::MLLOG {json.dumps(fields)}\n")
    assert len(log.records) == records
    assert [(p.line, p.harmless) for p in log.problems] == [(2, False)]
    assert missing in log.problems[0].text


@pytest.mark.parametrize("time", ["NaN", "Infinity", "1e400", "true", '"x"', "[1]", "9" * 5000])
def test_a_time_that_is_none_is_a_problem(folder, time):
    log = reading(folder, f':::MLLOG {{"key": "k", "value": 1, "time_ms": {time}, "event_type": "POINT_IN_TIME", "metadata": {{}}}}')
    assert (log.records, len(log.problems)) == ((), 1)


def test_a_time_in_seconds_is_read_with_a_remark(folder):
    log = reading(folder, ':::MLLOG {"key": "k", "value": 1, "time_s": 2.5, "event_type": "POINT_IN_TIME", "metadata": {}}')
    assert log.records[0].time_ms == 2500
    assert log.problems[0].harmless


def test_not_a_number_is_read(folder):
    log = reading(folder, GOOD.replace('"value": 7', '"value": NaN'))
    assert (str(log.records[0].value), log.problems) == ("nan", ())


def test_deep_nesting_is_a_problem(folder):
    log = reading(folder, ":::MLLOG " + "[" * 100_000)
    assert (log.records, len(log.problems)) == ((), 1)


def test_many_problems_are_counted_not_kept(folder):
    log = reading(folder, ":::MLLOG {\n" * 3000)
    assert len(log.problems) == 1001
    assert log.problems[-1].text == "2000 further problems"


def test_the_rarer_dialect_is_left_out_with_a_remark(folder):
    log = reading(folder, f"{GOOD}\n{GOOD}\n:::MLL 1.0 k: {{\"value\": 1, \"metadata\": {{}}}}\n")
    assert (log.dialect, len(log.records), log.problems[0].harmless) == ("mllog", 2, True)


@pytest.mark.parametrize("content", ["", "no log at all\n", "::: MLLOG {}", ":::MLOG {}"])
def test_a_file_without_log_lines_has_no_records(folder, content):
    log = reading(folder, content)
    assert (log.records, log.problems) == ((), ())


def test_v05_forms_of_public_logs(folder):
    log = reading(folder, "\n".join([
        ":::MLPv0.5.0 resnet 1541731848.585105896 (<string>:1) run_clear_caches",
        "):::MLPv0.5.0 gnmt 1541731849 (seq2seq/train/trainer.py:107) train_epoch: 3",
        ":::MLPv0.5.0 resnet 1541731850.500 (a/b.prototxt:27) opt_learning_rate : {\"deferred\": true, \"value\": 0.1}",
        ':::MLPv0.5.0 resnet 1541731851.0 (x.py:2) run_stop: {"success": "true"}',
        "DEBUG:mlperf_compliance::::MLPv0.5.0 resnet 1541731851.0 (x.py:2) run_stop: {\"success\": \"true\"}",
        ":::MLPv0.5.0 ncf 1541731852.0 (x.py:2) eval_size: {\"epoch\": 2, \"value\":  9}"]))
    assert log.problems == ()
    assert [(r.key, r.value) for r in log.records] == [
        ("run_clear_caches", None), ("train_epoch", None), ("opt_learning_rate", {"deferred": True, "value": 0.1}),
        ("run_stop", None), ("eval_size", 9)]
    assert log.records[0].time_ms == pytest.approx(1541731848585.105896, abs=1e-3)
    assert log.records[1].metadata == {"file": "seq2seq/train/trainer.py", "lineno": 107, "epoch": 3}
    assert log.records[3].metadata["status"] == "success"


def test_v06_forms_of_public_logs(folder):
    log = reading(folder, "\n".join([
        "[1,0]<stdout>::::MLL 1560881.5 eval_accuracy: {\"value\": 0.7, \"metadata\": {'epoch_num': 3, 'x': None}}",
        ":::MLL 1560882.0 cache_clear: {value: true, metadata: {lineno: 0, file: manual}}",
        ":::MLL 15608[2019-06-18 09:00:00] iteration time 3"]))
    assert [(r.key, r.value) for r in log.records] == [("eval_accuracy", 0.7), ("cache_clear", True)]
    assert log.records[0].metadata == {"epoch_num": 3, "x": None}
    assert log.records[1].metadata == {"lineno": 0, "file": "manual"}
    assert [p.line for p in log.problems] == [1, 2, 3]


def test_code_in_a_log_is_not_run(folder):
    log = reading(folder, ":::MLL 1.0 k: {'value': __import__('os').system('true'), 'metadata': {}}")
    assert log.records == ()


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir(), os.mkfifo])
def test_what_is_no_file_is_a_user_error(tmp_path, make):
    make(tmp_path / "log")
    with pytest.raises(UserError, match="log"):
        read_log(tmp_path / "log")
