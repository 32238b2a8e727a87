"""Heavy-ball momentum in its two forms. They agree while the learning rate is constant and differ when it changes.

"inside":  v <- m v - lr d;  w <- w + v    the rate is part of the velocity (Keras; the ResNet references)
"outside": v <- m v + d;     w <- w - lr v  the rate scales the velocity on its way out (PyTorch, TensorFlow 1)
Here d is the direction: the gradient, with weight decay and trust ratio already applied.
"""

from collections.abc import Iterable
from typing import Literal

import torch

Form = Literal["inside", "outside"]
Tensors = list[torch.Tensor]
Parameters = Iterable[torch.nn.Parameter] | Iterable[dict]


def move(weights: Tensors, velocities: Tensors, directions: Tensors, *,
         rate: torch.Tensor, momentum: float, form: Form) -> None:
    """One update in place, for all tensors together; `rate` is a 0-D tensor. `directions` are overwritten."""
    torch._foreach_mul_(velocities, momentum)
    if form == "inside":
        torch._foreach_mul_(directions, rate)
        torch._foreach_sub_(velocities, directions)
        torch._foreach_add_(weights, velocities)
    else:
        torch._foreach_add_(velocities, directions)
        torch._foreach_sub_(weights, torch._foreach_mul(velocities, rate))


def decayed(gradients: Tensors, weights: Tensors, weight_decay: float) -> Tensors:
    """New tensors g + weight_decay * w: the gradient of the loss plus weight_decay * |w|^2 / 2."""
    return list(torch._foreach_add(gradients, weights, alpha=weight_decay))


class Momentum(torch.optim.Optimizer):
    """What SGD and LARS share: one learning rate as a 0-D tensor `rate`, velocities that exist from the start.

    parameters: tensors, or groups {"params": [...], "weight_decay": ...} that override the defaults.
    compiled:   compile the update of each group (worth it on accelerators; the mathematics is the same).
    """

    def __init__(self, parameters: Parameters, defaults: dict, *, learning_rate: float, compiled: bool) -> None:
        super().__init__(parameters, defaults)
        first: torch.Tensor = self.param_groups[0]["params"][0]
        self.rate = torch.tensor(learning_rate, dtype=first.dtype, device=first.device)
        for group in self.param_groups:
            group["lr"] = self.rate
            for parameter in group["params"]:
                self.state[parameter]["velocity"] = torch.zeros_like(parameter)
        self._update = torch.compile(self.update) if compiled else self.update

    def directions(self, group: dict, weights: Tensors, gradients: Tensors) -> Tensors:
        """New tensors: what the velocities of one group are fed with."""
        raise NotImplementedError

    def update(self, group: dict, weights: Tensors, gradients: Tensors, velocities: Tensors) -> None:
        """One step of one group, in place."""
        move(weights, velocities, self.directions(group, weights, gradients),
             rate=self.rate, momentum=group["momentum"], form=group["form"])

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient. No host synchronisation."""
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            if weights:
                self._update(group, weights, [p.grad for p in weights], [self.state[p]["velocity"] for p in weights])
