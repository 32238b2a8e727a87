"""Box average precision as COCO defines it: overlap 0.50:0.95, all areas, at most 100 detections per image and class.

Follows the published evaluation code (`pycocotools.cocoeval`) number for number, with detections matched for many
(image, class) pairs at once. Each rank matches its own images; what is merged is one row per detection (class, score,
image, and at which overlaps it is right or does not count) and the number of true boxes per class.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from laptime.training.distributed.world import World

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

OVERLAPS = np.linspace(0.5, 0.95, 10)  # cocoeval: iouThrs
RECALLS = np.linspace(0.0, 1.0, 101)  # cocoeval: recThrs
LARGEST = 1 - 1e-10  # cocoeval: an overlap threshold is never quite 1
PER_IMAGE = 100  # cocoeval: maxDets, of one class
CELLS = 1 << 22  # true boxes x thresholds x pairs matched at a time


@dataclass(frozen=True)
class TrueBoxes:
    """Annotations: `image` and `label` (n), `boxes` (n, 4) as x, y, width, height in pixels, `crowd` (n) bool: regions
    whose detections neither count nor hurt."""

    image: Ints
    label: Ints
    boxes: Floats
    crowd: Flags


@dataclass(frozen=True)
class FoundBoxes:
    """Detections: `image`, `label`, `score` (n), `boxes` (n, 4) as x, y, width, height in pixels."""

    image: Ints
    label: Ints
    score: Floats
    boxes: Floats


@dataclass
class BoxAP:
    """Average precision over the images of all ranks; `truth` holds this rank's images, all ranks' are disjoint."""

    world: World
    truth: TrueBoxes
    classes: int
    _found: list[FoundBoxes] = field(default_factory=list)

    def add(self, found: FoundBoxes) -> None:
        """Detections of images of this rank, in any order of images; all of an image at once."""
        self._found.append(found)

    def result(self) -> float:
        """The mean over classes that occur and over ten overlaps, equal on every rank; 0.0 where no class occurs."""
        rows = _rows(_joined(self._found), self.truth, self.classes)
        counts = np.bincount(self.truth.label[~self.truth.crowd], minlength=self.classes).astype(np.float64)
        merged = gathered(self.world, rows)
        total = self.world.sum(torch.from_numpy(counts).to(self.world.device)).cpu().numpy()
        return float(mean_precision(merged, total))


def _joined(found: list[FoundBoxes]) -> FoundBoxes:
    """All detections by image, and within an image and class by score, of which the best `PER_IMAGE` stay."""
    image = np.concatenate([np.zeros(0, np.int64), *(one.image for one in found)])
    label = np.concatenate([np.zeros(0, np.int64), *(one.label for one in found)])
    score = np.concatenate([np.zeros(0), *(one.score for one in found)])
    boxes = np.concatenate([np.zeros((0, 4)), *(one.boxes for one in found)])
    order = np.lexsort((-score, label, image))
    order = order[_rank(image[order], label[order]) < PER_IMAGE]
    return FoundBoxes(image[order], label[order], score[order], boxes[order])


def _rank(image: Ints, label: Ints) -> Ints:
    """Position within its run of equal (image, label)."""
    first = np.ones(len(image), bool)
    first[1:] = (image[1:] != image[:-1]) | (label[1:] != label[:-1])
    start = np.flatnonzero(first)
    return np.arange(len(image)) - start[np.cumsum(first) - 1] if len(image) else np.zeros(0, np.int64)


def _rows(found: FoundBoxes, truth: TrueBoxes, classes: int) -> Floats:
    """One row per detection: class, score, image, right at each overlap (10), does not count at each overlap (10)."""
    right, ignored = matched(found, truth, classes)
    return np.concatenate([found.label[:, None], found.score[:, None], found.image[:, None], right, ignored], 1)


def matched(found: FoundBoxes, truth: TrueBoxes, classes: int) -> tuple[Flags, Flags]:
    """For each detection (sorted by image, class, falling score) and overlap: right; does not count. (n, 10) each."""
    right = np.zeros((len(found.image), len(OVERLAPS)), bool)
    ignored = np.zeros_like(right)
    for one in _batches(found, truth, classes):
        at = one.detections[one.detected]
        hits, spared = _greedy(one, found.boxes, truth)
        right[at], ignored[at] = hits[one.detected], spared[one.detected]
    return right, ignored


@dataclass(frozen=True)
class _Pairs:
    """B (image, class) pairs that have detections and true boxes, most detections first; indices padded with 0."""

    detections: Ints  # (B, D)
    detected: Flags  # (B, D)
    truths: Ints  # (B, G)
    true: Flags  # (B, G)


def _batches(found: FoundBoxes, truth: TrueBoxes, classes: int) -> Iterator[_Pairs]:
    """All pairs with both kinds of boxes, in batches of similar numbers of true boxes."""
    keys, first, counts = np.unique(found.image * classes + found.label, return_index=True, return_counts=True)
    own = truth.image * classes + truth.label
    order = np.argsort(own, kind="stable")
    true_keys, true_first, true_counts = np.unique(own[order], return_index=True, return_counts=True)
    _, here, there = np.intersect1d(keys, true_keys, assume_unique=True, return_indices=True)
    by_size = np.argsort(true_counts[there], kind="stable")
    here, there = here[by_size], there[by_size]
    start = 0
    while start < len(here):
        room = CELLS // len(OVERLAPS)
        stop = start + max(1, int((np.maximum.accumulate(true_counts[there[start:]])
                                   * np.arange(1, len(there) - start + 1) <= room).sum()))
        one, other = here[start:stop], there[start:stop]
        falling = np.argsort(-counts[one], kind="stable")
        one, other = one[falling], other[falling]
        detections, detected = _padded(first[one], counts[one])
        positions, true = _padded(true_first[other], true_counts[other])
        yield _Pairs(detections, detected, order[positions], true)
        start = stop


def _padded(first: Ints, counts: Ints) -> tuple[Ints, Flags]:
    """Runs of consecutive indices as rows of equal length, and which entries are real."""
    steps = np.arange(counts.max())
    real = steps < counts[:, None]
    return np.where(real, first[:, None] + steps, 0), real


def _greedy(pairs: _Pairs, boxes: Floats, truth: TrueBoxes) -> tuple[Flags, Flags]:
    """Detections take the best true box that is left, in order of score: (B, D, 10) right, (B, D, 10) not counted.

    Of equally good true boxes the later one is taken (cocoeval replaces on equality).
    """
    crowd = truth.crowd[pairs.truths] & pairs.true
    free = np.repeat((pairs.true & ~crowd)[:, None, :], len(OVERLAPS), 1)
    right = np.zeros((*pairs.detections.shape, len(OVERLAPS)), bool)
    spared = np.zeros_like(right)
    least = np.minimum(OVERLAPS, LARGEST)[None, :, None]
    for rank in range(pairs.detections.shape[1]):
        active = int(pairs.detected[:, rank].sum())  # pairs with fewer detections come later
        overlap = _overlaps(boxes[pairs.detections[:active, rank]], truth.boxes[pairs.truths[:active]], crowd[:active])
        enough = overlap[:, None, :] >= least
        candidates = np.where(enough & free[:active], overlap[:, None, :], -1.0)
        last = candidates.shape[2] - 1 - candidates[:, :, ::-1].argmax(2)
        hit = np.take_along_axis(candidates, last[:, :, None], 2)[:, :, 0] >= 0
        pair, threshold = np.nonzero(hit)
        free[pair, threshold, last[pair, threshold]] = False
        right[:active, rank] = hit
        spared[:active, rank] = ~hit & (enough & crowd[:active, None, :]).any(2)
    return right, spared


def _overlaps(one: Floats, others: Floats, crowd: Flags) -> Floats:
    """(B, 4) with (B, G, 4), x y w h -> (B, G): intersection over union, over the detection's area for crowds."""
    one = one[:, None, :]
    size = np.minimum(one[..., :2] + one[..., 2:], others[..., :2] + others[..., 2:])
    size = np.maximum(size - np.maximum(one[..., :2], others[..., :2]), 0.0)
    shared = size[..., 0] * size[..., 1]
    own, their = one[..., 2] * one[..., 3], others[..., 2] * others[..., 3]
    whole = np.where(crowd, own, own + their - shared)
    return np.divide(shared, whole, out=np.zeros_like(shared), where=shared > 0)


