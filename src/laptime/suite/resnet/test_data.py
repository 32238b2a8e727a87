"""The data path of ResNet: published layout -> shards -> batches."""

import threading
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from laptime.config import override
from laptime.errors import DataProblem, DataTouchedTooEarly, InvalidConfiguration
from laptime.suite.resnet import data, published
from laptime.suite.resnet.config import full, mini
from laptime.suite.resnet.images import centre_axes, resample
from laptime.suite.resnet.reader import Pictures
from laptime.training.data.shards import Shards
from laptime.training.data.store import Manifest, Store
from laptime.training.distributed.world import World
from laptime.training.seeds import Seeds

CPU = torch.device("cpu")
ALONE = World(0, 1, CPU)
SEEDS = Seeds(2024)


def small(*changes):
    return override(mini(), [
        "data.train_images=60", "data.eval_images=22", "data.crop=16", "data.eval_resize=18", "data.image_low=20",
        "data.image_high=40", "data.eval_batch_size=8", "global_batch_size=8", "model.norm_span=8", *changes])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A small generated data set."""
    folder = tmp_path_factory.mktemp("resnet")
    data.generate(small(), folder, 7)
    return folder


@pytest.fixture
def store(root):
    opened = Store.open(root)
    opened.unlock()
    return opened


def batches(store, config, epoch=1, seeds=SEEDS, world=ALONE):
    return list(data.TrainBatches(store, config, seeds, world)(epoch))


def flattened(steps):
    """Each step's images and labels with micro-batches joined."""
    return [tuple(torch.cat(parts) for parts in zip(*step.micro, strict=True)) for step in steps]


# ---------------------------------------------------------------- published layout


def random_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def jpeg_of(mode, kind="JPEG", size=(33, 21), seed=0):
    target = BytesIO()
    smooth = Pillow.fromarray(random_image(4, 4, seed)).resize(size, Pillow.Resampling.BICUBIC)
    smooth.convert(mode).save(target, kind)
    return target.getvalue()


def published_tree(folder: Path) -> Path:
    """Three synsets, not in alphabetical order; one CMYK JPEG, one PNG called JPEG, one grey JPEG."""
    synsets = ["n02", "n01", "n03"]
    contents = {
        "train/n02/n02_1.JPEG": jpeg_of("RGB", seed=1), "train/n02/n02_2.JPEG": jpeg_of("CMYK", seed=2),
        "train/n01/n01_1.JPEG": jpeg_of("RGB", "PNG", seed=3), "train/n01/n01_7.JPEG": jpeg_of("L", seed=4),
        "train/n03/n03_1.JPEG": jpeg_of("RGB", size=(50, 44), seed=5),
    }
    contents |= {f"val/ILSVRC2012_val_{i:08d}.JPEG": jpeg_of("RGB", size=(30 + i, 40), seed=10 + i) for i in range(1, 5)}
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "synsets.txt").write_text("\n".join(synsets) + "\n")
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text("3\n1\n1\n2\n")
    return folder


def tree_config(*changes):
    return small("data.train_images=5", "data.eval_images=4", "model.classes=3", "global_batch_size=2", *changes)


def test_a_published_tree_becomes_batches(tmp_path):
    data.prepare(tree_config(), published_tree(tmp_path / "source"), tmp_path / "data")
    store = Store.open(tmp_path / "data")
    assert dict(store.metadata.facts) == {"train_samples": 5, "eval_samples": 4, "classes": 3}
    assert sorted(path.name for path in store.root.iterdir()) == [
        "eval-00000.shard", "eval.index.npy", "manifest.json", "train-00000.shard", "train.index.npy"]
    store.unlock()
    rows = Shards(store, "train").rows
    assert rows["label"].tolist() == [0, 0, 1, 1, 2]  # by line of synsets.txt, not by the alphabet
    assert (rows["height"].tolist(), rows["width"].tolist()) == ([21] * 4 + [44], [33] * 4 + [50])
    steps = batches(store, tree_config())
    assert [step.global_size for step in steps] == [2, 2]  # the fifth image is the dropped remainder
    assert all(step.micro[0][0].shape == (2, 3, 16, 16) for step in steps)
    (batch,) = data.EvalBatches(store, tree_config(), ALONE)
    assert batch.labels.tolist() == [2, 0, 0, 1, 0, 0, 0, 0]
    assert batch.valid.tolist() == [True] * 4 + [False] * 4


