"""LAMB: layer-wise adaptation of Adam (You et al. 2019), with bias correction, as the BERT reference applies it.

m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
u = (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon) + wd w
w <- w - lr ratio u, with ratio = |w| / |u| per tensor of an adapted group (1 when either norm is 0), else 1.
"""

import torch

from laptime.training.distributed.pieces import divided, local, norms
from laptime.training.optim.momentum import Parameters, Tensors

PIECE = 1 << 16  # elements; five arrays of them fit into a second-level cache


class LAMB(torch.optim.Optimizer):
    """Groups may override `weight_decay` and `adapt`. The learning rate is the 0-D tensor `rate`; moments and the
    number of updates exist from the start, on the device.

    compiled: compile the update of each group (worth it on accelerators; the mathematics is the same), unless weights
    are divided among processes, whose norms need messages.
    """

    def __init__(self, parameters: Parameters, *, learning_rate: float = 0.0, beta1: float = 0.9, beta2: float = 0.999,
                 epsilon: float = 1e-6, weight_decay: float = 0.01, compiled: bool = False) -> None:
        super().__init__(parameters, {"beta1": beta1, "beta2": beta2, "epsilon": epsilon, "weight_decay": weight_decay,
                                      "adapt": True})
        first: torch.Tensor = self.param_groups[0]["params"][0]
        self.rate = torch.tensor(learning_rate, dtype=first.dtype, device=first.device)
        self.updates = torch.zeros((), dtype=first.dtype, device=first.device)
        for group in self.param_groups:
            group["lr"], group["updates"] = self.rate, self.updates
            for parameter in group["params"]:
                moments = {name: torch.zeros_like(parameter, memory_format=torch.contiguous_format)
                           for name in ("mean", "square")}
                self.state[parameter] = moments
        compiled = compiled and not any(divided(p) for group in self.param_groups for p in group["params"])
        whole = torch.compile(self.update) if compiled else self.update
        largest = max(parameter.numel() for group in self.param_groups for parameter in group["params"])
        in_pieces = first.device.type == "cpu" and not compiled and largest > PIECE
        self._update = self.update_in_pieces if in_pieces else whole

    def directions(self, group: dict, weights: Tensors, gradients: Tensors, means: Tensors,
                   squares: Tensors) -> Tensors:
        """New tensors u; moments move in place. The number of updates has been counted already."""
        beta1, beta2 = group["beta1"], group["beta2"]
        torch._foreach_lerp_(means, gradients, 1.0 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1.0 - beta2)
        scale1, scale2 = 1.0 - beta1**self.updates, 1.0 - beta2**self.updates
        below = list(torch._foreach_div(squares, scale2))
        torch._foreach_sqrt_(below)
        torch._foreach_add_(below, group["epsilon"])
        found = list(torch._foreach_div(means, scale1))
        torch._foreach_div_(found, below)
        if group["weight_decay"]:
            torch._foreach_add_(found, [local(weight) for weight in weights], alpha=group["weight_decay"])
        return found

    def update(self, group: dict, weights: Tensors, gradients: Tensors, means: Tensors, squares: Tensors) -> None:
        """One step of one group, in place."""
        self._move(group, weights, self.directions(group, weights, gradients, means, squares))

    def update_in_pieces(self, group: dict, weights: Tensors, gradients: Tensors, means: Tensors,
                         squares: Tensors) -> None:
        """The same, a piece of a tensor at a time: a processor's cache holds it through all operations."""
        here = [local(weight) for weight in weights]
        found = [torch.empty_like(weight, memory_format=torch.contiguous_format) for weight in here]
        for tensors in zip(here, gradients, means, squares, found, strict=True):
            for w, g, m, v, u in zip(*(one.detach().reshape(-1).split(PIECE) for one in tensors), strict=True):
                u.copy_(self.directions(group, [w], [g], [m], [v])[0])
        self._move(group, weights, found)

    def _move(self, group: dict, weights: Tensors, directions: Tensors) -> None:
        """`directions` are overwritten."""
        if group["adapt"]:
            torch._foreach_mul_(directions, list((self.rate * ratios(weights, directions)).unbind()))
        else:
            torch._foreach_mul_(directions, self.rate)
        torch._foreach_sub_([local(weight) for weight in weights], directions)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient. No host synchronisation."""
        self.updates += 1
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            if weights:
                self._update(group, weights, [local(p.grad) for p in weights],
                             *([local(self.state[p][name]) for p in weights] for name in ("mean", "square")))


def ratios(weights: Tensors, directions: Tensors) -> torch.Tensor:
    """|w| / |u| per tensor, 1 where either is 0, as a 1-D tensor on the device.

    Norms are those of whole tensors, of whose directions this process has the parts that it has of the weights.
    """
    w, u = norms(weights, weights), norms(weights, directions)
    return torch.where((w > 0) & (u > 0), w / u, torch.ones_like(w))
