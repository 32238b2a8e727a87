"""The three doors to a data set, its manifest, and what may be wrong with its files."""

import json
import multiprocessing
import pickle
from pathlib import Path

import pytest

from laptime.errors import DataProblem, DataTouchedTooEarly
from laptime.training.data.store import MANIFEST, FileEntry, Manifest, Store, checksum, entries, problems


@pytest.fixture
def root(tmp_path):
    """A data set of two files."""
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "train.bin").write_bytes(b"0123456789")
    (folder / "start.pt").write_bytes(b"weights")
    (tmp_path / "secret").write_text("outside")
    files = entries(folder, ["train.bin"]) | entries(folder, ["start.pt"], "weights")
    Manifest("numbers", "tests 1", "abcd", {"train_samples": 10, "share": 0.5, "flag": True}, files).save(folder)
    return folder


def test_metadata_and_weights_are_open_and_data_is_locked(root):
    store = Store.open(root)
    assert store.metadata.count("train_samples") == 10
    assert store.weights("start.pt").read_bytes() == b"weights"
    with pytest.raises(DataTouchedTooEarly, match=r"'train\.bin' was asked for before the clock ran"):
        store.data("train.bin")


def test_unlocked_store_gives_data(root):
    store = Store.open(root)
    store.unlock()
    assert store.data("train.bin").read_bytes() == b"0123456789"


def test_lock_hides_whether_a_file_exists(root):
    with pytest.raises(DataTouchedTooEarly):
        Store.open(root).data("nowhere.bin")


def try_data(store: Store, answers) -> None:
    """In another process: what the data door says."""
    try:
        answers.put(store.data("train.bin").read_bytes())
    except DataTouchedTooEarly:
        answers.put("locked")


def test_lock_survives_pickling_both_ways(root):
    store = Store.open(root)
    with pytest.raises(DataTouchedTooEarly):
        pickle.loads(pickle.dumps(store)).data("train.bin")
    store.unlock()
    assert pickle.loads(pickle.dumps(store)).data("train.bin").is_file()


@pytest.mark.seconds
def test_lock_survives_the_way_into_a_worker_process(root):
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    worker = context.Process(target=try_data, args=(Store.open(root), answers))
    worker.start()
    try:
        assert answers.get(timeout=60) == "locked"
    finally:
        worker.join(60)


@pytest.mark.parametrize("name", ["../secret", "nowhere.bin", "", ".", "/etc/hostname", "start.pt", "./train.bin",
                                  "x/../train.bin", MANIFEST, "train.bin\x00"])
def test_data_file_that_is_not_listed_is_refused(root, name):
    store = Store.open(root)
    store.unlock()
    with pytest.raises(DataProblem, match="lists no data file"):
        store.data(name)


@pytest.mark.parametrize("name", ["train.bin", "../secret", "nowhere.pt"])
def test_weights_door_gives_weights_only(root, name):
    with pytest.raises(DataProblem, match="lists no weights file"):
        Store.open(root).weights(name)


def test_paths_are_those_of_every_file(root):
    assert sorted(Store.open(root).paths()) == [root / "start.pt", root / "train.bin"]


def test_manifest_is_read_as_it_was_written(root):
    manifest = Manifest.load(root)
    assert manifest == Manifest("numbers", "tests 1", "abcd", {"train_samples": 10, "share": 0.5, "flag": True},
                                {"start.pt": FileEntry(7, checksum(root / "start.pt"), "weights"),
                                 "train.bin": FileEntry(10, checksum(root / "train.bin"))})


@pytest.mark.parametrize("name", ["missing", "share", "flag"])
def test_count_that_is_no_whole_number_is_refused(root, name):
    with pytest.raises(DataProblem, match=f"expected a whole number '{name}'"):
        Manifest.load(root).count(name)


def altered(**changes):
    """A manifest's text with fields replaced; None: left out."""
    content = {"name": "n", "generator": "g", "content_hash": "c", "facts": {}, "files": {"a": [1, "c", "data"]}}
    return json.dumps({name: value for name, value in (content | changes).items() if value is not None})


DAMAGED = {
    "empty": "", "text": "hello", "half": '{"name": "n", "facts": {', "list": "[]", "number": "5", "null": "null",
    "deep": "[" * 100_000, "no name": altered(name=None), "no files": altered(files=None), "no facts": altered(facts=None),
    "files are a list": altered(files=["a"]), "facts are a list": altered(facts=[1]), "facts are text": altered(facts="x"),
    "entry too short": altered(files={"a": [1, "c"]}), "entry too long": altered(files={"a": [1, "c", "data", 4]}),
    "entry is null": altered(files={"a": None}), "size is a word": altered(files={"a": ["x", "c", "data"]}),
    "leaves the folder": altered(files={"../secret": [1, "c", "data"]}),
    "leaves and returns": altered(files={"x/../../secret": [1, "c", "data"]}),
    "absolute": altered(files={"/etc/hostname": [1, "c", "data"]}), "no file name": altered(files={"": [1, "c", "data"]}),
}


def test_altered_manifest_without_changes_is_sound(root):
    (root / MANIFEST).write_text(altered())
    assert list(Manifest.load(root).files) == ["a"]


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_damaged_manifest_is_said_to_be_damaged_in_one_line(root, text):
    (root / MANIFEST).write_text(text)
    with pytest.raises(DataProblem, match=r"manifest\.json is damaged") as error:
        Manifest.load(root)
    assert "\n" not in str(error.value)
    assert "prepare --force" in error.value.hint


def test_binary_manifest_is_said_to_be_damaged(root):
    (root / MANIFEST).write_bytes(bytes(range(256)))
    with pytest.raises(DataProblem, match="is damaged"):
        Manifest.load(root)


@pytest.mark.parametrize("place", ["nowhere", "set/nowhere"])
def test_missing_manifest_says_how_to_make_the_data(tmp_path, root, place):
    with pytest.raises(DataProblem, match="no prepared data at") as error:
        Store.open(tmp_path / place)
    assert "laptime prepare" in error.value.hint


def test_folder_in_place_of_a_manifest_is_damage(root):
    (root / MANIFEST).unlink()
    (root / MANIFEST).mkdir()
    with pytest.raises(DataProblem, match="is damaged"):
        Manifest.load(root)


def found(root: Path, *, full: bool) -> list[str]:
    return list(problems(root, Manifest.load(root), full=full))


def test_sound_files_have_no_problems(root):
    assert found(root, full=True) == []


def test_problems_are_missing_size_and_checksum(root):
    (root / "train.bin").write_bytes(b"0123456780")
    assert found(root, full=False) == []
    (one,) = found(root, full=True)
    assert one.startswith(f"{root / 'train.bin'} has checksum ")
    (root / "train.bin").write_bytes(b"012345678")
    assert found(root, full=False) == [f"{root / 'train.bin'} has 9 bytes, expected 10"]
    (root / "train.bin").unlink()
    assert found(root, full=True) == [f"{root / 'train.bin'} is missing"]
    (root / "train.bin").mkdir()
    (root / "start.pt").unlink()
    assert len(found(root, full=False)) == 2


def test_checksum_is_blake2b_of_128_bits(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    # printf abc | b2sum -l 128
    assert checksum(tmp_path / "a") == "cf4ab791c62b8d2b2109c90275287816"
