"""Data: bags, the published layout byte for byte, reading across days and ranks, bad input, the generator."""

import hashlib
import io
import shutil
import zipfile

import numpy as np
import pytest
import torch

from laptime.config import override
from laptime.errors import DataProblem, DataTouchedTooEarly
from laptime.suite.dlrm_dcnv2 import published
from laptime.suite.dlrm_dcnv2.clicks import LOGARITHMS, Teacher, day_sizes, drawn_counts, drawn_ids, write_published
from laptime.suite.dlrm_dcnv2.config import full, mini, smoke
from laptime.suite.dlrm_dcnv2.data import EvalBatches, TrainBatches, generate, prepare, sizes, synthetic_batches
from laptime.suite.dlrm_dcnv2.multi_hot import bag_tables
from laptime.suite.dlrm_dcnv2.reader import Clicks, Day, open_day
from laptime.training.data.store import Manifest, Store
from laptime.training.distributed.world import World
from laptime.training.nn.embedding_tables import starts_of

ALONE = World(0, 1, torch.device("cpu"))
TINY = override(smoke(), ["global_batch_size=2", "model.dense_features=2", "model.rows=5,3,4", "model.bags=2,1,3",
                          "data.days=3", "data.train_samples=5", "data.eval_samples=2", "data.eval_batch_size=4"])
DAYS = (3, 2, 3)  # samples of each; the last day's first half, rounded up, is for evaluation
ROWS, BAGS = TINY.model.rows, TINY.model.bags