def test_whole_jpegs_are_packed_byte_for_byte_and_others_repaired(tmp_path):
    source = published_tree(tmp_path / "source")
    data.prepare(tree_config(), source, tmp_path / "data")
    store = Store.open(tmp_path / "data")
    store.unlock()
    packed, names = list(Shards(store, "train")), ["n02/n02_1", "n02/n02_2", "n01/n01_1", "n01/n01_7", "n03/n03_1"]
    originals = [(source / "train" / f"{name}.JPEG").read_bytes() for name in names]
    assert [a == b for a, b in zip(packed, originals, strict=True)] == [True, False, False, True, True]
    pictures = Pictures(Shards(store, "train"), 0)
    for i, original in enumerate(originals):
        expected = np.asarray(Pillow.open(BytesIO(original)).convert("RGB")).astype(int)
        assert np.abs(pictures[i] - expected).mean() < 6


def remove(path):
    path.unlink()


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(("damage", "name", "message"), [
    (cut, "train/n02/n02_1.JPEG", r"train/n02/n02_1\.JPEG is truncated"),
    (remove, "train/n02/n02_1.JPEG", "expected 5 training images under .*train, found 4"),
    (remove, "val/ILSVRC2012_val_00000003.JPEG", r"expected a validation image at .*val_00000003\.JPEG, found none"),
    (remove, "synsets.txt", r"expected a list at .*synsets\.txt, found no such file"),
    (lambda p: p.write_text("n02\nn01\n"), "synsets.txt", r"expected 3 synsets in .*synsets\.txt, found 2"),
    (lambda p: p.write_text("n02\nn01\nn99\n"), "synsets.txt", "expected a folder of training images at .*n99, found none"),
    (lambda p: p.write_text("3\n1\n4\n2\n"), published.GROUND_TRUTH, r"number from 1 to 3 at .*truth\.txt:3, found '4'"),
    (lambda p: p.write_text("3\n1\n"), published.GROUND_TRUTH, "expected 4 class numbers in .*, found 2"),
    (lambda p: p.write_bytes(b"\xff\xfe\0"), published.GROUND_TRUTH, "expected lines of text in .*, found binary data"),
    (lambda p: p.write_bytes(b"<html>"), "val/ILSVRC2012_val_00000002.JPEG", r"val_00000002\.JPEG is not a readable image"),
])
def test_a_damaged_published_tree_is_refused_by_name(tmp_path, damage, name, message):
    source = published_tree(tmp_path / "source")
    damage(source / name)
    with pytest.raises(DataProblem, match=message) as caught:
        data.prepare(tree_config(), source, tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data" / "manifest.json").exists()


def test_an_interrupted_reformat_continues_after_its_last_whole_shard(tmp_path, monkeypatch):
    source, target = published_tree(tmp_path / "source"), tmp_path / "data"
    monkeypatch.setattr(published, "SHARD_SAMPLES", 2)
    written, write = [], published.write_shard

    def interrupted(root, part, number, samples):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append((part, number))
        return write(root, part, number, samples)

    monkeypatch.setattr(published, "write_shard", interrupted)
    with pytest.raises(KeyboardInterrupt):
        data.prepare(tree_config(), source, target)
    assert not (target / "manifest.json").exists()
    written.clear()
    monkeypatch.setattr(published, "write_shard", lambda *args: written.append(args[1:3]) or write(*args))
    data.prepare(tree_config(), source, target)
    assert written == [("train", 2), ("eval", 0), ("eval", 1)]
    resumed = Manifest.load(target)
    written.clear()
    data.prepare(tree_config(), source, target)  # asked for again when finished: made anew
    assert len(written) == 5
    assert Manifest.load(target) == resumed


def test_an_interrupted_reformat_of_another_source_starts_again(tmp_path, monkeypatch):
    source, target = published_tree(tmp_path / "source"), tmp_path / "data"
    cut(source / "val/ILSVRC2012_val_00000004.JPEG")
    with pytest.raises(DataProblem, match="truncated"):
        data.prepare(tree_config(), source, target)
    assert (target / "train-00000.shard").exists()
    (source / "train/n03/n03_1.JPEG").write_bytes(jpeg_of("RGB", size=(20, 20)))
    (source / "val/ILSVRC2012_val_00000004.JPEG").write_bytes(jpeg_of("RGB"))
    data.prepare(tree_config(), source, target)
    store = Store.open(target)
    store.unlock()
    assert Shards(store, "train").rows["height"].tolist()[-1] == 20


# ---------------------------------------------------------------- batches


def test_batches_have_the_declared_form(store):
    for steps in (batches(store, small()), list(data.synthetic_batches(small(), ALONE))):
        images, labels = steps[0].micro[0]
        assert images.shape == (8, 3, 16, 16)
        assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert ((labels >= 0) & (labels < 10)).all()
        assert steps[0].global_size == 8
        assert steps[0].micro[0][0].abs().max() < 300


def test_synthetic_evaluation_has_the_form_of_the_real_one(store):
    real, synthetic = next(iter(data.EvalBatches(store, small(), ALONE))), next(
        data.synthetic_eval_batches(small(), ALONE))
    for one, other in zip(real, synthetic, strict=True):
        assert (one.shape, one.dtype, one.stride()) == (other.shape, other.dtype, other.stride())


def test_batches_hold_the_image_minus_the_mean(store):
    config = small("data.augment=false")
    pictures = Pictures(Shards(store, "eval"), 0)
    batch = next(iter(data.EvalBatches(store, config, ALONE)))
    expected = resample(pictures[2], *centre_axes(*pictures[2].shape[:2], resize=18, out=16))
    expected = expected - np.array([123.68, 116.78, 103.94])
    np.testing.assert_allclose(batch.images[2].permute(1, 2, 0), expected, atol=1e-4)


@pytest.mark.parametrize(("ranks", "accumulation"), [(1, 2), (2, 1), (2, 2), (4, 1)])
def test_every_layout_trains_on_the_same_pixels_in_the_same_step(store, ranks, accumulation):
    expected = flattened(batches(store, small(), epoch=2))
    config = small(f"parallel.accumulation_steps={accumulation}")
    parts = [batches(store, config, 2, world=World(rank, ranks, CPU)) for rank in range(ranks)]
    assert all(len(step.micro) == accumulation for steps in parts for step in steps)
    for number, (images, labels) in enumerate(expected):
        micro = [steps[number].micro[part] for part in range(accumulation) for steps in parts]
        assert torch.equal(images, torch.cat([images for images, _ in micro]))
        assert torch.equal(labels, torch.cat([labels for _, labels in micro]))


def test_a_batch_that_does_not_divide_is_refused_before_any_data(root):
    with pytest.raises(InvalidConfiguration, match="3 processes"):
        data.TrainBatches(Store.open(root), small(), SEEDS, World(0, 3, CPU))


@pytest.mark.parametrize("changes", [("parallel.data_workers=3",), ("data.cache_bytes=0",)])
def test_threads_and_caches_change_nothing(store, changes):
    one, other = flattened(batches(store, small())), flattened(batches(store, small(*changes)))
    assert all(torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True))


