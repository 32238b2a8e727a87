"""The mean of a value per sample, as a mergeable statistic: (sum, count) in double precision."""

import torch

from laptime.training.distributed.world import World


class Mean:
    """The mean over all batches and ranks, on `world.device`, without host synchronisation until `result`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sums = torch.zeros(2, dtype=torch.float64, device=world.device)

    @torch.no_grad()
    def add(self, values: torch.Tensor) -> None:
        """values (N) of a batch."""
        self.sums[0] += values.double().sum()
        self.sums[1] += len(values)

    def result(self) -> float:
        """Over all ranks, equal on each; 0.0 when nothing was added. Synchronises."""
        total, count = self.world.sum(self.sums.clone()).tolist()
        return total / count if count else 0.0
