"""Generated clicks in the one-hot layout of the published data, equal on every machine.

Every id of every feature has hidden tastes (small whole numbers); a bag has the scaled sum of those of its ids. Even
features describe who looks, odd ones what is shown: their tastes are added up, and a click is likely where the two
sums agree (a joint effect of low rank that no feature shows alone) and where ids and counts are popular in themselves.
Some ids are common and most are rare. All is integer arithmetic, or element-wise IEEE operations, on Philox's raw
stream.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from laptime.suite.dlrm_dcnv2.config import DLRMConfig
from laptime.suite.dlrm_dcnv2.multi_hot import bag_tables
from laptime.suite.dlrm_dcnv2.published import one_hot_name
from laptime.suite.dlrm_dcnv2.reader import dense_name, labels_name

GENERATOR = "clicks-1"
BIAS = -1.0  # of the logit: about three in ten click
COUNTS = 64  # values of a dense feature before the logarithm
STEPS = 64  # of the logit in the table of probabilities, per unit
LIMIT = 12 * STEPS
TASTE = 8  # tastes are whole numbers from -TASTE to TASTE

Whole = NDArray[np.int64]
Fractions = NDArray[np.float64]


@dataclass(frozen=True)
class Teacher:
    """What makes a click. tastes[k]: (ids of feature k, hidden) of whole bags; merits[k]: (ids); weights: (F)."""

    tastes: Sequence[Whole]
    merits: Sequence[Whole]
    weights: Whole
    main: float
    joint: float

    @classmethod
    def of(cls, config: DLRMConfig, seed: int) -> "Teacher":
        data, model = config.data, config.model
        tastes, merits = [], []
        for k, table in enumerate(bag_tables(model.rows, model.bags)):
            drawn = _between(_fractions(seed, 1 + k, model.rows[k] * (data.hidden + 1)), TASTE)
            summed = drawn.reshape(model.rows[k], data.hidden + 1)[table].sum(1)
            scaled = summed * round(256 / math.sqrt(model.bags[k]))  # bags of all sizes vary alike; in 1/256
            tastes.append(_centred(scaled[:, :-1]))
            merits.append(scaled[:, -1])
        weights = _between(_fractions(seed, 0, model.dense_features), TASTE)
        each = 256.0**2 * TASTE * (TASTE + 1) / 3  # variance of one scaled taste
        features = len(model.rows)
        joint = data.joint_effect / (each * math.sqrt(data.hidden * (features // 2) * (features - features // 2)))
        return cls(tastes, merits, weights, data.main_effect / math.sqrt(each * features), joint)

    def probabilities(self, ids: Whole, counts: Whole) -> Fractions:
        """Of a click, for ids (n, T) and counts (n, F)."""
        hidden = self.tastes[0].shape[1]
        sides, merit = np.zeros((2, len(ids), hidden), np.int64), np.zeros(len(ids), np.int64)
        for k, (tastes, merits) in enumerate(zip(self.tastes, self.merits, strict=True)):
            sides[k % 2] += tastes[ids[:, k]]
            merit += merits[ids[:, k]]
        for f, weight in enumerate(self.weights):
            merit += weight * (counts[:, f] - COUNTS // 4) * 16
        agreement = (sides[0] * sides[1]).sum(1)
        logit = merit * self.main + agreement * self.joint + BIAS
        return PROBABILITIES[np.rint(np.minimum(np.maximum(logit * STEPS, -LIMIT), LIMIT)).astype(np.int64) + LIMIT]


def _centred(values: Whole) -> Whole:
    """(ids, hidden), less the mean over samples: else one side's mean would make a single feature of the other tell."""
    ids = len(values)
    common = [math.sqrt((one + 1) / ids) - math.sqrt(one / ids) for one in range(ids)]  # of `drawn_ids`
    means = [round(math.fsum(map(float.__mul__, common, column))) for column in values.T.astype(float).tolist()]
    return values - np.array(means, np.int64)


PROBABILITIES = np.array([1 / (1 + math.exp(-step / STEPS)) for step in range(-LIMIT, LIMIT + 1)])
LOGARITHMS = np.array([math.log(count + 2) for count in range(COUNTS)], np.float32)  # reference: log(x - minimum + 2)


def write_published(config: DLRMConfig, folder: Path, seed: int) -> None:
    """Draw all days into `folder`: day_<i>_dense.npy, day_<i>_labels.npy, day_<i>_sparse.npy."""
    teacher = Teacher.of(config, seed)
    for day, count in enumerate(day_sizes(config)):
        ids, counts = drawn_ids(config, seed, day, count), drawn_counts(config, seed, day, count)
        clicked = _fractions(seed, _key(day, 99), count) < teacher.probabilities(ids, counts)
        np.save(folder / one_hot_name(day), ids.astype("<i4"))
        np.save(folder / dense_name(day), LOGARITHMS[counts])
        np.save(folder / labels_name(day), clicked.astype("<i4")[:, None])


def day_sizes(config: DLRMConfig) -> list[int]:
    """Samples of each day: training days of nearly equal size, then one of twice the evaluation samples."""
    train, days = config.data.train_samples, config.data.days - 1
    return [*((day + 1) * train // days - day * train // days for day in range(days)), 2 * config.data.eval_samples]


def drawn_ids(config: DLRMConfig, seed: int, day: int, count: int) -> Whole:
    """(count, T): the smaller an id, the more common."""
    found = np.empty((count, len(config.model.rows)), np.int64)
    for k, rows in enumerate(config.model.rows):
        u = _fractions(seed, _key(day, 100 + k), count)
        found[:, k] = np.floor(u * u * rows)
    return found


def drawn_counts(config: DLRMConfig, seed: int, day: int, count: int) -> Whole:
    """(count, F): from 0 to COUNTS - 1, small ones more common."""
    u = _fractions(seed, _key(day, 98), count * config.model.dense_features)
    return np.floor(u * u * COUNTS).astype(np.int64).reshape(count, -1)


def _key(day: int, part: int) -> int:
    return (1 + day) * 1000 + part


def _fractions(seed: int, key: int, count: int) -> Fractions:
    """Numbers in [0, 1) of 53 random bits, a function of seed and key."""
    stream = np.random.Philox(key=np.array([seed, key], np.uint64))
    return (stream.random_raw(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _between(fractions: Fractions, limit: int) -> Whole:
    """Whole numbers from -limit to limit."""
    return np.floor(fractions * (2 * limit + 1)).astype(np.int64) - limit
