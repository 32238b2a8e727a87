"""Linear layers whose weight gradients are written where those of the step before were.

On the CPU large gradients are otherwise given back to the system after every step and taken from it again, page by
page: up to a tenth of a step. The memory stays with the weight; while anything still refers to it (a gradient that was
not dropped, one that somebody keeps), a gradient gets memory of its own as usual. Values are those of torch's layers.
"""

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

KEPT_BYTES = 1 << 20  # smaller ones the allocator keeps by itself
OURS = 2  # references to a storage that nobody else uses: the kept tensor's and the one that asks
USES = getattr(torch._C, "_storage_Use_Count", None)  # torch's count of them; in a release without it nothing is kept


class Linear(torch.nn.Linear):
    """torch's layer; its own operation wherever there is nothing to gain."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not keeps(self.weight) or torch.compiler.is_compiling() or torch.is_autocast_enabled(x.device.type):
            return F.linear(x, self.weight, self.bias)
        found: torch.Tensor = _Linear.apply(x, self.weight, self.bias)
        return found


def keeps(weight: torch.Tensor) -> bool:
    """Whether memory is kept for the gradient of `weight`."""
    return (USES is not None and weight.device.type == "cpu" and weight.requires_grad
            and weight.nbytes >= KEPT_BYTES)


def weight_gradient(left: torch.Tensor, right: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """left @ right, the gradient of `weight`, in its memory if that is free."""
    if USES is None or not keeps(weight):
        return left @ right
    kept: torch.Tensor | None = getattr(weight, "gradient_memory", None)
    if kept is None or kept.dtype != left.dtype:
        weight.gradient_memory = kept = torch.empty_like(weight)  # type: ignore[attr-defined]
    if USES(kept.untyped_storage()._cdata) > OURS:
        return left @ right
    return torch.mm(left, right, out=kept.detach())


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, g):  # type: ignore[no-untyped-def]
        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        return g @ weight if wanted[0] else None, weight_gradient(g.T, x, weight), g.sum(0) if wanted[2] else None
