"""Average precision against the published evaluation code, and merged over ranks."""

import contextlib
import io

import numpy as np
import pytest
import torch

from laptime.training.distributed.world import World
from laptime.training.metrics import coco
from laptime.training.metrics.coco import BoxAP, FoundBoxes, TrueBoxes, gathered

ALONE = World(0, 1, torch.device("cpu"))
CLASSES, IMAGES = 5, 40


def case(seed, truths=200, found=3000):
    """Random annotations (the last class has none, some are crowds) and detections near them, many of equal score."""
    draw = np.random.default_rng(seed)
    image, label = np.sort(draw.integers(0, IMAGES, truths)), draw.integers(0, CLASSES - 1, truths)
    boxes = np.concatenate([draw.integers(0, 60, (truths, 2)), draw.integers(5, 40, (truths, 2))], 1).astype(float)
    truth = TrueBoxes(image, label, boxes, draw.random(truths) < 0.1)
    near = draw.integers(0, truths, found)
    at = np.where(draw.random(found) < 0.8, image[near], draw.integers(0, IMAGES, found))
    what = np.where(draw.random(found) < 0.8, label[near], draw.integers(0, CLASSES, found))
    moved = boxes[near] + draw.integers(-3, 4, (found, 4))
    moved[:, 2:] = np.maximum(moved[:, 2:], 1)
    order = np.argsort(at, kind="stable")
    return truth, FoundBoxes(at[order], what[order], np.round(draw.random(found), 2)[order], moved[order])


def precision(truth, *found, world=ALONE):
    metric = BoxAP(world, truth, CLASSES)
    for one in found:
        metric.add(one)
    return metric.result()


def reference(truth, found):
    """pycocotools' answer."""
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations = [{"id": k + 1, "image_id": int(i), "category_id": int(c), "bbox": b.tolist(), "area": float(b[2] * b[3]), "iscrowd": int(w)}
                   for k, (i, c, b, w) in enumerate(zip(truth.image, truth.label, truth.boxes, truth.crowd, strict=True))]
    results = [{"image_id": int(i), "category_id": int(c), "bbox": b.tolist(), "score": float(s)}
               for i, c, b, s in zip(found.image, found.label, found.boxes, found.score, strict=True)]
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO()
        gt.dataset = {"images": [{"id": i} for i in range(IMAGES)], "categories": [{"id": c} for c in range(CLASSES)],
                      "annotations": annotations}
        gt.createIndex()
        judged = COCOeval(gt, gt.loadRes(results), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return float(judged.stats[0])


@pytest.mark.parametrize("seed", range(3))
def test_value_equals_the_published_code(seed):
    truth, found = case(seed)
    assert precision(truth, found) == pytest.approx(reference(truth, found), rel=1e-12)


def test_only_a_hundred_detections_of_an_image_and_class_count():
    truth, found = case(5, truths=30, found=9000)
    assert np.unique(found.image * CLASSES + found.label, return_counts=True)[1].max() > 100
    assert precision(truth, found) == pytest.approx(reference(truth, found), rel=1e-12)


def test_many_small_batches_of_pairs_change_nothing(monkeypatch):
    truth, found = case(1)
    whole = precision(truth, found)
    monkeypatch.setattr(coco, "CELLS", 50)
    assert precision(truth, found) == whole


def test_detections_added_image_by_image_change_nothing():
    truth, found = case(2)
    parts = [FoundBoxes(*(getattr(found, name)[found.image == i] for name in ("image", "label", "score", "boxes")))
             for i in reversed(range(IMAGES))]
    assert precision(truth, *parts) == precision(truth, found)


def test_perfect_detections_score_one_and_none_score_zero():
    truth, _ = case(3)
    real = ~truth.crowd
    perfect = FoundBoxes(truth.image[real], truth.label[real], np.ones(real.sum()), truth.boxes[real])
    assert precision(truth, perfect) == pytest.approx(1.0)
    assert precision(truth) == 0.0


def test_detections_on_crowds_do_not_hurt():
    one = np.array([[0.0, 0, 10, 10], [50, 50, 40, 40]])
    truth = TrueBoxes(np.zeros(2, int), np.zeros(2, int), one, np.array([False, True]))
    boxes = np.array([[55.0, 55, 10, 10], [60, 60, 10, 10], [0, 0, 10, 10]])
    found = FoundBoxes(np.zeros(3, int), np.zeros(3, int), np.array([0.9, 0.8, 0.7]), boxes)
    assert precision(truth, found) == pytest.approx(1.0)


def test_rows_of_all_ranks_are_gathered_in_order():
    rows = [np.arange(3.0)[:, None], np.zeros((0, 1)), np.arange(5.0, 7.0)[:, None]]
    lengths = torch.tensor([3, 0, 2])
    total = torch.tensor([0.0, 1, 2, 5, 6], dtype=torch.float64)[:, None]

    class Three:
        """Rank 2 of three, whose sums are known."""

        rank, size, device = 2, 3, torch.device("cpu")

        def sum(self, tensor):
            if tensor.dtype == torch.int64:
                assert tensor.tolist() == [0, 0, 2]
                return lengths
            assert tensor.flatten().tolist() == [0, 0, 0, 5, 6]
            return total

    assert gathered(Three(), rows[2]).flatten().tolist() == [0, 1, 2, 5, 6]
