import numpy as np
import pytest

from laptime.errors import DataProblem, DataTouchedTooEarly
from laptime.training.data.shards import (
    ROW,
    Sample,
    Shards,
    finished_shard,
    forget_rows,
    index_name,
    join_index,
    shard_name,
    write_shard,
)
from laptime.training.data.store import Manifest, Store, entries, problems

SAMPLES = [Sample(bytes([i]) * (i + 1), i % 3, 10 + i, 20 + i) for i in range(5)]


def made(root):
    write_shard(root, "train", 0, SAMPLES[:3])
    write_shard(root, "train", 1, SAMPLES[3:])
    names = join_index(root, "train", 2)
    forget_rows(root)
    Manifest("x", "test", "", {}, entries(root, names)).save(root)
    return Store.open(root)


def test_what_was_written_is_read_back(tmp_path):
    store = made(tmp_path)
    store.unlock()
    shards = Shards(store, "train")
    assert list(shards) == [sample.data for sample in SAMPLES]
    assert [shards.rows[name].tolist() for name in ("label", "height", "width")] == [
        [0, 1, 2, 0, 1], [10, 11, 12, 13, 14], [20, 21, 22, 23, 24]]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "manifest.json", "train-00000.shard", "train-00001.shard", "train.index.npy"]


def test_shards_stay_shut_behind_the_data_door(tmp_path):
    store = made(tmp_path)
    with pytest.raises(DataTouchedTooEarly, match=r"train\.index\.npy"):
        Shards(store, "train")


def test_an_interrupted_shard_leaves_no_file_under_its_name(tmp_path):
    def failing():
        yield SAMPLES[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(tmp_path, "train", 0, failing())
    assert not (tmp_path / shard_name("train", 0)).exists()
    assert not finished_shard(tmp_path, "train", 0, 1)


@pytest.mark.parametrize("damage", ["rows", "shard", "count"])
def test_a_shard_without_its_rows_or_bytes_is_not_finished(tmp_path, damage):
    write_shard(tmp_path, "train", 0, SAMPLES)
    assert finished_shard(tmp_path, "train", 0, 5)
    if damage == "rows":
        forget_rows(tmp_path)
    if damage == "shard":
        (tmp_path / shard_name("train", 0)).write_bytes(b"short")
    assert not finished_shard(tmp_path, "train", 0, 6 if damage == "count" else 5)


def test_a_shard_cut_short_is_reported_with_the_sample(tmp_path):
    store = made(tmp_path)
    store.unlock()
    (tmp_path / shard_name("train", 1)).write_bytes(b"ab")
    with pytest.raises(DataProblem, match=r"sample 4 \(byte 4 of train-00001\.shard\) lies beyond the end"):
        Shards(store, "train")[4]


def test_a_missing_shard_is_reported_with_its_path(tmp_path):
    store = made(tmp_path)
    store.unlock()
    (tmp_path / shard_name("train", 0)).unlink()
    with pytest.raises(DataProblem, match=r"train-00000\.shard is missing"):
        Shards(store, "train")[0]


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY junk", None])
def test_a_damaged_index_is_reported_with_its_path(tmp_path, content):
    store = made(tmp_path)
    store.unlock()
    if content is None:
        np.save(tmp_path / index_name("train"), np.zeros(3))
    else:
        (tmp_path / index_name("train")).write_bytes(content)
    with pytest.raises(DataProblem, match=r"train\.index\.npy"):
        Shards(store, "train")


def test_a_flipped_byte_is_found_by_its_checksum(tmp_path):
    store = made(tmp_path)
    path = tmp_path / shard_name("train", 0)
    data = bytearray(path.read_bytes())
    data[2] ^= 1
    path.write_bytes(data)
    assert not list(problems(tmp_path, store.metadata, full=False))
    assert ["train-00000.shard has checksum" in line for line in problems(tmp_path, store.metadata, full=True)] == [True]


def test_rows_are_little_endian_on_every_machine():
    assert all(ROW[name].byteorder in ("<", "=") and np.dtype(ROW[name].str).str[0] == "<" for name in ROW.names)
