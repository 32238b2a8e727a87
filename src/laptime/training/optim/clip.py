"""Gradient clipping by the norm of the whole gradient (Pascanu, Mikolov & Bengio 2013)."""

from collections.abc import Iterable

import torch

from laptime.training.distributed.pieces import local, whole_norm


class NormClip:
    """Scales all gradients by limit / max(limit, norm), in place and without host synchronisation.

    Called between the backward pass and the optimizer, with the gradients of the whole batch in place: what it does
    depends neither on the number of processes (the norm is that of the whole model's gradient, whoever holds its parts)
    nor on accumulation. Memory layout and dtype of gradients stay.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], limit: float) -> None:
        self.parameters, self.limit = list(parameters), limit

    @torch.no_grad()
    def __call__(self) -> None:
        parameters = [p for p in self.parameters if p.grad is not None]
        gradients = [local(p.grad) for p in parameters if p.grad is not None]
        norm = whole_norm(parameters, gradients)
        torch._foreach_mul_(gradients, self.limit / norm.clamp(min=self.limit))
