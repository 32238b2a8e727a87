"""The data path of RetinaNet from generated scenes: shards -> batches, and start weights."""


import numpy as np
import pytest
import torch
from torch.nn import functional as F

from laptime.config import override
from laptime.errors import DataProblem
from laptime.suite.retinanet import data, pretrain, scenes
from laptime.suite.retinanet.config import full, smoke
from laptime.suite.retinanet.model import Backbone
from laptime.suite.retinanet.reader import Pictures, padded_length, read_boxes, resized
from laptime.training.data.shards import Shards
from laptime.training.data.store import Manifest, Store
from laptime.training.distributed.world import World
from laptime.training.seeds import Seeds

CPU = torch.device("cpu")
ALONE = World(0, 1, CPU)
SEEDS = Seeds(2024)


def small(*changes):
    return override(smoke(), ["data.train_images=24", "data.eval_images=10", "data.objects=3", "data.object_low=0.2",
                              "data.object_high=0.4", "data.eval_batch_size=4", "global_batch_size=4", "pretrain.steps=0",
                              *changes])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A small generated data set without start weights."""
    folder = tmp_path_factory.mktemp("retinanet")
    data.generate(small(), folder, 7)
    return folder


@pytest.fixture
def compute_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def store(root):
    opened = Store.open(root)
    opened.unlock()
    return opened


def batches(store, config, epoch=1, seeds=SEEDS, world=ALONE):
    return list(data.TrainBatches(store, config, seeds, world)(epoch))


def joined(steps, field):
    return torch.cat([getattr(micro, field) for step in steps for micro in step.micro])


def test_damaged_prepared_boxes_are_named(root, tmp_path):
    import shutil

    shutil.copytree(root, tmp_path / "data")
    store = Store.open(tmp_path / "data")
    store.unlock()
    path = tmp_path / "data" / "train.boxes.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-9])
    with pytest.raises(DataProblem, match=r"train\.boxes\.npy is missing or damaged"):
        read_boxes(store, "train", 24)
    path.write_bytes(content)
    with pytest.raises(DataProblem, match="expected boxes of 3 images in their order"):
        read_boxes(store, "train", 3)
    np.save(path, np.zeros(3))
    with pytest.raises(DataProblem, match="rows of another format"):
        read_boxes(store, "train", 24)


# ---------------------------------------------------------------- generated scenes


def test_scenes_depend_on_seed_and_index_only():
    config = small().data
    one, same, other = (scenes.scene(config, 3, 5, index) for index in (4, 4, 6))
    assert one.objects == same.objects
    assert np.array_equal(one.image, same.image)
    assert one.image.shape != other.image.shape or not np.array_equal(one.image, other.image)


def test_scenes_hold_every_class_groups_and_sometimes_nothing():
    config = override(small(), ["data.image_low=64", "data.image_high=64"]).data
    found = [scenes.scene(config, 6, 1, index) for index in range(400)]
    objects = [one for made in found for one in made.objects]
    counts = np.bincount([one.label for one in objects], minlength=6)
    assert counts.min() > 30
    assert counts[0] > counts[5]
    assert 0.02 < np.mean([one.group for one in objects]) < 0.09
    assert 2 <= sum(not made.objects for made in found) <= 30
    assert all(0 <= one.left < one.right <= 64 and 0 <= one.top < one.bottom <= 64 for one in objects)


def test_boxes_are_tight_around_what_was_drawn():
    """The half-covered edge of a disc: as wide as its diameter."""
    from laptime.training.data.synth.draw import Frame

    frame = Frame.at(80, 80, y=40.0, x=30.0, size=10.0, degrees=0, reach=scenes.REACH)
    edges = scenes._edges(frame, frame.covered(scenes.KINDS["disc"](frame)))
    assert edges == (19, 29, 42, 52)  # 30 -+ 11.28, 40 -+ 11.28, pixel centres on whole numbers


def test_generated_boxes_survive_the_whole_chain(root, store):
    made = [scenes.scene(small().data, 3, 7, index) for index in range(24)]
    names = sorted(range(24), key=lambda index: scenes.image_name(7, index))
    boxes = read_boxes(store, "train", 24)
    found = sorted((int(b["image"]), int(b["label"]), round(float(b["x"])), round(float(b["y"])), round(float(b["width"])), round(float(b["height"])), bool(b["crowd"])) for b in boxes)
    expected = sorted((place, one.label, one.left, one.top, one.right - one.left, one.bottom - one.top, one.group)
                      for place, index in enumerate(names) for one in made[index].objects)
    assert found == expected


def test_generating_again_gives_the_same_content(root, tmp_path):
    data.generate(small(), tmp_path, 7)
    one, other = Manifest.load(root), Manifest.load(tmp_path)
    assert (one.content_hash, one.files) == (other.content_hash, other.files)


def test_data_of_another_recipe_or_size_is_refused(root):
    manifest = Manifest.load(root)
    with pytest.raises(DataProblem, match="expected data made by"):
        data.sizes(small("data.hardness=0.5"), manifest)
    with pytest.raises(DataProblem, match=r"expected data\.train_images=25"):
        data.sizes(small("data.train_images=25"), manifest)


# ---------------------------------------------------------------- batches


def test_resize_equals_the_definition():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    found = resized(image, 4)
    for i in range(4):
        for j in range(4):
            y, x = max(0.0, (i + 0.5) * 5 / 4 - 0.5), max(0.0, (j + 0.5) * 7 / 4 - 0.5)
            top, left = int(y), int(x)
            below, right = min(top + 1, 4), min(left + 1, 6)
            a, b = y - top, x - left
            expected = ((1 - a) * ((1 - b) * image[top, left] + b * image[top, right]) + a * ((1 - b) * image[below, left] + b * image[below, right]))
            assert found[i, j] == pytest.approx(expected, abs=1e-3)


def test_images_are_normalised_like_the_reference(store):
    pictures = Pictures(Shards(store, "eval"), small().data)
    pixels = torch.from_numpy(pictures.decoded(0)).permute(2, 0, 1)[None].float() / 255
    mean, std = (torch.tensor(v)[:, None, None] for v in (full().data.mean, full().data.std))
    expected = F.interpolate((pixels - mean) / std, (64, 64), mode="bilinear", align_corners=False)[0]
    assert torch.allclose(torch.from_numpy(pictures[0]).permute(2, 0, 1), expected, atol=1e-5)


def test_mirrored_images_have_mirrored_boxes(store):
    """A picture and its boxes are mirrored together, about half of them, as the run's seed, epoch and sample say."""
    plain, flipped = (joined(batches(store, small(f"data.flip={flip}")), "images") for flip in ("false", "true"))
    boxes, moved = (joined(batches(store, small(f"data.flip={flip}")), "boxes") for flip in ("false", "true"))
    turned = torch.tensor([not torch.equal(a, b) for a, b in zip(plain, flipped, strict=True)])
    assert 4 < turned.sum() < 20
    assert torch.equal(plain[turned].flip(3), flipped[turned])
    expected = torch.stack([64 - boxes[..., 2], boxes[..., 1], 64 - boxes[..., 0], boxes[..., 3]], -1)
    assert torch.equal(moved[turned], expected[turned])
    assert torch.equal(moved[~turned], boxes[~turned])