def test_augmentation_changes_with_epoch_and_seed_but_not_with_the_call(store):
    reader = data.TrainBatches(store, small("global_batch_size=60"), SEEDS, ALONE)

    def by_content(epoch, using=reader):
        (images, labels), = flattened(using(epoch))
        return images, labels

    assert torch.equal(by_content(1)[0], by_content(1)[0])
    assert Counter(by_content(1)[1].tolist()) == Counter(by_content(2)[1].tolist())
    ordered = [tuple(sorted(by_content(epoch)[0].sum((1, 2, 3)).tolist())) for epoch in (1, 2)]
    assert ordered[0] != ordered[1]  # not the same crops in another order
    other = data.TrainBatches(store, small("global_batch_size=60"), Seeds(9), ALONE)
    assert not torch.equal(by_content(1)[0], by_content(1, other)[0])


def test_without_augmentation_training_sees_evaluation_crops(store):
    config = small("data.augment=false", "global_batch_size=60")
    first, second = (flattened(batches(store, config, epoch))[0][0] for epoch in (1, 2))
    assert sorted(first.sum((1, 2, 3)).tolist()) == pytest.approx(sorted(second.sum((1, 2, 3)).tolist()))


def test_shuffled_labels_are_the_same_labels_at_other_images_in_every_epoch(store):
    changes = ("global_batch_size=60", "data.augment=false")
    true, planted, again = (
        dict(zip(images.sum((1, 2, 3)).tolist(), labels.tolist(), strict=True))
        for config, epoch in ((small(*changes), 1), (small(*changes, "data.shuffle_labels=true"), 1),
                              (small(*changes, "data.shuffle_labels=true"), 2))
        for images, labels in flattened(batches(store, config, epoch)))
    assert Counter(true.values()) == Counter(planted.values())
    assert sum(true[key] == planted[key] for key in true) < 30
    assert planted == again


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_evaluation_shows_every_sample_once_in_equal_batches(store, ranks):
    parts = [list(data.EvalBatches(store, small(), World(rank, ranks, CPU))) for rank in range(ranks)]
    assert len({len(part) for part in parts}) == 1
    assert all(batch.images.shape == (8, 3, 16, 16) for part in parts for batch in part)
    seen = torch.cat([batch.images[batch.valid] for part in parts for batch in part])
    labels = torch.cat([batch.labels[batch.valid] for part in parts for batch in part])
    assert len(seen) == 22
    whole = next(iter(data.EvalBatches(store, small("data.eval_batch_size=22"), ALONE)))
    assert torch.equal(seen, whole.images)
    assert torch.equal(labels, whole.labels)
    assert all((batch.images[~batch.valid] == 0).all() for part in parts for batch in part)


