"""Logs that mean harm: bounded memory, linear time, nothing that is no file, and the same reading whatever was read before."""

import os
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laptime.log import read
from laptime.log.read import Unreadable, read_log
from laptime.log.record import Record
from laptime.log.repeats import Repeats
from laptime.log.write import format_line

GOOD = format_line(Record("init_start", None, 1_700_000_000_000, "INTERVAL_START", {"file": "a.py", "lineno": 1}), "mllog").encode()
PIECES = st.sampled_from([
    GOOD, GOOD.replace(b"1700000000000", b"1700000000001"), GOOD.replace(b"1700000000000", b"0700000000000"),
    GOOD.replace(b'"namespace": ""', b'"namespace": "worker1"'), GOOD.replace(b"1700000000000", b"170000000000"),
    GOOD.replace(b"1700000000000", b"1700000000000.5"), GOOD[:-3], GOOD.replace(b"null", b"0.5"), GOOD.replace(b"null", b"NaN"),
    GOOD.replace(b'"lineno": 1', b'"time_ms": 5'), GOOD[:-1] + b', "time_ms": 9}', GOOD[:-1] + b', "time\\u005fms": 9}',
    GOOD.replace(b"null", b'"a\\"b"'), b":::ML", b":::MLL 1.5 seed: {\"value\": 1, \"metadata\": {}}", b"noise", b"\r", b"\n", b"\n",
    b"\r\n", b"\r\n", b"\xff", b" 3: ", b":::MLLOG ", b"{"])


def written(folder, content):
    path = folder / "log.txt"
    path.write_bytes(content)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile")


def line_by_line(path):
    """The same file, every line looked at by itself, nothing remembered."""
    reading = read._Reading()
    for reading.line, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if b":::ML" in line:
            read._take(line, reading)
    return read._finished(path, reading)


@given(st.lists(PIECES, max_size=30), st.sampled_from([7, 300, 2**20]))
def test_reading_in_blocks_and_by_repetition_changes_nothing(folder, pieces, block):
    path = written(folder, b"".join(pieces))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(read, "_BLOCK", block)
        found = read_log(path), read_log(path)
    assert found == (line_by_line(path), line_by_line(path))


def test_a_line_seen_before_has_its_own_time_and_place(folder):
    path = written(folder, b"\n".join(GOOD.replace(b"0000 ", b"000%d " % i).replace(b"000000,", b"00000%d," % i) for i in range(5)))
    assert [(record.time_ms, record.line) for record in read_log(path).records] == [
        (1_700_000_000_000 + i, i + 1) for i in range(5)]


def test_what_is_remembered_is_bounded():
    repeats = Repeats()
    for number in range(25_000):
        value = {"value": number}
        repeats.keep(GOOD[5:].replace(b"null", b"%d" % number), Record("init_start", value["value"], 1.0))
    assert 0 < len(repeats.known) <= 10_000


@pytest.mark.parametrize(("payload", "value"), [
    ("NaN", None), ("-Infinity", float("-inf")), ("1" + "0" * 400, 10**400), ("1e400", float("inf"))])
def test_numbers_that_json_has_not_are_read_as_python_writes_them(folder, payload, value):
    (record,) = read_log(written(folder, GOOD.replace(b"null", payload.encode()))).records
    assert record.value == value or (value is None and record.value != record.value)


@pytest.mark.parametrize("depth", [59, 61, 999, 5000, 200_000])
@pytest.mark.parametrize("pair", [(b"[", b"]"), (b'{"a":', b"}")])
def test_deep_nesting_is_read_to_a_limit(folder, depth, pair):
    log = read_log(written(folder, GOOD.replace(b"null", pair[0] * depth + b"1" + pair[1] * depth)))
    assert bool(log.records) == (depth < 60)
    assert bool(log.problems) == (depth > 60)


@pytest.mark.parametrize("fields", ["key", "value", "time_ms", "metadata", "event_type", "namespace"])
@pytest.mark.parametrize("odd", [None, b"[]", b"{}", b"true", b'"x"', b"1e999", b"null"])
def test_a_member_that_is_missing_or_odd_is_a_problem_or_harmless(folder, fields, odd):
    import json

    members = {name: json.dumps(value).encode() for name, value in json.loads(GOOD[9:]).items()}
    if odd is None:
        del members[fields]
    else:
        members[fields] = odd
    line = b":::MLLOG {" + b", ".join(b'"%s": %s' % (name.encode(), value) for name, value in members.items()) + b"}"
    log = read_log(written(folder, line))
    assert log.records or log.problems