def mean_precision(rows: Floats, counts: Floats) -> float:
    """The mean precision of merged rows (see `_rows`); `counts`: true boxes per class."""
    rows = rows[np.lexsort((rows[:, 2], -rows[:, 1], rows[:, 0]))]
    ends = np.searchsorted(rows[:, 0], np.arange(len(counts) + 1))
    found = [_precision(rows[ends[label]:ends[label + 1], 3:] > 0, count)
             for label, count in enumerate(counts.tolist()) if count]
    return float(np.mean(found)) if found else 0.0


def _precision(flags: Flags, count: float) -> float:
    """Mean of interpolated precision at 101 recalls and ten overlaps, of one class in order of score."""
    right, ignored = flags[:, :len(OVERLAPS)], flags[:, len(OVERLAPS):]
    hits = np.cumsum(right & ~ignored, 0, dtype=np.float64)
    misses = np.cumsum(~right & ~ignored, 0, dtype=np.float64)
    precision = hits / (hits + misses + np.spacing(1))
    precision = np.maximum.accumulate(precision[::-1], 0)[::-1]
    at_recalls = np.zeros((len(RECALLS), len(OVERLAPS)))
    for column in range(len(OVERLAPS)):
        reached = np.searchsorted(hits[:, column] / count, RECALLS, side="left")
        inside = reached < len(hits)
        at_recalls[inside, column] = precision[reached[inside], column]
    return float(at_recalls.mean())


def gathered(world: World, rows: Floats) -> Floats:
    """The rows of all ranks, in order of rank, on every rank."""
    if world.size == 1:
        return rows
    counts = torch.zeros(world.size, dtype=torch.int64, device=world.device)
    counts[world.rank] = len(rows)
    lengths = world.sum(counts).tolist()
    start = sum(lengths[:world.rank])
    merged = torch.zeros(sum(lengths), rows.shape[1], dtype=torch.float64, device=world.device)
    merged[start:start + len(rows)] = torch.from_numpy(np.asarray(rows, np.float64)).to(world.device)
    return world.sum(merged).cpu().numpy()
