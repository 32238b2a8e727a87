"""Boxes in batches: overlap, matching to anchors, coding as differences, non-maximum suppression. No loop over boxes.

Boxes are corners (x1, y1, x2, y2) in pixels. Letters: N images, G true boxes of an image (padded), A anchors, K
candidates. Sources: Girshick et al. 2013 (coding), Ren et al. 2015 (matching, with low-quality matches), and the
greedy suppression that detectors share.
"""

import math
from dataclasses import dataclass

import torch

NEGATIVE = -1  # in `match`: background
IGNORED = -2  # in `match`: neither object nor background
LONGEST = math.log(1000 / 16)  # decoded sides are clipped at 62.5 times the anchor's (published detectors)
NO_OVERLAP = -1.0  # of padding: below every real overlap
PAIRS = (1 << 20, 1 << 26)  # overlaps held at a time while suppressing: what a cache holds; on an accelerator


def area(boxes: torch.Tensor) -> torch.Tensor:
    """(..., 4) -> (...)."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def overlaps(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Intersection over union of every pair: (..., P, 4), (..., Q, 4) -> (..., P, Q); 0 where both are empty."""
    a, b = _columns(one, -1), _columns(other, -2)
    width = torch.minimum(a[2], b[2]).sub_(torch.maximum(a[0], b[0])).clamp_(min=0)
    height = torch.minimum(a[3], b[3]).sub_(torch.maximum(a[1], b[1])).clamp_(min=0)
    shared = width.mul_(height)
    union = (area(one).unsqueeze(-1) + area(other).unsqueeze(-2)).sub_(shared)
    return shared.div_(union.clamp_(min=torch.finfo(union.dtype).tiny))


def _columns(boxes: torch.Tensor, axis: int) -> torch.Tensor:
    """(..., P, 4) -> (4, ..., P) with an axis for broadcasting, each side's numbers next to each other in memory."""
    return boxes.movedim(-1, 0).contiguous().unsqueeze(axis)


def match(boxes: torch.Tensor, valid: torch.Tensor, anchors: torch.Tensor, *, high: float, low: float) -> torch.Tensor:
    """Which true box each anchor stands for: (N, G, 4), (N, G) bool, (A, 4) -> (N, A) int64.

    The index of the best overlapping box where the overlap is at least `high`; NEGATIVE below `low`; IGNORED between.
    Besides, the anchors that overlap a true box best of all (ties included) stand for their own best box, whatever the
    overlap. Boxes that are not `valid` are padding.
    """
    overlap = overlaps(boxes, anchors).masked_fill_(~valid.unsqueeze(-1), NO_OVERLAP)
    best, index = overlap.max(1)
    highest = overlap.amax(2, keepdim=True)
    chosen = (overlap == highest.masked_fill(highest <= 0, math.inf)).any(1)
    found = torch.where(best < low, NEGATIVE, torch.where(best < high, IGNORED, index))
    return torch.where(chosen, index, found)


def encode(boxes: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """Boxes relative to anchors, (..., 4) each: centre shift over the anchor's sides, and log of the ratio of sides.

    Sides that are not positive (padding) are taken as those of the anchor.
    """
    centre, sides = _centre_and_sides(boxes)
    from_centre, from_sides = _centre_and_sides(anchors)
    ratio = torch.where(sides > 0, sides / from_sides, 1.0)
    return torch.cat([(centre - from_centre) / from_sides, ratio.log()], -1)


def decode(deltas: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """The inverse of `encode`; growth of sides is clipped at `LONGEST`."""
    centre, sides = _centre_and_sides(anchors)
    middle = centre + deltas[..., :2] * sides
    half = 0.5 * sides * deltas[..., 2:].clamp(max=LONGEST).exp()
    return torch.cat([middle - half, middle + half], -1)


def clipped(boxes: torch.Tensor, width: float, height: float) -> torch.Tensor:
    """Boxes cut at the edges of a width x height image."""
    x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
    return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], -1)


def mirrored(boxes: torch.Tensor, width: float) -> torch.Tensor:
    """Boxes of an image of this width after exchanging left and right."""
    return torch.stack([width - boxes[..., 2], boxes[..., 1], width - boxes[..., 0], boxes[..., 3]], -1)