def npy(array):
    """The bytes of an .npy file of version 1.0, put together by hand."""
    header = f"{{'descr': '{array.dtype.str}', 'fortran_order': False, 'shape': {array.shape}, }}"
    header += " " * (-(10 + len(header) + 1) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + array.tobytes()


def samples(day):
    """dense, labels and bags of a day, all different."""
    n, base = DAYS[day], 10 * day
    dense = (np.arange(2 * n, dtype="<f4") + base).reshape(n, 2)
    labels = (np.arange(n, dtype="<i4")[:, None] + day) % 2
    bags = [((np.arange(n * h) + day + k) % rows).astype("<i4").reshape(n, h)
            for k, (rows, h) in enumerate(zip(ROWS, BAGS, strict=True))]
    return dense, labels.astype("<i4"), bags


def write_day(folder, day):
    dense, labels, bags = samples(day)
    (folder / f"day_{day}_dense.npy").write_bytes(npy(dense))
    (folder / f"day_{day}_labels.npy").write_bytes(npy(labels))
    with zipfile.ZipFile(folder / f"day_{day}_sparse_multi_hot.npz", "w", zipfile.ZIP_STORED) as archive:
        for k, bag in enumerate(bags):
            archive.writestr(f"{k}.npy", npy(bag))


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    for day in range(3):
        write_day(folder, day)
    return folder


@pytest.fixture
def root(source, tmp_path):
    prepare(TINY, source, tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def store(root):
    opened = Store.open(root)
    opened.unlock()
    return opened


def expected_rows(days):
    """Flat rows of all samples of some days, the plain way."""
    starts = (0, 5, 8)
    return np.concatenate([np.concatenate([bag + start for bag, start in zip(samples(day)[2], starts, strict=True)], axis=1)
                           for day in days])


# --- bags ---

def test_bags_are_those_of_the_legacy_generator_with_seed_zero():
    """The first numbers of numpy's legacy stream: np.random.seed(0); np.random.randint(0, 5, (5, 1)), (3, 0), (4, 2)."""
    first, second, third = bag_tables(ROWS, BAGS)
    assert first.tolist() == [[0, 4], [1, 0], [2, 3], [3, 3], [4, 3]]
    assert second.tolist() == [[0], [1], [2]]
    assert third[:, 0].tolist() == [0, 1, 2, 3]
    stream = np.random.RandomState(0)
    stream.randint(0, 5, size=(5, 1))
    assert np.array_equal(third[:, 1:], stream.randint(0, 4, size=(4, 2)))


def test_one_hot_days_become_the_bags_of_their_ids(source, tmp_path):
    ids = np.array([[4, 2, 0], [1, 0, 3]], "<i4")
    (source / "day_1_sparse_multi_hot.npz").unlink()
    (source / "day_1_sparse.npy").write_bytes(npy(ids))
    prepare(TINY, source, tmp_path / "root")
    tables = list(bag_tables(ROWS, BAGS))
    with np.load(tmp_path / "root" / "day_1_sparse_multi_hot.npz") as archive:
        assert archive.files == ["0", "1", "2"]
        for k, table in enumerate(tables):
            assert np.array_equal(archive[str(k)], table[ids[:, k]])
            assert archive[str(k)].dtype == np.int32


def test_written_archive_is_read_by_numpy_and_by_us_and_is_equal_each_time(tmp_path, monkeypatch):
    monkeypatch.setattr(published, "CHUNK", 2)
    table = np.arange(12, dtype=np.int32).reshape(4, 3)
    for name in ("a.npz", "b.npz"):
        published.write_members(tmp_path / name, [published._Expanded(np.array([3, 0, 1, 1, 2]), table)])
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert np.load(tmp_path / "a.npz")["0"].tolist() == table[[3, 0, 1, 1, 2]].tolist()


# --- the published layout ---

def test_published_files_become_batches_in_file_order_across_days(store):
    """Eight samples in the published bytes, through checks, memory maps, batching and row numbers."""
    batches = [batch.micro[0] for batch in TrainBatches(store, TINY, ALONE)(1)]
    rows = expected_rows((0, 1))
    assert [len(batch.labels) for batch in batches] == [2, 2]  # the fifth sample is no whole batch
    assert np.array_equal(torch.cat([batch.lookups.flat_NL for batch in batches]), rows[:4])
    dense = np.concatenate([samples(day)[0] for day in (0, 1)])
    labels = np.concatenate([samples(day)[1] for day in (0, 1)])[:, 0]
    assert torch.cat([batch.dense for batch in batches]).tolist() == dense[:4].tolist()
    assert torch.cat([batch.labels for batch in batches]).tolist() == labels[:4].tolist()
    assert all(set(batch.lookups.flat_NL.reshape(-1).tolist()) == set(batch.lookups.grouping.rows.tolist()) for batch in batches)


def test_every_epoch_is_the_same_pass(store):
    reader = TrainBatches(store, TINY, ALONE)
    passes = [torch.cat([batch.micro[0].dense for batch in reader(epoch)]).tolist() for epoch in (1, 2)]
    assert passes[0] == passes[1]


def test_evaluation_is_the_first_half_of_the_last_day_rounded_up(store):
    (batch,) = EvalBatches(store, TINY, ALONE)
    assert batch.valid.tolist() == [True, True, False, False]
    assert batch.dense[:2].tolist() == samples(2)[0][:2].tolist()
    assert batch.labels[:2].tolist() == samples(2)[1][:2, 0].tolist()
    assert np.array_equal(batch.lookups.flat_NL[:2], expected_rows((2,))[:2])
    assert batch.lookups.grouping is None


def test_ranks_share_samples_and_own_whole_tables(store):
    """Each rank has half of the samples, and of its tables the rows of all of them."""
    worlds = [World(rank, 2, torch.device("cpu")) for rank in range(2)]
    readers = [TrainBatches(store, TINY, world) for world in worlds]
    assert sorted((*readers[0].tables, *readers[1].tables)) == [0, 1, 2]
    (whole, *_), *parts = (list(TrainBatches(store, TINY, world)(1)) for world in (ALONE, *worlds))
    pieces = [batches[0].micro[0] for batches in parts]
    assert torch.equal(torch.cat([piece.labels for piece in pieces]), whole.micro[0].labels)
    columns = {k: slice(start, start + bag) for k, (start, bag) in enumerate(zip(starts_of(BAGS), BAGS, strict=True))}
    for reader, piece in zip(readers, pieces, strict=True):
        ids = [whole.micro[0].lookups.flat_NL[:, columns[k]] - starts_of(ROWS)[k] for k in reader.tables]
        own = torch.cat([one + start for one, start in zip(ids, reader.starts, strict=True)], dim=1)
        assert torch.equal(piece.lookups.flat_NL, own)


def test_ranks_evaluate_every_sample_once_in_equally_many_batches(store):
    parts = [list(EvalBatches(store, TINY, World(rank, 2, torch.device("cpu")))) for rank in range(2)]
    assert [len(part) for part in parts] == [1, 1]
    counted = [dense for part in parts for batch in part for dense in batch.dense[batch.valid].tolist()]
    assert counted == samples(2)[0][:2].tolist()


def test_micro_batches_make_up_the_batch(store):
    halves = override(TINY, ["parallel.accumulation_steps=2"])
    whole, (first, second) = next(iter(TrainBatches(store, TINY, ALONE)(1))).micro[0], next(iter(TrainBatches(store, halves, ALONE)(1))).micro
    assert torch.equal(torch.cat([first.lookups.flat_NL, second.lookups.flat_NL]), whole.lookups.flat_NL)
    assert torch.equal(torch.cat([first.dense, second.dense]), whole.dense)


def test_data_stays_locked_until_the_clock_runs(root):
    with pytest.raises(DataTouchedTooEarly):
        next(iter(TrainBatches(Store.open(root), TINY, ALONE)(1)))
    with pytest.raises(DataTouchedTooEarly):
        next(iter(EvalBatches(Store.open(root), TINY, ALONE)))


def test_files_are_taken_unchanged_and_hashed_by_content(source, root):
    manifest = Manifest.load(root)
    assert len(manifest.files) == 9
    for name in manifest.files:
        assert (root / name).read_bytes() == (source / name).read_bytes()
    digest = hashlib.blake2b(digest_size=16)
    for day in range(3):
        dense, labels, bags = samples(day)
        for array in (dense, labels, *bags):
            digest.update(array.tobytes())
    assert manifest.content_hash == digest.hexdigest()


def test_files_are_copied_where_they_cannot_be_linked(source, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("another file system")

    monkeypatch.setattr(published.os, "link", refuse)
    prepare(TINY, source, tmp_path / "root")
    assert (tmp_path / "root" / "day_0_dense.npy").stat().st_ino != (source / "day_0_dense.npy").stat().st_ino


def test_sizes_count_whole_batches_of_one_pass(store):
    found = sizes(TINY, store.metadata)
    assert (found.train_samples, found.eval_samples, found.samples_per_epoch, found.limit_samples) == (5, 2, 4, 4)


def test_data_of_another_configuration_is_refused(store):
    with pytest.raises(DataProblem, match=r"expected rows=13 by the configuration, found 12"):
        sizes(override(TINY, ["model.rows=5,3,5"]), store.metadata)


# --- bad input ---

def without(name):
    return lambda folder: (folder / name).unlink()


def cut(name, count=3):
    def damage(folder):
        (folder / name).write_bytes((folder / name).read_bytes()[:-count])
    return damage


def replaced(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def archive(compression, arrays):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as made:
        for name, array in arrays.items():
            made.writestr(name, npy(array))
    return buffer.getvalue()


def bags_of(day, **changes):
    return {f"{k}.npy": changes.get(f"k{k}", bag) for k, bag in enumerate(samples(day)[2])}


DAMAGES = {
    "dense missing": (without("day_1_dense.npy"), r"day_1_dense.npy is missing"),
    "labels missing": (without("day_0_labels.npy"), r"day_0_labels.npy is missing"),
    "bags missing": (without("day_2_sparse_multi_hot.npz"), r"day_2_sparse_multi_hot.npz is missing"),
    "dense cut": (cut("day_1_dense.npy"), r"day_1_dense.npy is missing or damaged .*cut short: expected 16 bytes of values, found 13"),
    "dense header cut": (replaced("day_1_dense.npy", b"\x93NUMPY\x01"), r"day_1_dense.npy is missing or damaged"),
    "dense empty": (replaced("day_1_dense.npy", b""), r"day_1_dense.npy is missing or damaged"),
    "dense no array": (replaced("day_1_dense.npy", b"x" * 400), r"day_1_dense.npy is missing or damaged"),
    "dense of other type": (replaced("day_1_dense.npy", npy(np.zeros((2, 2)))), r"expected float32 of \(n, 2\) in .*day_1_dense.npy, found float64"),
    "dense of other width": (replaced("day_1_dense.npy", npy(np.zeros((2, 3), "<f4"))), r"expected float32 of \(n, 2\) .*found float32 of \(2, 3\)"),
    "dense of other count": (replaced("day_1_dense.npy", npy(np.zeros((1, 2), "<f4"))), r"expected 2 samples in .*day_1_dense.npy as in day_1_labels.npy, found 1"),
    "dense not finite": (replaced("day_1_dense.npy", npy(np.full((2, 2), np.nan, "<f4"))), r"finite numbers in day_1_dense.npy"),
    "label of two": (replaced("day_1_labels.npy", npy(np.full((2, 1), 2, "<i4"))), r"labels 0 and 1 in day_1_labels.npy"),
    "archive cut": (cut("day_0_sparse_multi_hot.npz"), r"day_0_sparse_multi_hot.npz is missing or damaged"),
    "archive compressed": (replaced("day_0_sparse_multi_hot.npz", archive(zipfile.ZIP_DEFLATED, bags_of(0))), r"0.npy is compressed"),
    "archive lacks a feature": (replaced("day_0_sparse_multi_hot.npz", archive(zipfile.ZIP_STORED, dict(list(bags_of(0).items())[:2]))), r"no item named '2.npy'"),
    "bag of other count": (replaced("day_0_sparse_multi_hot.npz", archive(zipfile.ZIP_STORED, bags_of(0, k1=np.zeros((2, 1), "<i4")))), r"expected 3 samples in .*day_0_sparse_multi_hot.npz"),
    "bag of other size": (replaced("day_0_sparse_multi_hot.npz", archive(zipfile.ZIP_STORED, bags_of(0, k1=np.zeros((3, 2), "<i4")))), r"expected int32 of \(n, 1\) in .*1.npy"),
    "id too large": (replaced("day_0_sparse_multi_hot.npz", archive(zipfile.ZIP_STORED, bags_of(0, k1=np.full((3, 1), 3, "<i4")))), r"expected ids from 0 to 2 in day_0_sparse_multi_hot.npz, 1.npy, found 3 to 3"),
    "id negative": (replaced("day_0_sparse_multi_hot.npz", archive(zipfile.ZIP_STORED, bags_of(0, k1=np.full((3, 1), -1, "<i4")))), r"found -1 to -1"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_source_is_refused_by_name(source, tmp_path, damage):
    make, says = DAMAGES[damage]
    make(source)
    with pytest.raises(DataProblem, match=says) as found:
        prepare(TINY, source, tmp_path / "root")
    assert found.value.hint
    assert not (tmp_path / "root" / "manifest.json").exists()


@pytest.mark.parametrize(("change", "says"), [
    ("data.train_samples=6", "expected 6 samples in days 0 to 1 of .*, found 5"),
    ("data.eval_samples=3", "expected 3 samples in the first half of day 2 of .*, found 2"),
    ("data.days=4", "day_3_dense.npy is missing")])
def test_source_of_other_counts_is_refused(source, tmp_path, change, says):
    with pytest.raises(DataProblem, match=says):
        prepare(override(TINY, [change]), source, tmp_path / "root")


@pytest.mark.parametrize(("content", "says"), [
    (npy(np.full((3, 3), 4, "<i4")), r"ids from 0 to 2 in .*day_0_sparse.npy, column 1, found 4 to 4"),
    (npy(np.zeros((3, 2), "<i4")), r"expected int32 of \(n, 3\)"), (npy(np.zeros((3, 3), "<i4"))[:-2], "cut short")])
def test_damaged_one_hot_file_is_refused(source, tmp_path, content, says):
    (source / "day_0_sparse_multi_hot.npz").unlink()
    (source / "day_0_sparse.npy").write_bytes(content)
    with pytest.raises(DataProblem, match=says):
        prepare(TINY, source, tmp_path / "root")


def test_prepared_file_that_shrank_is_refused_in_the_run(store, root):
    path = root / "day_1_sparse_multi_hot.npz"
    data = path.read_bytes()
    path.unlink()  # the source is linked
    path.write_bytes(data[:-40])
    with pytest.raises(DataProblem, match=r"day_1_sparse_multi_hot.npz is missing or damaged"):
        next(iter(TrainBatches(store, TINY, ALONE)(1)))


def test_manifest_tells_of_a_changed_file(root):
    from laptime.training.data.store import problems

    path = root / "day_0_dense.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.unlink()
    path.write_bytes(bytes(data))
    assert [p for p in problems(root, Manifest.load(root), full=True) if "day_0_dense.npy has checksum" in p]


def test_samples_that_are_not_there_are_refused(root):
    days = [open_day(lambda name: root / name, 0, TINY.model)]
    with pytest.raises(DataProblem, match="expected 4 samples, found 3"):
        Clicks(days, 4)


# --- generated clicks, faults, warm-up ---

def test_generated_data_depend_on_the_seed_only(tmp_path):
    config = override(smoke(), ["data.train_samples=300", "data.eval_samples=40"])
    (tmp_path / "a" / "published-left").mkdir(parents=True)  # by an interrupted call
    hashes = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        generate(config, tmp_path / name, seed)
        hashes.append(Manifest.load(tmp_path / name).content_hash)
    assert hashes[0] == hashes[1] != hashes[2]
    assert not list((tmp_path / "a").glob("published-*"))


def test_generated_data_are_those_of_every_machine(tmp_path):
    config = override(smoke(), ["data.train_samples=300", "data.eval_samples=40"])
    generate(config, tmp_path, 1)
    assert Manifest.load(tmp_path).content_hash == "a8163925245c670c315cd94c0b737f0f"


def test_generated_days_have_the_one_hot_layout(tmp_path):
    config = override(smoke(), ["data.train_samples=301", "data.eval_samples=40"])
    write_published(config, tmp_path, 1)
    assert day_sizes(config) == [150, 151, 80]
    assert sorted(path.name for path in tmp_path.iterdir() if "day_0" in path.name) == ["day_0_dense.npy", "day_0_labels.npy", "day_0_sparse.npy"]
    shapes = [np.load(tmp_path / f"day_1_{kind}.npy") for kind in ("dense", "labels", "sparse")]
    assert [(a.dtype.str, a.shape) for a in shapes] == [("<f4", (151, 13)), ("<i4", (151, 1)), ("<i4", (151, 26))]
    assert set(np.unique(shapes[0])) <= set(LOGARITHMS)


def test_joint_effect_is_seen_by_no_single_feature():
    """Without a main effect, each id's share of clicks is that of all, while the truth tells clicks well apart."""
    config = override(mini(), ["data.main_effect=0"])
    teacher, count = Teacher.of(config, 3), 20000
    ids = drawn_ids(config, 3, 0, count)
    p = teacher.probabilities(ids, drawn_counts(config, 3, 0, count))
    assert p.std() > 0.2
    for k in (0, 5, 13, 25):
        shares = [p[ids[:, k] == one].mean() for one in range(3)]
        assert max(abs(share - p.mean()) for share in shares) < 0.05


def test_shuffled_labels_are_the_same_labels(store):
    fault = override(TINY, ["data.shuffle_labels=true", "global_batch_size=1"])
    labels = torch.cat([batch.micro[0].labels for batch in TrainBatches(store, fault, ALONE)(1)])
    assert sorted(labels.tolist()) == sorted(np.concatenate([samples(day)[1] for day in (0, 1)])[:, 0].tolist())


@pytest.mark.parametrize("config", [smoke(), override(full(), ["model.rows=" + ",".join(["70000"] * 26), "global_batch_size=64"])])
def test_synthetic_batches_have_the_real_shapes_and_legal_rows(config):
    micro = next(synthetic_batches(config, ALONE)).micro[0]
    assert micro.dense.shape == (config.global_batch_size, 13)
    assert micro.lookups.flat_NL.shape == (config.global_batch_size, sum(config.model.bags))
    assert 0 <= micro.lookups.flat_NL.min() <= micro.lookups.flat_NL.max() < sum(config.model.rows)


def test_clicks_read_single_days_and_several(root):
    days = [open_day(lambda name: root / name, day, TINY.model) for day in range(2)]
    clicks = Clicks(days, 5)
    assert isinstance(days[0], Day)
    for start, stop in ((0, 5), (2, 4), (3, 5), (0, 3)):
        assert np.array_equal(clicks.flat(start, stop, (0, 1, 2), (0, 5, 8)), expected_rows((0, 1))[start:stop])
        assert len(clicks.dense(start, stop)) == len(clicks.labels(start, stop)) == stop - start


def test_source_may_be_prepared_twice(source, root):
    before = Manifest.load(root)
    prepare(TINY, source, root)
    assert Manifest.load(root) == before
    shutil.rmtree(source)
    assert (root / "day_0_dense.npy").stat().st_size > 0


def test_file_of_an_earlier_data_set_does_not_stand_in_for_a_missing_one(source, root):
    (source / "day_1_dense.npy").unlink()
    with pytest.raises(DataProblem, match=r"day_1_dense\.npy is missing"):
        prepare(TINY, source, root)


def test_source_that_is_the_data_folder_is_refused_and_stays(source):
    with pytest.raises(DataProblem, match="another folder than the prepared data"):
        prepare(TINY, source, source)
    assert len(list(source.iterdir())) == 9
