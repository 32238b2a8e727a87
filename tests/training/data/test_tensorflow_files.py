"""TensorFlow's file formats: checksums, protocol buffers, records and checkpoints, written, read and damaged."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laptime.errors import DataProblem
from laptime.training.data import tf_checkpoint
from laptime.training.data.crc32c import BLOCK, crc32c, masked
from laptime.training.data.protobuf import fields, message, number, packed_varints, varint
from laptime.training.data.tfrecord import example, parse, records, write_records


@pytest.mark.parametrize(("data", "expected"), [  # RFC 3720, appendix B.4; "123456789" is the usual check value
    (b"", 0), (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E)])
def test_crc32c_has_the_published_values(data, expected):
    assert crc32c(data) == expected


def bit_by_bit(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize("size", [1, 3, 4, 5, BLOCK - 1, BLOCK, BLOCK + 1, BLOCK + 3, 2 * BLOCK + 7])
def test_crc32c_equals_the_bitwise_definition_at_every_block_edge(size):
    data = np.random.Generator(np.random.Philox(size)).bytes(size)
    assert crc32c(data) == bit_by_bit(data)


def test_masked_checksum_is_turned_and_shifted():
    assert masked(b"123456789") == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF


@given(st.lists(st.integers(0, 2**63 - 1), max_size=20))
def test_packed_numbers_survive(numbers):
    assert packed_varints(b"".join(map(varint, numbers))).tolist() == numbers


def test_negative_numbers_take_ten_bytes_as_the_format_says():
    assert packed_varints(b"\xff" * 9 + b"\x01").tolist() == [-1]


@pytest.mark.parametrize("data", [b"\x80", b"\x0a\x05ab", b"\x0b", b"\x09\x01\x02", b"\xff" * 11])
def test_damaged_messages_are_refused(data):
    with pytest.raises(ValueError, match=r"cut short|kind"):
        list(fields(data))


def test_example_survives_and_its_bytes_are_the_published_ones():
    features = {"ids": np.array([1, 300], np.int64), "w": np.array([0.5], np.float32), "b": [b"xy", b""]}
    found = parse(example(features))
    assert found["b"] == [b"xy", b""]
    assert [found["ids"].tolist(), found["w"].tolist()] == [[1, 300], [0.5]]
    # by hand from the .proto files: Example.features(1) { map entry(1) { key(1) "ids", value(2) { int64_list(3) { packed(1) }}}}
    assert example({"ids": features["ids"]}).hex() == "0a100a0e0a03696473" + "12071a050a0301ac02"


def test_numbers_that_are_not_packed_are_read_too():
    unpacked = message(3, number(1, 7) + number(1, 8))
    entry = message(1, message(1, message(1, b"n") + message(2, unpacked)))
    assert parse(entry)["n"].tolist() == [7, 8]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "part-00000-of-00001"
    assert write_records(path, [b"first", b"", b"third"]) == 3
    return path


def test_records_survive_and_have_the_published_layout(file):
    assert list(records(file)) == [b"first", b"", b"third"]
    data = file.read_bytes()
    assert data[:8] == struct.pack("<Q", 5)
    assert data[8:12] == struct.pack("<I", masked(data[:8]))
    assert data[12:17] == b"first"


@pytest.mark.parametrize(("damage", "says"), [
    (lambda d: d[:-3], "record 2 of .* is cut short"),
    (lambda d: d[:5], "record 0 of .* is cut short"),
    (lambda d: d[:14] + b"X" + d[15:], "record 0 of .* has another checksum"),
    (lambda d: b"\x06" + d[1:], "record 0 of .* begins with a damaged length")])
def test_damaged_records_say_where(file, damage, says):
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataProblem, match=says):
        list(records(file))


def test_missing_record_file_is_named(tmp_path):
    with pytest.raises(DataProblem, match=r"cannot read .*absent"):
        list(records(tmp_path / "absent"))


@pytest.fixture
def prefix(tmp_path):
    path = tmp_path / "model.ckpt-7"
    tf_checkpoint.write(path, {"a/kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.float32),
                               "scalar": np.float32(3)[...]})
    return path


def test_checkpoint_survives(prefix):
    checkpoint = tf_checkpoint.Checkpoint(prefix)
    assert checkpoint["a/kernel"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert checkpoint["scalar"].shape == ()
    assert sorted(checkpoint.entries) == ["a/kernel", "b", "scalar"]


def test_keys_that_share_prefixes_are_read(tmp_path):
    """TensorFlow writes only what differs from the key before; our writer does not."""
    prefix = tmp_path / "m"
    tf_checkpoint.write(prefix, {"layer/bias": np.ones(1, np.float32), "layer/kernel": np.zeros(1, np.float32)})
    entries = list(tf_checkpoint._pairs(tf_checkpoint._opened(prefix.with_name("m.index").read_bytes(), 0, block_size(prefix))))
    (key1, value1), (key2, value2) = entries[1:]
    block = b"".join([b"\0\0" + varint(len(entries[0][1])) + entries[0][1],
                      varint(0) + varint(len(key1)) + varint(len(value1)) + key1 + value1,
                      varint(6) + varint(len(key2) - 6) + varint(len(value2)) + key2[6:] + value2]) + struct.pack("<II", 0, 1)
    assert list(tf_checkpoint._pairs(block)) == entries


def block_size(prefix):
    """Size of the first block: the index block's only value is its handle."""
    table = prefix.with_name(f"{prefix.name}.index").read_bytes()
    _, at = tf_checkpoint._handle(table[-48:], 0)
    (start, size), _ = tf_checkpoint._handle(table[-48:], at)
    ((_, value),) = tf_checkpoint._pairs(tf_checkpoint._opened(table, start, size))
    return tf_checkpoint._handle(value, 0)[0][1]


@pytest.mark.parametrize(("ending", "damage", "says"), [
    (".index", lambda d: d[:-1], "does not end as an index does"),
    (".index", lambda d: d[:20] + bytes([d[20] ^ 1]) + d[21:], "another checksum"),
    (".data-00000-of-00001", lambda d: d[:10], "expected .* bytes of tensor"),
    (".data-00000-of-00001", lambda d: b"\x01" + d[1:], "tensor 'a/kernel' .* another checksum"),
    (".data-00000-of-00001", lambda d: b"", "empty")])
def test_damaged_checkpoints_say_where(prefix, ending, damage, says):
    path = prefix.with_name(prefix.name + ending)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataProblem, match=says):
        [tf_checkpoint.Checkpoint(prefix)[name] for name in ("a/kernel", "b")]


def test_missing_checkpoint_and_tensor_are_named(prefix, tmp_path):
    with pytest.raises(DataProblem, match=r"cannot read the checkpoint .*nothing.index"):
        tf_checkpoint.Checkpoint(tmp_path / "nothing")
    with pytest.raises(DataProblem, match=r"'c' in .*model.ckpt-7.index"):
        tf_checkpoint.Checkpoint(prefix)["c"]
