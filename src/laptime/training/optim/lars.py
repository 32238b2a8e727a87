"""LARS: layer-wise adaptive rate scaling (You, Gitman & Ginsburg 2017), as the ResNet reference applies it.

For every tensor of an adapted group: trust = eta |w| / (|g| + wd |w| + epsilon), 1 when either norm is 0;
d = trust (g + wd w), then `momentum.move`. Tensors of a group with `adapt` False (batch norm, biases): d = g + wd w.
"""

import torch

from laptime.training.optim.momentum import Form, Momentum, Parameters, Tensors, decayed


class LARS(Momentum):
    """`eta`: trust coefficient; `epsilon` is used as given, 0 included. Groups may override `adapt`, `weight_decay`."""

    def __init__(self, parameters: Parameters, *, learning_rate: float = 0.0, momentum: float = 0.9,
                 weight_decay: float = 0.0, eta: float = 0.001, epsilon: float = 0.0, form: Form = "inside",
                 compiled: bool = False) -> None:
        defaults = {"momentum": momentum, "weight_decay": weight_decay, "eta": eta, "epsilon": epsilon,
                    "form": form, "adapt": True}
        super().__init__(parameters, defaults, learning_rate=learning_rate, compiled=compiled)

    def directions(self, group: dict, weights: Tensors, gradients: Tensors) -> Tensors:
        raw = decayed(gradients, weights, group["weight_decay"])
        if group["adapt"]:
            trust = trust_ratios(weights, gradients, weight_decay=group["weight_decay"], eta=group["eta"],
                                 epsilon=group["epsilon"])
            torch._foreach_mul_(raw, list(trust.unbind()))
        return raw


def trust_ratios(weights: Tensors, gradients: Tensors, *, weight_decay: float, eta: float,
                 epsilon: float) -> torch.Tensor:
    """One trust ratio per tensor, as a 1-D tensor on the device."""
    w = torch.stack(torch._foreach_norm(weights))
    g = torch.stack(torch._foreach_norm(gradients))
    return torch.where((w > 0) & (g > 0), eta * w / (g + weight_decay * w + epsilon), torch.ones_like(w))
