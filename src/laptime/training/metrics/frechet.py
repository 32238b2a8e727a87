"""Fréchet distance of two sets of features taken for normal distributions (Heusel et al. 2017: "FID").

d² = |m1 - m2|² + tr(S1 + S2 - 2 (S1 S2)^½), with the unbiased covariances S. Sums of features and of their products, in
double precision, are all that is kept: they add up over batches and processes.
"""

from dataclasses import dataclass

import torch

from laptime.training.distributed.world import World


@dataclass(frozen=True)
class Gaussian:
    """Mean (D) and covariance (D, D), in double precision."""

    mean: torch.Tensor
    covariance: torch.Tensor


class FeatureMoments:
    """Mean and covariance of features (N, `width`) of all batches, on `world.device`; no host synchronisation."""

    def __init__(self, world: World, width: int) -> None:
        self.world = world
        self.count = torch.zeros((), dtype=torch.float64, device=world.device)
        self.total = torch.zeros(width, dtype=torch.float64, device=world.device)
        self.products = torch.zeros(width, width, dtype=torch.float64, device=world.device)

    @torch.no_grad()
    def add(self, features: torch.Tensor) -> None:
        """features (N, width) of a batch."""
        wide = features.double()
        self.count += len(wide)
        self.total += wide.sum(0)
        self.products += wide.T @ wide

    def result(self) -> Gaussian:
        """Of all ranks, equal on each; NaN where fewer than two samples were added."""
        count, total, products = (self.world.sum(part.clone()) for part in (self.count, self.total, self.products))
        mean = total / count
        return Gaussian(mean, (products - count * mean.outer(mean)) / (count - 1))


def frechet_distance(one: Gaussian, other: Gaussian) -> float:
    """The squared distance; infinite where either is not finite.

    tr (S1 S2)^½ is the sum of the square roots of the eigenvalues of S1^½ S2 S1^½, which is symmetric: no root of a
    general matrix is needed, and singular covariances do no harm.
    """
    tensors = (one.mean, one.covariance, other.mean, other.covariance)
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        return float("inf")
    values, vectors = torch.linalg.eigh(one.covariance)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    shared = torch.linalg.eigvalsh(root @ other.covariance @ root).clamp(min=0).sqrt().sum()
    between = (one.mean - other.mean).square().sum()
    return float(between + one.covariance.trace() + other.covariance.trace() - 2 * shared)
