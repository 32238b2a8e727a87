"""RetinaNet's published files: Open Images' tables and COCO annotations -> shards, and the start weights beside them."""

import json
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from laptime.benchmark import Context
from laptime.config import override
from laptime.errors import DataProblem, DataTouchedTooEarly
from laptime.events import Cadence, Plan, Point
from laptime.suite.retinanet import data, pretrain, published
from laptime.suite.retinanet.benchmark import BENCHMARK
from laptime.suite.retinanet.config import smoke
from laptime.suite.retinanet.convert import write_annotations
from laptime.suite.retinanet.model import Backbone
from laptime.suite.retinanet.reader import Pictures, Targets, read_boxes
from laptime.training.data.shards import Shards
from laptime.training.data.store import Store
from laptime.training.distributed.world import World
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
SEEDS = Seeds(2024)
SMALL = ("data.objects=3", "data.object_low=0.2", "data.object_high=0.4", "data.eval_batch_size=4", "pretrain.steps=0",
         "data.train_images=3", "data.eval_images=3", "global_batch_size=2")


def jpeg_of(size, seed, kind="JPEG"):
    target = BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    Pillow.fromarray(pixels).resize(size, Pillow.Resampling.BICUBIC).save(target, kind)
    return target.getvalue()


CONTENT = {
    "info": {"description": "three images, ids not in the order of names"},
    "categories": [{"id": 1, "name": "Cat"}, {"id": 0, "name": "Ant"}, {"id": 2, "name": "Zebra"}],
    "images": [{"id": 7, "file_name": "b.jpg", "height": 40, "width": 50}, {"id": 3, "file_name": "a.jpg", "height": 30, "width": 60},
               {"id": 9, "file_name": "c.jpg", "height": 44, "width": 44}],
    "annotations": [{"id": 1, "image_id": 7, "category_id": 2, "bbox": [-5, 10, 20.5, 40], "area": 820, "iscrowd": 0},
                    {"id": 2, "image_id": 3, "category_id": 0, "bbox": [6, 3, 12, 15], "area": 180, "iscrowd": 1},
                    {"id": 3, "image_id": 7, "category_id": 1, "bbox": [50, 0, 10, 10], "area": 100, "iscrowd": 0}],
}