def test_the_planted_fault_mirrors_images_only(store):
    sound, faulty = (joined(batches(store, small(f"data.mirror_boxes={value}")), "boxes") for value in ("true", "false"))
    still = joined(batches(store, small("data.flip=false")), "boxes")
    assert torch.equal(faulty, still)
    assert not torch.equal(sound, still)


def test_shuffled_labels_keep_their_frequencies(store):
    sound, faulty = (joined(batches(store, small(f"data.shuffle_labels={value}")), "labels") for value in ("false", "true"))
    assert torch.equal(sound.flatten().sort().values, faulty.flatten().sort().values)
    assert not torch.equal(sound, faulty)


def test_two_ranks_see_the_batch_of_one(store):
    alone = batches(store, small())
    pair = [batches(store, small(), world=World(rank, 2, CPU)) for rank in (0, 1)]
    for whole, *halves in zip(alone, *pair, strict=True):
        assert torch.equal(whole.micro[0].images, torch.cat([half.micro[0].images for half in halves]))


def test_epochs_differ_in_order_and_a_seed_repeats_them(store):
    first, again, second = (joined(batches(store, small(), epoch), "images") for epoch in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_evaluation_shows_every_sample_once_over_ranks(store):
    seen = []
    for rank in range(3):
        for batch in data.EvalBatches(store, small(), World(rank, 3, CPU)):
            assert batch.images.shape == (4, 3, 64, 64)
            assert not batch.images[len(batch.samples):].any()
            seen += batch.samples.tolist()
    assert sorted(seen) == list(range(10))


@pytest.mark.parametrize(("count", "length"), [(0, 8), (8, 8), (9, 16), (16, 16), (700, 1024)])
def test_boxes_are_padded_to_few_lengths(count, length):
    assert padded_length(count) == length


def test_synthetic_batches_have_every_length_and_the_real_shapes(store):
    made = list(data.synthetic_batches(small(), ALONE, 20))
    real = batches(store, small())[0].micro[0]
    assert [step.micro[0].boxes.shape[1] for step in made] == [8, 16, 32]
    for name in ("images", "boxes", "labels"):
        one, other = getattr(made[0].micro[0], name), getattr(real, name)
        assert (one.shape, one.dtype, one.stride()) == (other.shape, other.dtype, other.stride())


# ---------------------------------------------------------------- start weights


def test_start_weights_are_trained_within_their_window_and_load(tmp_path):
    config = small("pretrain.steps=6", "pretrain.images=60", "pretrain.accuracy_low=0")
    accuracy = pretrain.train_backbone(config, tmp_path / "backbone.pt", 3)
    backbone = Backbone(config.model)
    pretrain.load_backbone(backbone, tmp_path / "backbone.pt")
    assert 0 <= accuracy <= 1
    assert backbone.bn1.running_mean.any()
    assert not torch.equal(backbone.bn1.running_var, torch.ones(config.model.stem))


def test_start_weights_are_equal_whatever_the_number_of_threads(tmp_path, compute_threads):
    config = small("pretrain.steps=6", "pretrain.images=60", "pretrain.accuracy_low=0")
    found = set()
    for threads, name in ((1, "backbone.pt"), (3, "again.pt")):
        compute_threads(threads)
        found.add(pretrain.train_backbone(config, tmp_path / name, 3))
    assert len(found) == 1
    one, other = (torch.load(tmp_path / name) for name in ("backbone.pt", "again.pt"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_start_weights_outside_their_window_are_refused(tmp_path):
    config = small("pretrain.steps=1", "pretrain.images=60", "pretrain.accuracy_low=0.999")
    with pytest.raises(DataProblem, match=r"expected start weights of accuracy 0\.999 to 1, found"):
        pretrain.train_backbone(config, tmp_path / "backbone.pt", 3)
    assert not (tmp_path / "backbone.pt").exists()


def test_a_file_that_holds_no_tensors_is_refused(tmp_path):
    (tmp_path / "backbone.pt").write_bytes(b"nothing")
    with pytest.raises(DataProblem, match=r"expected tensors at .*backbone\.pt"):
        pretrain.load_backbone(Backbone(small().model), tmp_path / "backbone.pt")
