"""Cross entropy of logits whose vocabulary lies on several processes (Shoeybi et al. 2019, section 3).

What travels is three numbers per label: the largest logit, the sum of exponentials, the logit of the label.
"""

import torch
import torch.distributed as dist
from torch.nn import functional as F

from laptime.training.distributed.world import World

IGNORED = -100  # torch's


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, world: World) -> torch.Tensor:
    """Losses, in float32 at least and shaped like `labels`; 0.0 for labels below 0.

    logits: (*labels.shape, part of the vocabulary that this process of `world`, a tensor world, has).
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32)).flatten(0, -2)
    flat = labels.flatten().long()
    if world.size == 1:
        losses = F.cross_entropy(wide, torch.where(flat < 0, IGNORED, flat), reduction="none", ignore_index=IGNORED)
    else:
        losses = torch.where(flat < 0, 0.0, _CrossEntropy.apply(wide, flat, world))
    return losses.view(labels.shape)


class _CrossEntropy(torch.autograd.Function):
    """log sum exp z - z[label]; the gradient is softmax(z) - [label]."""

    @staticmethod
    def forward(ctx, logits, labels, world):  # type: ignore[no-untyped-def]
        highest = logits.amax(-1)
        dist.all_reduce(highest, dist.ReduceOp.MAX, group=world.group)
        exponentials = (logits - highest[:, None]).exp()
        here = labels - world.rank * logits.shape[-1]
        mine = (here >= 0) & (here < logits.shape[-1])
        here = here.clamp(0, logits.shape[-1] - 1)
        picked = torch.where(mine, logits.gather(-1, here[:, None])[:, 0] - highest, 0.0)
        both = world.sum(torch.stack([exponentials.sum(-1), picked]))
        ctx.save_for_backward(exponentials.div_(both[0][:, None]), here, mine)
        return both[0].log() - both[1]

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        shares, here, mine = ctx.saved_tensors
        changed = shares * gradient[:, None]
        changed.scatter_add_(-1, here[:, None], torch.where(mine, -gradient, 0.0)[:, None])
        return changed, None, None
