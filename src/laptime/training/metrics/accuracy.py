"""Top-1 accuracy as a mergeable statistic: (correct, count), summed on the device and over ranks."""

import torch

from laptime.training.distributed.world import World


class TopOne:
    """Counts of correctly classified and of all samples, on `world.device`, without host synchronisation."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.counts = torch.zeros(2, dtype=torch.int64, device=world.device)

    @torch.no_grad()
    def add(self, scores: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor) -> None:
        """scores (N, classes), labels (N), mask (N) bool: samples where it is False are padding and do not count.

        A sample whose scores contain NaN is wrong.
        """
        mask = mask.bool()
        correct = (scores.argmax(1) == labels) & mask & ~scores.isnan().any(1)
        self.counts += torch.stack([correct.sum(), mask.sum()])

    def result(self) -> float:
        """Accuracy over all ranks, equal on each; 0.0 when nothing was counted. Synchronises."""
        correct, count = self.world.sum(self.counts.clone()).tolist()
        return correct / count if count else 0.0
