"""Exponential moving average of weights, kept as tensors of a second module (Polyak & Juditsky 1992 in its usual form).

average <- decay * average + (1 - decay) * weight, after every optimizer step, starting at the initial weights.
"""

import copy
from typing import Generic, TypeVar

import torch

M = TypeVar("M", bound=torch.nn.Module)


class Average(Generic[M]):
    """`module`: a copy of `model` in evaluation mode whose parameters follow those of `model`; no gradients, no host
    synchronisation. Buffers are copied once. decay: weight of the old value, in [0, 1)."""

    def __init__(self, model: M, decay: float) -> None:
        self.decay = decay
        self.module: M = copy.deepcopy(model).eval().requires_grad_(False)
        self._weights: list[torch.Tensor] = list(model.parameters())
        self._averages: list[torch.Tensor] = list(self.module.parameters())

    @torch.no_grad()
    def update(self) -> None:
        """Follow the weights by one step."""
        torch._foreach_lerp_(self._averages, self._weights, 1.0 - self.decay)
