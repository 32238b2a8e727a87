"""What can be had without seeing shapes: baselines that no honest target may lie within reach of.

Each takes an unlocked store and returns top-1 accuracy on its evaluation part. They get every advantage: features of
whole images, and the regularisation that happens to do best on the evaluation part itself.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from laptime.suite.resnet.config import ResNetConfig
from laptime.suite.resnet.model import ResNet, initialise
from laptime.suite.resnet.reader import Pictures, eval_axes, renderer
from laptime.training.data.jpeg import Image
from laptime.training.data.shards import Shards
from laptime.training.data.store import Store
from laptime.training.distributed.world import World
from laptime.training.seeds import Seeds

BINS = 6  # per colour channel of the joint histogram
PENALTIES = (1e-4, 1e-2, 1.0)  # L2, tried in turn
STEPS = 60  # of L-BFGS

Features = NDArray[np.float64]


def majority_class(store: Store) -> float:
    """Always answer the most frequent training class."""
    _, train = _features(store, "train", lambda image: np.zeros(0))
    _, evaluation = _features(store, "eval", lambda image: np.zeros(0))
    return float((evaluation == np.bincount(train).argmax()).mean())


def mean_colour(store: Store) -> float:
    """A linear classifier on the mean and spread of each colour channel."""
    return _probe(store, _mean_and_spread)


def colour_histogram(store: Store) -> float:
    """A linear classifier on the joint histogram of colours."""
    return _probe(store, _histogram)


def tiny_pixels(store: Store) -> float:
    """A linear classifier on the raw pixels of an 8 x 8 thumbnail."""
    return _probe(store, _thumbnail)


def linear_probe(train_x: Features, train_y: NDArray[np.int64], eval_x: Features, eval_y: NDArray[np.int64]) -> float:
    """Accuracy on (eval_x, eval_y) of multinomial logistic regression fitted to (train_x, train_y); x: (n, features).

    Features are standardised; the best of `PENALTIES` counts. Deterministic.
    """
    mean, spread = train_x.mean(0), train_x.std(0) + 1e-8
    train, evaluation = (torch.from_numpy((x - mean) / spread) for x in (train_x, eval_x))
    labels = torch.from_numpy(train_y)
    truth = torch.from_numpy(eval_y)
    fits = (_logistic_regression(train, labels, penalty) for penalty in PENALTIES)
    return max(float(((evaluation @ w + b).argmax(1) == truth).double().mean()) for w, b in fits)


def _logistic_regression(x: torch.Tensor, y: torch.Tensor, penalty: float) -> tuple[torch.Tensor, torch.Tensor]:
    classes = int(y.max()) + 1
    weight = torch.zeros(x.shape[1], classes, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(x @ weight + bias, y) + penalty * weight.square().sum() / 2
        loss.backward()
        return loss

    optimizer.step(closure)
    return weight.detach(), bias.detach()


def _probe(store: Store, feature: Callable[[Image], Features]) -> float:
    return linear_probe(*_features(store, "train", feature), *_features(store, "eval", feature))


def _features(store: Store, part: str, feature: Callable[[Image], Features]) -> tuple[Features, NDArray[np.int64]]:
    pictures = Pictures(Shards(store, part), cache_bytes=0)
    return np.stack([feature(pictures[i]) for i in range(len(pictures.labels))]), pictures.labels


def _mean_and_spread(image: Image) -> Features:
    pixels = image.reshape(-1, 3).astype(np.float64)
    return np.concatenate([pixels.mean(0), pixels.std(0)])


def _histogram(image: Image) -> Features:
    cells = image.reshape(-1, 3).astype(np.int64) * BINS // 256
    counts = np.bincount(cells @ np.array([BINS * BINS, BINS, 1]), minlength=BINS**3)
    return counts / len(cells)


def _thumbnail(image: Image) -> Features:
    height, width, _ = image.shape
    rows, columns = (np.arange(8) * height // 8, np.arange(8) * width // 8)
    sums = np.add.reduceat(np.add.reduceat(image.astype(np.float64), rows, axis=0), columns, axis=1)
    return (sums / (height * width / 64)).reshape(-1)


def untrained_network(config: ResNetConfig, store: Store) -> float:
    """A linear classifier on what the network makes of the evaluation crops before it learnt anything.

    It gets the statistics of its own batches: with the initial running ones its features would be worse.
    """
    model = ResNet(config.model, World(0, 1, torch.device("cpu")))
    initialise(model, Seeds(0).torch("init"))
    setattr(model, "fc1", torch.nn.Identity())  # noqa: B010  (the features instead of the scores)
    train, evaluation = (Pictures(Shards(store, part), cache_bytes=0) for part in ("train", "eval"))
    span = config.model.norm_span
    return linear_probe(_outputs(model, _crops(config, train), span), train.labels,
                        _outputs(model, _crops(config, evaluation), span), evaluation.labels)


def _crops(config: ResNetConfig, pictures: Pictures) -> torch.Tensor:
    """The evaluation crop of every picture, (n, 3, crop, crop)."""
    samples = np.arange(len(pictures.labels))
    with renderer(config.data, 1) as drawing:
        return drawing.images(pictures, samples, eval_axes(config.data, pictures, samples), size=len(samples),
                              pinned=False)


@torch.no_grad()
def _outputs(model: ResNet, crops: torch.Tensor, span: int) -> Features:
    """(n, features), in batches of `span`; the last one is filled up with the first samples."""
    filled = torch.cat([crops, crops[:-len(crops) % span]])
    return torch.cat([model(batch) for batch in filled.split(span)])[:len(crops)].double().numpy()


def _without_config(measure: Callable[[Store], float]) -> Callable[[ResNetConfig, Store], float]:
    return lambda config, store: measure(store)


SHORTCUTS: dict[str, Callable[[ResNetConfig, Store], float]] = {
    "majority class": _without_config(majority_class),
    "mean colour": _without_config(mean_colour),
    "colour histogram": _without_config(colour_histogram),
    "thumbnail pixels": _without_config(tiny_pixels),
    "untrained network": untrained_network,
}
