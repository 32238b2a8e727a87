"""The area under the ROC curve, exact: the share of (positive, negative) pairs that the scores put right, ties half.

Mergeable over ranks and batches: every score is kept (four bytes and one per sample) and all are sorted once.
"""

import torch

from laptime.training.distributed.exchange import gathered
from laptime.training.distributed.world import World

PADDING = -1  # class of what does not count


class ROCAUC:
    """Scores and labels of all batches on `world.device`, without host synchronisation until `result`.

    Ranks must add equally many values, padding included.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self._scores: list[torch.Tensor] = []
        self._classes: list[torch.Tensor] = []

    @torch.no_grad()
    def add(self, scores: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor) -> None:
        """scores (N) floating point, labels (N) 0 or 1, mask (N) bool: samples where it is False do not count.

        A score that is NaN is on the wrong side of all others.
        """
        positive = labels > 0.5
        worst = torch.where(positive, -torch.inf, torch.inf).to(scores.dtype)
        self._scores.append(torch.where(scores.isnan(), worst, scores))
        self._classes.append(torch.where(mask, positive.to(torch.int8), PADDING))

    def result(self) -> float:
        """The area over all ranks, equal on each; 0.5 when one class is missing. Synchronises."""
        if not self._scores:
            return 0.5
        scores = gathered(self.world, torch.cat(self._scores))
        classes = gathered(self.world, torch.cat(self._classes))
        counted = classes != PADDING
        return area(scores[counted], classes[counted] == 1)


def area(scores: torch.Tensor, positive: torch.Tensor) -> float:
    """The area for scores (N) and truth (N) bool; 0.5 when one class is missing. Whole numbers up to the division."""
    ordered, order = scores.sort()
    _, tie = torch.unique_consecutive(ordered, return_inverse=True)
    hits = positive[order].long()
    groups = torch.zeros(2, int(tie[-1]) + 1 if len(tie) else 0, dtype=torch.int64, device=scores.device)
    groups[0].index_add_(0, tie, hits)
    groups[1].index_add_(0, tie, 1 - hits)
    positives, negatives = groups
    twice = (positives * (2 * (negatives.cumsum(0) - negatives) + negatives)).sum()  # 2 per pair in order, 1 per tie
    pairs = int(positives.sum()) * int(negatives.sum())
    return int(twice) / (2 * pairs) if pairs else 0.5
