"""Low-rank cross layers whose backward pass goes over memory half as often as what autograd would make of them.

With h = V x, u = W h + b and x' = x + x0 * u, a gradient g of x' gives x0 * g to u and u * g to x0, and what comes back
through u is added to g itself where it lies (Wang et al. 2021, equation 2). Legend: N samples, C columns, R rank.
"""

from collections.abc import Sequence

import torch
from torch.autograd.function import once_differentiable

from laptime.training.nn.kept_gradients import weight_gradient

Tensors = Sequence[torch.Tensor]


def crossed(x_NC: torch.Tensor, v_RC: Tensors, w_CR: Tensors, b_C: Tensors) -> torch.Tensor:
    """x after all layers (N, C); weights and biases of each, at least one."""
    found: torch.Tensor = _Crossed.apply(x_NC, *v_RC, *w_CR, *b_C)
    return found


class _Crossed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, first, *weights):  # type: ignore[no-untyped-def]
        layers = len(weights) // 3
        x, kept = first, []
        for v, w, b in zip(*(weights[i:i + layers] for i in range(0, 3 * layers, layers)), strict=True):
            h = x @ v.T
            u = torch.addmm(b, h, w.T)
            kept += [x, h, u]
            x = torch.addcmul(x, first, u)
        ctx.save_for_backward(*weights[:2 * layers], *kept)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx, g):  # type: ignore[no-untyped-def]
        layers = len(ctx.saved_tensors) // 5
        vs, ws, kept = (ctx.saved_tensors[i * layers:j * layers] for i, j in ((0, 1), (1, 2), (2, 5)))
        first, gradients = kept[0], [kept[0]] * (3 * layers)
        to_first, to_u = torch.zeros_like(first), torch.empty_like(first)
        for layer in reversed(range(layers)):
            x, h, u = kept[3 * layer:3 * layer + 3]
            torch.mul(g, first, out=to_u)
            to_first.addcmul_(g, u)
            to_h = to_u @ ws[layer]
            gradients[layer::layers] = (weight_gradient(to_h.T, x, vs[layer]), weight_gradient(to_u.T, h, ws[layer]),
                                        to_u.sum(0))
            g = torch.addmm(g, to_h, vs[layer], out=None if layer == layers - 1 else g)  # the first g is the caller's
        return to_first.add_(g), *gradients