@pytest.mark.parametrize("line", [
    b":::MLLOG " + b"x" * 10_000_000, b":::ML" * 2_000_000, b":::MLLOG " * 1_100_000, GOOD[:-1] + b" " * 10_000_000 + b"}",
    GOOD.replace(b"null", b'"' + b"y" * 10_000_000 + b'"'), b"\r" * 10_000_000 + GOOD, b"x" * 10_000_000 + GOOD,
    b":::MLL 1.0 a: " + b"{" * 10_000_000, b":::MLPv0.5.0 a 1.0 (" + b":1" * 5_000_000 + b") x", b":::MLL 1" + b" " * 10_000_000],
    ids=lambda line: line[:12].decode())
def test_a_line_of_ten_megabytes_is_read_in_half_a_second(folder, line):
    path = written(folder, GOOD + b"\n" + line + b"\n" + GOOD + b"\n")
    start = time.process_time()
    log = read_log(path)
    assert time.process_time() - start < 1.0  # half a second on a quiet machine
    assert log.records[0].line == 1
    assert log.records[-1].line == 3


def test_a_line_beyond_the_limit_is_skipped_and_told(folder):
    path = written(folder, GOOD + b"\n:::MLLOG " + b"x" * (17 * 2**20) + b"\n" + b"y" * (17 * 2**20) + b"\n" + GOOD)
    log = read_log(path)
    assert [record.line for record in log.records] == [1, 4]
    assert [(problem.line, problem.harmless) for problem in log.problems] == [(2, False), (3, True)]


def test_more_values_than_any_log_holds_end_the_reading(folder, monkeypatch):
    monkeypatch.setattr(read, "MOST_MEMORY", 100_000)
    log = read_log(written(folder, b"\n".join(GOOD.replace(b"null", b"%d.5" % i) for i in range(1000))))
    assert 10 < len(log.records) < 1000
    assert "the rest of the file was not read" in log.problems[-1].text


def test_more_lines_than_any_log_holds_end_the_reading(folder, monkeypatch):
    monkeypatch.setattr(read, "MOST_RECORDS", 100)
    monkeypatch.setattr(read, "_BLOCK", 10_000)
    log = read_log(written(folder, (GOOD + b"\n") * 1000))
    assert 100 < len(log.records) < 300
    assert "more than 100 log lines" in log.problems[-1].text


def test_a_pipe_is_read_only_where_it_may_be(folder):
    pipe = folder / "result_0.txt"
    os.mkfifo(pipe)
    with pytest.raises(Unreadable, match="something else"):
        read_log(pipe)
    with subprocess.Popen([sys.executable, "-c", f"open({str(pipe)!r}, 'wb').write({GOOD!r} + b'\\n')"]):
        assert len(read_log(pipe, pipes=True).records) == 1
    pipe.unlink()


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "missing", "a\0b"])
def test_what_is_no_file_is_told(folder, path):
    with pytest.raises(Unreadable):
        read_log(folder / path)


@pytest.mark.seconds
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory of a process is read from /proc")
def test_a_line_of_a_gigabyte_through_a_pipe_takes_neither_time_nor_memory():
    reader = ("import re, time; from pathlib import Path; from laptime.log.read import read_log\n"
              "start = time.process_time(); log = read_log(Path('/dev/stdin'), pipes=True)\n"
              "print(time.process_time() - start, int(re.search(r'VmHWM:\\s*(\\d+)', Path('/proc/self/status').read_text())[1]) / 1024, log.problems[0].text)")
    writer = "import sys; [sys.stdout.buffer.write(b':::MLLOG ' + b'x' * 2**20) for _ in range(1024)]"
    with subprocess.Popen([sys.executable, "-c", writer], stdout=subprocess.PIPE) as source:
        done = subprocess.run([sys.executable, "-c", reader], stdin=source.stdout, capture_output=True, text=True, check=True)
    seconds, mebibytes, words = done.stdout.split(" ", 2)
    assert "longer than 16 MiB" in words
    assert float(seconds) < 5
    assert float(mebibytes) < 150