def published_tree(folder, content=CONTENT):
    """Both parts with the same three images, the last without boxes, and start weights with their right name."""
    for part in ("train", "validation"):
        (folder / part / "data").mkdir(parents=True)
        (folder / part / "labels").mkdir()
        for i, one in enumerate(content["images"]):
            (folder / part / "data" / one["file_name"]).write_bytes(jpeg_of((one["width"], one["height"]), i))
        (folder / part / "labels" / "openimages-mlperf.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def source(tmp_path, monkeypatch):
    return with_weights(published_tree(tmp_path / "source"), monkeypatch)


def with_weights(folder, monkeypatch):
    """A source folder with start weights of the tiny backbone under the name that their checksum asks for."""
    import hashlib

    tensors = Backbone(tree_config().model).state_dict() | {"fc.weight": torch.zeros(3, 3)}
    torch.save(tensors, folder / "start.pth")
    digest = hashlib.sha256((folder / "start.pth").read_bytes()).hexdigest()[:8]
    (folder / "start.pth").rename(folder / f"start-{digest}.pth")
    monkeypatch.setattr(pretrain, "PUBLISHED", f"start-{digest}.pth")
    return folder


def tree_config(*changes):
    return override(smoke(), [*SMALL, *changes])


def test_a_published_tree_becomes_batches(source, tmp_path):
    data.prepare(tree_config(), source, tmp_path / "data")
    store = Store.open(tmp_path / "data")
    assert dict(store.metadata.facts) == {"train_samples": 3, "eval_samples": 3, "classes": 3, "max_boxes": 2, "backbone": "backbone.pt"}
    assert store.metadata.files["backbone.pt"].kind == "weights"
    assert data.sizes(tree_config(), store.metadata).samples_per_epoch == 2
    with pytest.raises(DataTouchedTooEarly):
        read_boxes(store, "train", 3)
    store.unlock()
    pictures = Pictures(Shards(store, "train"), tree_config().data)
    assert (pictures.heights.tolist(), pictures.widths.tolist()) == ([30, 40, 44], [60, 50, 44])  # in order of ids
    (step,) = data.TrainBatches(store, tree_config("data.flip=false"), SEEDS, ALONE)(1)
    assert step.global_size == 2
    assert step.micro[0].images.shape == (2, 3, 64, 64)
    assert step.micro[0].boxes.shape == (2, 8, 4)


def test_a_published_tree_is_trained_on_and_evaluated(source, tmp_path):
    """Three images in the published layout through everything: start weights, a step, detections, precision."""
    config = tree_config()
    data.prepare(config, source, tmp_path / "data")
    store = Store.open(tmp_path / "data")
    plan = Plan(2, Point(1, "epochs"), Cadence("epochs", (1,)), data.sizes(config, store.metadata))
    session = BENCHMARK.build(config, Context(ALONE, store, SEEDS, plan, tmp_path))
    start = session.model.head["regression_head"].bbox_reg.bias.detach().clone()
    store.unlock()
    events = list(session.train())
    assert [type(one).__name__ for one in events] == ["Epoch", "Evaluating", "Note", "Evaluated"]
    assert np.isfinite(events[2].values["train_loss"])
    assert 0 <= events[3].metrics["eval_accuracy"] < 1
    assert not torch.equal(session.model.head["regression_head"].bbox_reg.bias, start)


def test_an_image_that_was_damaged_after_preparing_is_named(source, tmp_path):
    data.prepare(tree_config(), source, tmp_path / "data")
    store = Store.open(tmp_path / "data")
    store.unlock()
    shard = next((tmp_path / "data").glob("train*.shard"))
    content = shard.read_bytes()
    shard.write_bytes(content[:-200])
    with pytest.raises(DataProblem, match=r"train.*\.shard"):
        [Pictures(Shards(store, "train"), tree_config().data)[i] for i in range(3)]
    shard.write_bytes(bytes(len(content)))
    with pytest.raises(DataProblem, match=r"expected a JPEG of 30 x 60 pixels as .*train"):
        _ = Pictures(Shards(store, "train"), tree_config().data)[0]


def test_packed_images_are_the_published_bytes(source, tmp_path):
    data.prepare(tree_config(), source, tmp_path / "data")
    store = Store.open(tmp_path / "data")
    store.unlock()
    assert list(Shards(store, "eval")) == [(source / "validation" / "data" / f"{name}.jpg").read_bytes() for name in "abc"]


def test_boxes_are_cut_at_the_image_scaled_and_those_without_area_left_out(source, tmp_path):
    data.prepare(tree_config(), source, tmp_path / "data")
    store = Store.open(tmp_path / "data")
    store.unlock()
    pictures = Pictures(Shards(store, "train"), tree_config().data)
    targets = Targets(read_boxes(store, "train", 3), pictures.heights, pictures.widths, 64)
    boxes, labels = targets.batch(np.arange(3))
    assert boxes[0, 0].tolist() == pytest.approx([6 * 64 / 60, 3 * 64 / 30, 18 * 64 / 60, 18 * 64 / 30])  # a group-of box trains
    assert boxes[1, 0].tolist() == pytest.approx([0, 16, 15.5 * 64 / 50, 64])
    assert labels.tolist() == [[0] + [-1] * 7, [2] + [-1] * 7, [-1] * 8]  # [50, 0, 10, 10] lies outside


def edited(**changes):
    return json.dumps(CONTENT | changes)


def relabelled(first):
    return edited(categories=[{"id": first + i, "name": str(i)} for i in range(3)],
                  annotations=[one | {"category_id": one["category_id"] + first} for one in CONTENT["annotations"]])


JSON = "train/labels/openimages-mlperf.json"


@pytest.mark.parametrize(("damage", "name", "message"), [
    (lambda p: p.unlink(), JSON, r"expected annotations at .*openimages-mlperf\.json, found no such file"),
    (lambda p: p.write_text(edited()[:-60]), JSON, r"expected JSON in .*openimages-mlperf\.json"),
    (lambda p: p.write_text("[]"), JSON, "expected a table of images, categories and annotations"),
    (lambda p: p.write_text(edited(images=[{"id": 1}])), JSON, "as COCO has them in .*KeyError"),
    (lambda p: p.write_text(edited(images=CONTENT["images"][:2])), JSON, r"expected 3 images in .*, found 2"),
    (lambda p: p.write_text(edited(images=CONTENT["images"][1:])), JSON, "as COCO has them in .*KeyError"),  # box of no image
    (lambda p: p.write_text(relabelled(1)), JSON, "expected categories numbered 0 to 2 in .*, found 3 from 1 to 3"),
    (lambda p: p.write_text(edited(annotations=[CONTENT["annotations"][0] | {"category_id": 3}])), JSON, "expected category_id from 0 to 2 .* found 3"),
    (lambda p: p.unlink(), "validation/data/b.jpg", r"expected an image at .*b\.jpg, found none"),
    (lambda p: p.write_bytes(p.read_bytes()[:-40]), "train/data/a.jpg", r"a\.jpg is truncated"),
    (lambda p: p.write_bytes(jpeg_of((20, 20), 1)), "train/data/a.jpg", r"expected 30 x 60 pixels in .*a\.jpg by its annotations, found 20 x 20"),
])
def test_damaged_source_is_named(source, tmp_path, damage, name, message):
    damage(source / name)
    with pytest.raises(DataProblem, match=message):
        data.prepare(tree_config(), source, tmp_path / "data")
    assert not (tmp_path / "data" / "manifest.json").exists()


def test_start_weights_must_be_there_with_their_checksum(source, tmp_path):
    (weights,) = source.glob("*.pth")
    content = weights.read_bytes()
    weights.write_bytes(content[:-1])
    with pytest.raises(DataProblem, match=r"expected a SHA-256 that begins with [0-9a-f]{8} of .*start-"):
        data.prepare(tree_config(), source, tmp_path / "data")
    weights.unlink()
    with pytest.raises(DataProblem, match=r"expected start weights of the backbone at .*start-.*found no such file"):
        data.prepare(tree_config(), source, tmp_path / "data")


def test_start_weights_of_another_network_are_refused(source, tmp_path):
    with pytest.raises(DataProblem, match=r"expected 'conv1\.weight' of shape"):
        data.prepare(tree_config("model.stem=4"), source, tmp_path / "data")
    with pytest.raises(DataProblem, match=r"expected a tensor 'layer1\.1\.conv1\.weight' in"):
        data.prepare(tree_config("model.blocks=2,1,1,1"), source, tmp_path / "data")


def test_interrupted_reformat_continues_after_its_last_whole_shard(source, tmp_path, monkeypatch):
    monkeypatch.setattr(published, "SHARD_SAMPLES", 1)
    with monkeypatch.context() as broken:
        broken.setattr(published, "join_index", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            data.prepare(tree_config(), source, tmp_path / "data")
    written = []
    original = published.write_shard
    monkeypatch.setattr(published, "write_shard", lambda root, part, number, samples: written.append((part, number)) or original(root, part, number, samples))
    data.prepare(tree_config(), source, tmp_path / "data")
    assert written == [("eval", 0), ("eval", 1), ("eval", 2)]
    assert sorted(p.name for p in (tmp_path / "data").iterdir() if p.suffix not in (".shard", ".npy")) == ["backbone.pt", "manifest.json"]


# ---------------------------------------------------------------- tables of Open Images


def tables(folder, rows):
    for name in ("data", "labels", "metadata"):
        (folder / name).mkdir(parents=True)
    (folder / "data" / "00aa.jpg").write_bytes(jpeg_of((50, 40), 0))
    (folder / "data" / "0bbb.jpg").write_bytes(jpeg_of((20, 30), 1))
    (folder / "metadata" / "image_ids.csv").write_text("ImageID,Subset\n0bbb,train\n00aa,train\n0ccc,train\n")
    (folder / "metadata" / "classes.csv").write_text("/m/01,Ant\n/m/02,Bee\n/m/03,\"Cat, wild\"\n")
    (folder / "labels" / "detections.csv").write_text("ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf\n" + rows)
    (folder.parent / "classes.txt").write_text("Cat, wild\nAnt\n")
    return folder


def test_tables_become_annotations(tmp_path):
    folder = tables(tmp_path / "train", "0bbb,/m/03,0.5,1,0,0.5,0\n00aa,/m/01,0,0.1,0.25,0.5,1\n00aa,/m/02,0,1,0,1,0\n0ccc,/m/01,0,1,0,1,0\n")
    content = json.loads(write_annotations(folder, tmp_path / "classes.txt").read_text())
    assert content["categories"] == [{"id": 0, "name": "Cat, wild"}, {"id": 1, "name": "Ant"}]
    assert [(one["id"], one["file_name"], one["width"], one["height"]) for one in content["images"]] == [(1, "00aa.jpg", 50, 40), (2, "0bbb.jpg", 20, 30)]
    assert [(one["image_id"], one["category_id"], one["bbox"], one["iscrowd"]) for one in content["annotations"]] == [
        (2, 0, [10, 0, 10, 15], 0), (1, 1, [0, 10, 5, 10], 1)]  # no class in use: Bee; no file: 0ccc


@pytest.mark.parametrize(("damage", "message"), [
    (lambda f: (f / "labels" / "detections.csv").unlink(), r"expected a table at .*detections\.csv"),
    (lambda f: (f / "labels" / "detections.csv").write_text("ImageID,LabelName\n"), "expected a column 'XMin'"),
    (lambda f: (f / "labels" / "detections.csv").write_text("ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf\n00aa,/m/01,0.5\n"), r"detections\.csv:2, found fewer"),
    (lambda f: (f / "labels" / "detections.csv").write_text("ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf\n00aa,/m/01,0,1,0,31,0\n"), r"expected YMax from 0 to 1 at .*detections\.csv:2, found '31'"),
    (lambda f: (f / "metadata" / "classes.csv").write_text("/m/01,Ant\n"), "expected class 'Cat, wild' in"),
    (lambda f: (f.parent / "classes.txt").unlink(), r"expected the names of the classes.*classes\.txt"),
    (lambda f: (f.parent / "classes.txt").write_text("Ant\nAnt\n"), "different class names"),
    (lambda f: (f / "data" / "00aa.jpg").write_bytes(b"no picture"), r"00aa\.jpg is not a readable JPEG"),
    (lambda f: (f / "metadata" / "image_ids.csv").write_text("ImageID\n0ddd\n"), "expected images named in"),
])
def test_damaged_tables_are_named(tmp_path, damage, message):
    folder = tables(tmp_path / "train", "")
    damage(folder)
    with pytest.raises(DataProblem, match=message):
        write_annotations(folder, tmp_path / "classes.txt")
