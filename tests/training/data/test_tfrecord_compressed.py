"""TFRecord files inside a zlib stream."""

import zlib

import pytest

from laptime.errors import DataProblem
from laptime.training.data import tfrecord
from laptime.training.data.tfrecord import records, write_records

CONTENTS = [b"", b"one", b"x" * 70000]


def test_compressed_records_come_back(tmp_path):
    path = tmp_path / "a.zz"
    assert write_records(path, CONTENTS, compressed=True) == 3
    assert path.stat().st_size < 1000
    assert list(records(path, compressed=True)) == CONTENTS


def test_the_stream_holds_a_plain_file(tmp_path):
    packed, plain = tmp_path / "a.zz", tmp_path / "a"
    write_records(packed, CONTENTS, compressed=True)
    write_records(plain, CONTENTS)
    assert zlib.decompress(packed.read_bytes()) == plain.read_bytes()
    assert list(records(plain)) == CONTENTS


@pytest.mark.parametrize("content", [b"", b"no stream", zlib.compress(b"x" * 100)[:-6]])
def test_what_is_no_whole_stream_is_refused(tmp_path, content):
    path = tmp_path / "bad.zz"
    path.write_bytes(content)
    with pytest.raises(DataProblem, match=r"bad\.zz is no whole zlib stream"):
        list(records(path, compressed=True))


def test_a_stream_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tfrecord, "LONGEST", 1000)
    path = tmp_path / "bomb.zz"
    path.write_bytes(zlib.compress(bytes(10**6)))
    with pytest.raises(DataProblem, match="more than 1000 bytes"):
        list(records(path, compressed=True))


def test_a_missing_stream_is_named(tmp_path):
    with pytest.raises(DataProblem, match=r"cannot read .*none\.zz"):
        list(records(tmp_path / "none.zz", compressed=True))
