"""From scores to detections and their precision, against loops; evaluation of a session."""

import math

import numpy as np
import pytest
import torch

from laptime.config import override
from laptime.events import Cadence, Plan, Point
from laptime.suite.retinanet import data, shortcuts
from laptime.suite.retinanet.benchmark import BENCHMARK
from laptime.suite.retinanet.config import DetectionConfig, smoke
from laptime.suite.retinanet.detect import detections, on_originals
from laptime.training.data.store import Store
from laptime.training.distributed.world import World
from laptime.training.nn.boxes import Candidates
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
CONFIG = DetectionConfig(score=0.3, per_level=12, overlap=0.4, per_image=7)


def small():
    return override(smoke(), ["data.train_images=24", "data.eval_images=10", "data.objects=3", "data.object_low=0.2",
                              "data.object_high=0.4", "data.eval_batch_size=4", "global_batch_size=4", "pretrain.steps=0"])


def overlap_of(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height)


def by_loops(scores, deltas, anchors, size):
    """One image, in the order of the published description."""
    found = []
    for s, d, a in zip(scores, deltas, anchors, strict=True):
        pairs = [(1 / (1 + math.exp(-x)), row, c) for row, line in enumerate(s.tolist()) for c, x in enumerate(line)]
        pairs = sorted((p for p in pairs if p[0] > CONFIG.score), reverse=True)[:CONFIG.per_level]
        for p, row, c in pairs:
            (x1, y1, x2, y2), (dx, dy, dw, dh) = a[row].tolist(), d[row].tolist()
            w, h = x2 - x1, y2 - y1
            x, y = (x1 + x2) / 2 + dx * w, (y1 + y2) / 2 + dy * h
            w, h = w * math.exp(min(dw, math.log(1000 / 16))), h * math.exp(min(dh, math.log(1000 / 16)))
            box = [min(max(v, 0), size) for v in (x - w / 2, y - h / 2, x + w / 2, y + h / 2)]
            found.append((p, c, box))
    kept = []
    for p, c, box in sorted(found, reverse=True):
        if all(c != k[1] or overlap_of(box, k[2]) <= CONFIG.overlap for k in kept):
            kept.append((p, c, box))
    return kept[:CONFIG.per_image]


def test_detections_equal_loops():
    generator = torch.Generator().manual_seed(3)
    rows, classes, size = (30, 10), 4, 64
    scores = [torch.randn(3, r, classes, generator=generator, dtype=torch.float64) for r in rows]
    deltas = [0.5 * torch.randn(3, r, 4, generator=generator, dtype=torch.float64) for r in rows]
    corner = [40 * torch.rand(r, 2, generator=generator, dtype=torch.float64) for r in rows]
    anchors = [torch.cat([c, c + 25], 1) for c in corner]
    found = detections(scores, deltas, anchors, CONFIG, size)
    for i in range(3):
        expected = by_loops([s[i] for s in scores], [d[i] for d in deltas], anchors, size)
        assert len(expected) > 3
        assert found.valid[i].sum() == len(expected)
        for k, (p, c, box) in enumerate(expected):
            assert (found.scores[i, k].item(), found.labels[i, k].item()) == (pytest.approx(p), c)
            assert found.boxes[i, k].tolist() == pytest.approx(box)


def test_detections_come_in_pixels_of_the_original_and_padding_is_left_out():
    boxes = torch.tensor([[[0.0, 32, 64, 64], [1, 1, 2, 2]], [[8, 8, 16, 16], [0, 0, 1, 1]]])
    found = Candidates(boxes, torch.tensor([[0.5, 0.4], [0.3, 0.2]]), torch.tensor([[2, 0], [1, 1]]),
                       torch.tensor([[True, False], [True, True]]))

    class Sizes:
        widths, heights = np.array([10, 128, 20]), np.array([10, 32, 20])

    one = on_originals(found, np.array([1]), Sizes(), 64)  # the second row is padding
    assert (one.image.tolist(), one.label.tolist(), one.score.tolist()) == ([1], [2], [0.5])
    assert one.boxes.tolist() == [[0, 16, 128, 16]]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("retinanet")
    data.generate(small(), root, 7)
    return root


def session_on(root, config):
    from laptime.benchmark import Context

    opened = Store.open(root)
    plan = Plan(config.global_batch_size, Point(1, "epochs"), Cadence("epochs", (1,)))
    session = BENCHMARK.build(config, Context(ALONE, opened, Seeds(1), plan, root))
    opened.unlock()
    return session, opened


class Oracle(torch.nn.Module):
    """Looks up the truth: logits and deltas that make exactly the annotated boxes (this is a test of what follows)."""

    def __init__(self, targets, anchors, classes):
        super().__init__()
        self.targets, self.anchors, self.classes, self.image = targets, anchors, classes, 0

    def forward(self, images):
        scores = [torch.full((len(images), len(a), self.classes), -9.0) for a in self.anchors]
        deltas = [torch.zeros(len(images), len(a), 4) for a in self.anchors]
        for i in range(len(images)):
            if self.image < len(self.targets.heights):
                self.place(scores[0][i], deltas[0][i])
            self.image += 1
        return scores, deltas

    def place(self, scores, deltas):
        from laptime.training.nn.boxes import encode

        first, last = self.targets.first[self.image:self.image + 2]
        for row, k in enumerate(range(first, last)):
            scores[row, self.targets.labels[k]] = 9.0
            deltas[row] = encode(torch.from_numpy(self.targets.corners[k]), self.anchors[0][row])


def test_an_oracle_scores_almost_one_on_the_whole_chain(store):
    from laptime.suite.retinanet.reader import Targets, read_boxes

    config = small()
    session, opened = session_on(store, config)
    pictures = session.evaluation.batches.pictures()
    boxes = read_boxes(opened, "eval", len(pictures))
    targets = Targets(boxes[boxes["crowd"] == 0], pictures.heights, pictures.widths, config.data.size)
    session.evaluation.outputs = Oracle(targets, session.evaluation.anchors, config.model.classes)
    assert session.evaluation()["eval_accuracy"] > 0.99


def test_evaluation_of_an_untrained_network_is_low_and_keeps_the_model_as_it_is(store):
    session, _ = session_on(store, small())
    before = session.state().fingerprint()
    assert session.evaluation()["eval_accuracy"] < 0.05
    assert session.state().fingerprint() == before
    assert session.model.training


@pytest.mark.parametrize("name", sorted(shortcuts.SHORTCUTS))
def test_shortcuts_stay_below_what_they_are_given(store, name):
    opened = Store.open(store)
    opened.unlock()
    value = shortcuts.SHORTCUTS[name](small(), opened)
    assert 0 <= value < 0.95


def test_true_boxes_of_the_true_class_would_be_perfect(store):
    opened = Store.open(store)
    opened.unlock()
    config = small()
    _, boxes = shortcuts._opened(opened, config, "eval")
    labels = boxes["label"][boxes["crowd"] == 0]
    assert shortcuts._given_boxes(config, opened, np.eye(config.model.classes)[labels]) == pytest.approx(1.0)
