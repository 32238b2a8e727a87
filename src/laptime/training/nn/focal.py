"""Focal loss (Lin et al. 2017) of independent sigmoids, with its gradient computed beside its value.

With p = sigmoid(x): FL(x, 1) = alpha (1 - p)^gamma softplus(-x) and FL(x, 0) = (1 - alpha) p^gamma softplus(x). Almost
all targets of a detector are 0, so the second is summed over everything and corrected at the few entries that are 1;
no tensor of targets is made, and the backward pass only scales a gradient that is already there.
"""

import torch
from torch.nn import functional as F

Pair = tuple[torch.Tensor, torch.Tensor]  # value, derivative


def focal_loss(scores: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, *, alpha: float,
               gamma: float) -> torch.Tensor:
    """The weighted sum, 0-D, in float32 (float64 for float64 scores).

    scores: (..., C) logits; labels: (...) int64, the class whose target is 1, negative where none is; weights: (...),
    of all C terms of a row.
    """
    found: torch.Tensor = _Focal.apply(scores, labels, weights, (alpha, gamma))
    return found


def _against(x: torch.Tensor, alpha: float, gamma: float) -> Pair:
    """FL(x, 0) and its derivative."""
    p, softplus = x.sigmoid(), F.softplus(x)
    factor = p.pow(gamma).mul_(1 - alpha)
    slope = (1 - p).mul_(gamma).mul_(softplus).add_(p).mul_(factor)
    return softplus.mul_(factor), slope


def _for(x: torch.Tensor, alpha: float, gamma: float) -> Pair:
    """FL(x, 1) and its derivative: FL(-x, 0) with alpha and 1 - alpha exchanged."""
    value, slope = _against(-x, 1 - alpha, gamma)
    return value, -slope


class _Focal(torch.autograd.Function):
    """Value in `forward`, together with the gradient that `backward` scales."""

    @staticmethod
    def forward(ctx, scores, labels, weights, constants):  # type: ignore[no-untyped-def]
        wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
        value, slope = _against(wide, *constants)
        rows = weights.to(wide.dtype).unsqueeze(-1)
        index = labels.clamp(min=0).unsqueeze(-1)
        chosen = rows * (labels >= 0).unsqueeze(-1)
        at = wide.gather(-1, index)
        (value_1, slope_1), (value_0, slope_0) = _for(at, *constants), _against(at, *constants)
        gradient = slope.mul_(rows).scatter_add_(-1, index, chosen * (slope_1 - slope_0))
        ctx.save_for_backward(gradient.to(scores.dtype))
        return value.mul_(rows).sum() + (chosen * (value_1 - value_0)).sum()

    @staticmethod
    def backward(ctx, upstream):  # type: ignore[no-untyped-def]
        (gradient,) = ctx.saved_tensors
        return gradient * upstream.to(gradient.dtype), None, None, None
