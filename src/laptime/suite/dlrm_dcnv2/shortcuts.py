"""What can be had without crossing features: baselines that no honest target may lie within reach of.

Each takes an unlocked store and returns the area under the ROC curve on its evaluation part.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from laptime.suite.dlrm_dcnv2.config import DLRMConfig
from laptime.suite.dlrm_dcnv2.data import EvalBatches
from laptime.suite.dlrm_dcnv2.model import DLRM, initialise
from laptime.suite.dlrm_dcnv2.reader import Clicks, open_day
from laptime.training.data.store import Store
from laptime.training.distributed.world import World
from laptime.training.metrics.auc import ROCAUC, area
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
PRIOR = 20.0  # samples of the mean that each id's share of clicks is drawn towards
STEPS = 40  # of L-BFGS
FITTED = 150_000  # training samples at most: a linear model has learnt what it can by then

Scores = NDArray[np.float64]


def part(config: DLRMConfig, store: Store, name: str) -> Clicks:
    """Training or evaluation samples."""
    data = config.data
    days, count = ((range(data.days - 1), data.train_samples) if name == "train"
                   else (range(data.days - 1, data.days), data.eval_samples))
    return Clicks([open_day(store.data, day, config.model) for day in days], count)


def majority_class(config: DLRMConfig, store: Store) -> float:
    """The same score for everybody."""
    labels = _labels(part(config, store, "eval"))
    return _area(np.zeros(len(labels)), labels)


def best_single_feature(config: DLRMConfig, store: Store) -> float:
    """Each id scored by its share of clicks in training; the feature that does best."""
    train, evaluation = part(config, store, "train"), part(config, store, "eval")
    return max(_area(scores, _labels(evaluation)) for scores in _shares(config, train, evaluation))


def all_features_added_up(config: DLRMConfig, store: Store) -> float:
    """Naive Bayes: the log-odds of the ids of all features, added."""
    train, evaluation = part(config, store, "train"), part(config, store, "eval")
    total = sum(np.log(shares / (1 - shares)) for shares in _shares(config, train, evaluation))
    return _area(np.asarray(total), _labels(evaluation))


def dense_features(config: DLRMConfig, store: Store) -> float:
    """Logistic regression on the dense features and their squares."""
    train, evaluation = part(config, store, "train"), part(config, store, "eval")
    return _regression([_dense(train)], [_dense(evaluation)], _labels(train), _labels(evaluation))


def everything_linear(config: DLRMConfig, store: Store) -> float:
    """Logistic regression on dense features and one weight per row of every table: the whole model without crossing."""
    train, evaluation = part(config, store, "train"), part(config, store, "eval")
    return _regression([_dense(train), _ids(config, train)], [_dense(evaluation), _ids(config, evaluation)],
                       _labels(train), _labels(evaluation))


def untrained_network(config: DLRMConfig, store: Store) -> float:
    """The network's scores before it learnt anything, or their opposite."""
    model = DLRM(config.model, ALONE)
    initialise(model, Seeds(0))
    ranking = ROCAUC(ALONE)
    with torch.no_grad():
        for dense, labels, lookups, valid in EvalBatches(store, config, ALONE):
            ranking.add(model(dense, lookups), labels, valid)
    found = ranking.result()
    return max(found, 1 - found)


def _labels(clicks: Clicks) -> Scores:
    return clicks.labels(0, clicks.count).astype(np.float64)


def _area(scores: Scores, labels: Scores) -> float:
    return area(torch.from_numpy(scores), torch.from_numpy(labels > 0.5))


def _first_ids(clicks: Clicks, table: int) -> NDArray[np.int64]:
    """The id that each bag was made from."""
    return clicks.flat(0, clicks.count, [table], [0])[:, 0]


def _shares(config: DLRMConfig, train: Clicks, evaluation: Clicks) -> list[Scores]:
    """Per feature, the training share of clicks of each evaluation sample's id."""
    labels, found = _labels(train), []
    for k, rows in enumerate(config.model.rows):
        ids = _first_ids(train, k)
        seen, clicked = np.bincount(ids, minlength=rows), np.bincount(ids, labels, minlength=rows)
        shares = (clicked + PRIOR * labels.mean()) / (seen + PRIOR)
        found.append(shares[_first_ids(evaluation, k)])
    return found


def _dense(clicks: Clicks) -> torch.Tensor:
    dense = torch.from_numpy(clicks.dense(0, clicks.count)).double()
    return torch.cat([dense, dense.square(), torch.ones(len(dense), 1, dtype=torch.float64)], dim=1)


def _ids(config: DLRMConfig, clicks: Clicks) -> torch.Tensor:
    """First ids of all features as numbers of weights, (samples, T): the rest of a bag follows from its first id."""
    starts = np.cumsum([0, *config.model.rows[:-1]])
    return torch.from_numpy(np.stack([_first_ids(clicks, k) + start for k, start in enumerate(starts)], axis=1))


def _regression(train: list[torch.Tensor], evaluation: list[torch.Tensor], labels: Scores, truth: Scores) -> float:
    """Area on (evaluation, truth) of logistic regression fitted to (train, labels).

    A block of floating-point columns has one weight per column, one of ids one weight per id.
    """
    train, labels = [block[:FITTED] for block in train], labels[:FITTED]
    weights = [torch.zeros(_inputs(torch.cat(pair)), 1, dtype=torch.float64, requires_grad=True)
               for pair in zip(train, evaluation, strict=True)]
    optimizer = torch.optim.LBFGS(weights, max_iter=STEPS, line_search_fn="strong_wolfe")
    target = torch.from_numpy(labels)[:, None]

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(_logits(train, weights), target)
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        return _area(_logits(evaluation, weights)[:, 0].numpy(), truth)


def _inputs(block: torch.Tensor) -> int:
    return block.shape[1] if block.is_floating_point() else int(block.max()) + 1


def _logits(blocks: list[torch.Tensor], weights: list[torch.Tensor]) -> torch.Tensor:
    parts = [block @ weight if block.is_floating_point() else F.embedding_bag(block, weight, mode="sum")
             for block, weight in zip(blocks, weights, strict=True)]
    return torch.stack(parts).sum(0)


SHORTCUTS: dict[str, Callable[[DLRMConfig, Store], float]] = {
    "majority class": majority_class,
    "best single feature": best_single_feature,
    "all features added up": all_features_added_up,
    "dense features": dense_features,
    "logistic regression on everything": everything_linear,
    "untrained network": untrained_network,
}