def _centre_and_sides(boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return 0.5 * (boxes[..., :2] + boxes[..., 2:]), boxes[..., 2:] - boxes[..., :2]


@dataclass(frozen=True)
class Candidates:
    """Scored boxes of N images: boxes (N, K, 4), scores (N, K), labels (N, K); `valid` (N, K) bool, False: padding."""

    boxes: torch.Tensor
    scores: torch.Tensor
    labels: torch.Tensor
    valid: torch.Tensor

    def taken(self, index: torch.Tensor, valid: torch.Tensor) -> "Candidates":
        """Those at `index` (N, M), of which `valid` (N, M) count."""
        return Candidates(self.boxes.take_along_dim(index.unsqueeze(-1), 1), self.scores.gather(1, index),
                          self.labels.gather(1, index), valid)

    def best(self, count: int) -> "Candidates":
        """The `count` best scored per image (all where there are fewer), best first; of equals the earlier first."""
        scores = self.scores.masked_fill(~self.valid, -math.inf)
        index = scores.sort(dim=1, descending=True, stable=True).indices[:, :count]
        return self.taken(index, self.valid.gather(1, index))

    def joined(self, other: "Candidates") -> "Candidates":
        """Both sets, image by image."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in ("boxes", "scores", "labels", "valid"))
        return Candidates(*(torch.cat(pair, 1) for pair in pairs))


def suppressed(candidates: Candidates, *, overlap: float, keep: int) -> Candidates:
    """Class-wise greedy non-maximum suppression of all images at once: at most `keep` per image, best first.

    A box goes when a better one of its class that stays overlaps it by more than `overlap`.
    """
    found = candidates.best(candidates.scores.shape[1])
    image, place = found.valid.nonzero(as_tuple=True)
    labels = found.labels[image, place]
    group = image * (int(labels.max()) + 1 if len(labels) else 1) + labels
    order = group.argsort(stable=True)  # by image and class, within them by score
    stays = torch.zeros_like(found.valid)
    stays[image[order], place[order]] = _stays(found.boxes[image[order], place[order]], group[order], overlap)
    return Candidates(found.boxes, found.scores, found.labels, stays).best(keep)


def _stays(boxes: torch.Tensor, group: torch.Tensor, overlap: float) -> torch.Tensor:
    """Which of the boxes (T, 4), in runs of equal `group` (T) and within a run best first, stay: (T) bool."""
    stays = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    _, counts = group.unique_consecutive(return_counts=True)
    first = counts.cumsum(0) - counts
    sizes, order = counts.sort(descending=True)
    start, lengths = 0, sizes.tolist()
    while start < len(lengths):
        longest = lengths[start]
        room = max(1, PAIRS[boxes.device.type == "cuda"] // longest**2)
        stop = start + sum(1 for length in lengths[start:start + room] if 2 * length > longest)
        steps = torch.arange(longest, device=boxes.device)
        real = steps < sizes[start:stop, None]
        index = torch.where(real, first[order[start:stop], None] + steps, 0)
        stays[index[real]] = _greedy(boxes[index], real, overlap)[real]
        start = stop
    return stays


def _greedy(boxes: torch.Tensor, valid: torch.Tensor, overlap: float) -> torch.Tensor:
    """Of groups (M, L, 4) in order of score: the fixed point of "stays unless a better one that stays covers it".

    Each pass settles at least one more box of every chain, so it ends with the greedy answer after as many passes as
    the longest chain of coverings is long: a handful in practice.
    """
    covers = _covering(boxes, overlap).triu_(1).to(boxes.dtype)  # [better, worse]
    stays = valid
    while True:
        covered = torch.bmm(stays.to(covers.dtype).unsqueeze(1), covers).squeeze(1) > 0
        after = valid & ~covered
        if torch.equal(after, stays):
            return after
        stays = after


def _covering(boxes: torch.Tensor, overlap: float) -> torch.Tensor:
    """(M, L, 4) -> (M, L, L) bool: the two overlap by more than `overlap`; few passes over the pairs."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    shared = torch.minimum(x2[:, :, None], x2[:, None]).sub_(torch.maximum(x1[:, :, None], x1[:, None])).clamp_(min=0)
    down = torch.minimum(y2[:, :, None], y2[:, None]).sub_(torch.maximum(y1[:, :, None], y1[:, None])).clamp_(min=0)
    shared *= down
    own = area(boxes)
    union = torch.add(own[:, :, None], own[:, None], out=down).sub_(shared)
    return shared > union.mul_(overlap)
