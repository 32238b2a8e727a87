"""What can be had without learning to see: baselines that no honest target may lie within reach of.

Each takes an unlocked store and returns average precision on its evaluation part. Three of them are even given the true
boxes of the evaluation images and only have to name the class.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from laptime.benchmark import Context
from laptime.events import Cadence, Plan, Point
from laptime.suite.retinanet.config import RetinaNetConfig
from laptime.suite.retinanet.detect import true_boxes
from laptime.suite.retinanet.published import Boxes
from laptime.suite.retinanet.reader import Pictures, read_boxes
from laptime.suite.retinanet.train import build
from laptime.training.data.shards import Shards
from laptime.training.data.store import Store
from laptime.training.distributed.world import World
from laptime.training.loop import Supervised
from laptime.training.metrics.coco import BoxAP, FoundBoxes
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
PRIOR_GRID = 5  # centres per axis of the constant boxes
STEPS = 200  # of gradient descent for a linear classifier

Features = NDArray[np.float64]
Classify = Callable[[Store, RetinaNetConfig], NDArray[np.float64]]


def constant_boxes(config: RetinaNetConfig, store: Store) -> float:
    """The same boxes in every image: the median training box on a grid, every class at its frequency."""
    pictures, boxes = _opened(store, config, "train")
    image = boxes["image"].astype(np.int64)
    wide = float(np.median(boxes["width"] / pictures.widths[image]))
    high = float(np.median(boxes["height"] / pictures.heights[image]))
    shares = np.bincount(boxes["label"], minlength=config.model.classes) / len(boxes)
    evaluation, truth = _opened(store, config, "eval")
    centres = (np.arange(PRIOR_GRID) + 0.5) / PRIOR_GRID
    y, x, label = (one.ravel() for one in np.meshgrid(centres, centres, np.arange(config.model.classes), indexing="ij"))
    classes = label.astype(np.int64)
    metric = _metric(config, truth)
    for i in range(len(evaluation)):
        w, h = evaluation.widths[i], evaluation.heights[i]
        sides = np.broadcast_to([wide * w, high * h], (len(x), 2))
        corner = np.stack([(x - wide / 2) * w, (y - high / 2) * h], 1)
        metric.add(FoundBoxes(np.full(len(x), i), classes, shares[classes], np.concatenate([corner, sides], 1)))
    return metric.result()


def _given_boxes(config: RetinaNetConfig, store: Store, scores: NDArray[np.float64]) -> float:
    """Precision of the true boxes (crowds left out) with scores (boxes, classes): each box under every class."""
    _, boxes = _opened(store, config, "eval")
    real = boxes[boxes["crowd"] == 0]
    truth = true_boxes(real)
    metric = _metric(config, boxes)
    classes = config.model.classes
    metric.add(FoundBoxes(np.repeat(truth.image, classes), np.tile(np.arange(classes), len(real)), scores.ravel(),
                          np.repeat(truth.boxes, classes, 0)))
    return metric.result()


def majority_class(config: RetinaNetConfig, store: Store) -> float:
    """The true boxes, every class at its training frequency."""
    _, train = _opened(store, config, "train")
    _, evaluation = _opened(store, config, "eval")
    shares = np.bincount(train["label"], minlength=config.model.classes) / len(train)
    return _given_boxes(config, store, np.tile(shares, (int((evaluation["crowd"] == 0).sum()), 1)))


def box_geometry(config: RetinaNetConfig, store: Store) -> float:
    """The true boxes, their class told from their size, shape and place by a linear classifier."""
    return _linear(config, store, _geometry)


def box_colour(config: RetinaNetConfig, store: Store) -> float:
    """The true boxes, their class told from mean and spread of the colours inside by a linear classifier."""
    return _linear(config, store, _colour)


def _geometry(pictures: Pictures, box: np.void) -> list[float]:
    high, wide = pictures.heights[box["image"]], pictures.widths[box["image"]]
    w, h = box["width"], box["height"]
    return [np.log(w), np.log(h), np.log(w / h) ** 2, w / wide, h / high, box["x"] / wide, box["y"] / high,
            float(w == h), w % 2, h % 2]


def _colour(pictures: Pictures, box: np.void) -> list[float]:
    image = pictures.decoded(int(box["image"])).astype(np.float64)
    x, y = max(0, int(box["x"])), max(0, int(box["y"]))
    inside = image[y:y + max(1, int(box["height"])), x:x + max(1, int(box["width"]))].reshape(-1, 3)
    return [*inside.mean(0), *inside.std(0)]


def _linear(config: RetinaNetConfig, store: Store, feature: Callable[[Pictures, np.void], list[float]]) -> float:
    train, labels = _features(config, store, "train", feature)
    evaluation, _ = _features(config, store, "eval", feature)
    mean, spread = train.mean(0), train.std(0) + 1e-8
    return _given_boxes(config, store, _fitted((train - mean) / spread, labels, (evaluation - mean) / spread,
                                               config.model.classes))


def _features(config: RetinaNetConfig, store: Store, part: str,
              feature: Callable[[Pictures, np.void], list[float]]) -> tuple[Features, NDArray[np.int64]]:
    pictures, boxes = _opened(store, config, part)
    real = boxes[boxes["crowd"] == 0]
    return np.array([feature(pictures, one) for one in real]), real["label"].astype(np.int64)


def _fitted(x: Features, y: NDArray[np.int64], other: Features, classes: int) -> NDArray[np.float64]:
    """Class probabilities of `other` by multinomial logistic regression on (x, y). Deterministic."""
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
    weight = torch.zeros(x.shape[1], classes, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(inputs @ weight + bias, labels) + 1e-3 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        return (torch.from_numpy(other) @ weight + bias).softmax(1).numpy()


def untrained_heads(config: RetinaNetConfig, store: Store) -> float:
    """The pre-trained backbone under random pyramid and heads; no score threshold."""
    lax = replace(config, detection=replace(config.detection, score=0.0))
    plan = Plan(config.global_batch_size, Point(1, "epochs"), Cadence("epochs", (1,)))
    session = build(lax, Context(ALONE, store, Seeds(0), plan, store.root))
    assert isinstance(session, Supervised)
    return session.evaluation()["eval_accuracy"]


def _opened(store: Store, config: RetinaNetConfig, part: str) -> tuple[Pictures, Boxes]:
    pictures = Pictures(Shards(store, part), config.data)
    return pictures, read_boxes(store, part, len(pictures))


def _metric(config: RetinaNetConfig, truth: Boxes) -> BoxAP:
    return BoxAP(ALONE, true_boxes(truth), config.model.classes)


SHORTCUTS: dict[str, Callable[[RetinaNetConfig, Store], float]] = {
    "constant boxes": constant_boxes,
    "majority class in true boxes": majority_class,
    "geometry of true boxes": box_geometry,
    "colours in true boxes": box_colour,
    "untrained heads": untrained_heads,
}