def test_evaluation_is_kept_only_where_it_fits(store):
    kept, fresh = data.EvalBatches(store, small(), ALONE), data.EvalBatches(store, small("data.cache_bytes=99"), ALONE)
    for reader, same in ((kept, True), (fresh, False)):
        first, second = list(reader), list(reader)
        assert all(torch.equal(a.images, b.images) for a, b in zip(first, second, strict=True))
        assert (first[0].images is second[0].images) == same


def test_a_pass_left_early_is_not_kept_as_the_whole(store):
    reader = data.EvalBatches(store, small(), ALONE)
    next(iter(reader))
    assert sum(int(batch.valid.sum()) for batch in reader) == 22


def ours():
    return [thread for thread in threading.enumerate() if thread.name.startswith(("prefetch", "decode"))]


def test_leaving_an_epoch_early_ends_its_threads(store):
    steps = data.TrainBatches(store, small("parallel.data_workers=2"), SEEDS, ALONE)(1)
    next(steps)
    assert ours()
    steps.close()
    assert not ours()


def test_data_stay_shut_until_the_clock_runs(root):
    store = Store.open(root)
    train, evaluation = data.TrainBatches(store, small(), SEEDS, ALONE), data.EvalBatches(store, small(), ALONE)
    for attempt in (train(1), iter(evaluation)):
        with pytest.raises(DataTouchedTooEarly, match="before the clock ran"):
            next(attempt)
    assert not ours()
    store.unlock()
    assert next(train(1)).global_size == 8


def test_damaged_bytes_in_a_shard_are_reported_by_sample(tmp_path):
    data.prepare(tree_config(), published_tree(tmp_path / "source"), tmp_path / "data")
    path = tmp_path / "data" / "train-00000.shard"
    path.write_bytes(b"\0" * path.stat().st_size)
    store = Store.open(tmp_path / "data")
    store.unlock()
    with pytest.raises(DataProblem, match=r"expected a JPEG of \d+ x \d+ pixels as sample \d .*train-00000\.shard"):
        batches(store, tree_config())


# ---------------------------------------------------------------- sizes


def test_sizes_drop_the_remainder_at_both_scales():
    manifest = Manifest("x", "", "", {"train_samples": 1281167, "eval_samples": 50000, "classes": 1000}, {})
    found = data.sizes(full(), manifest)
    assert (found.train_samples, found.eval_samples, found.limit_epochs) == (1281167, 50000, 41)
    assert found.samples_per_epoch == 1281167 // 2048 * 2048 == data.steps_per_epoch(full(), manifest) * 2048


@pytest.mark.parametrize(("change", "message"), [
    ("data.train_images=61", "expected data.train_images=61 by the configuration, found 60"),
    ("data.eval_images=21", "expected data.eval_images=21 by the configuration, found 22"),
    ("model.classes=11", "expected model.classes=11 by the configuration, found 10"),
    ("global_batch_size=64", "expected a global batch of 64 images, found 60"),
])
def test_sizes_refuse_another_data_set(root, change, message):
    with pytest.raises(DataProblem, match=message):
        data.sizes(small(change), Manifest.load(root))
