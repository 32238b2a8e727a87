"""Adagrad (Duchi, Hazan, Singer 2011), per element: s <- s + g^2;  w <- w - lr g / (sqrt(s) + epsilon).

Dense gradients update whole tensors. Sparse ones (row numbers and rows) update the rows they name and leave the others,
which is the same: a row without a gradient has g = 0. Repeated rows are added up before they are squared. Sums exist
from the start. There is neither weight decay nor a decay of the rate; groups say so with zeros, for the log.
"""

import torch

from laptime.training.optim.momentum import Parameters, Tensors

CHUNK_BYTES = 1 << 18  # of rows updated at a time on the CPU: with what is made of them they stay in a core's cache


class Adagrad(torch.optim.Optimizer):
    """One learning rate as the 0-D tensor `rate`; `initial` is what the sums start from."""

    def __init__(self, parameters: Parameters, *, learning_rate: float = 0.0, epsilon: float = 1e-8,
                 initial: float = 0.0, compiled: bool = False) -> None:
        super().__init__(parameters, {"epsilon": epsilon, "initial": initial,
                                      "weight_decay": 0.0, "learning_rate_decay": 0.0})
        first: torch.Tensor = self.param_groups[0]["params"][0]
        self.rate = torch.tensor(learning_rate, dtype=first.dtype, device=first.device)
        for group in self.param_groups:
            group["lr"] = self.rate
            for parameter in group["params"]:
                self.state[parameter]["sum"] = torch.full_like(parameter, group["initial"])
        self._dense = torch.compile(self.dense) if compiled else self.dense

    def dense(self, weights: Tensors, gradients: Tensors, sums: Tensors, epsilon: float) -> None:
        """One step of whole tensors, in place; on the CPU in one pass over memory instead of six."""
        if weights[0].device.type == "cpu" and not torch.compiler.is_compiling():
            torch._fused_adagrad_(weights, gradients, sums, [torch.ones(())] * len(weights), lr=self.rate.item(),
                                  lr_decay=0.0, weight_decay=0.0, eps=epsilon, maximize=False)
            return
        torch._foreach_addcmul_(sums, gradients, gradients)
        scales = torch._foreach_sqrt(sums)
        torch._foreach_add_(scales, epsilon)
        moves = torch._foreach_div(gradients, scales)
        torch._foreach_mul_(moves, self.rate)
        torch._foreach_sub_(weights, moves)

    def sparse(self, weight: torch.Tensor, gradient: torch.Tensor, sums: torch.Tensor, epsilon: float) -> None:
        """One step of the rows of a sparse gradient, in place; on the CPU some at a time, in one pass over memory."""
        rows, values = _distinct(gradient)
        several = max(1, CHUNK_BYTES // (values[:1].nbytes or 1)) if weight.device.type == "cpu" else len(rows) or 1
        for some, gradients in zip(rows.split(several), values.split(several), strict=True):
            total = sums.index_select(0, some).addcmul_(gradients, gradients)
            sums.index_copy_(0, some, total)
            moves = torch.div(gradients, total.sqrt_().add_(epsilon), out=total)
            weight.index_add_(0, some, moves.mul_(-self.rate))

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            given = [p for p in group["params"] if p.grad is not None]
            whole = [p for p in given if not p.grad.is_sparse]
            if whole:
                self._dense(whole, [p.grad for p in whole], [self.state[p]["sum"] for p in whole], group["epsilon"])
            for p in given:
                if p.grad.is_sparse:
                    self.sparse(p, p.grad, self.state[p]["sum"], group["epsilon"])


def _distinct(gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows in rising order and their values. Autograd forgets that a gradient had each row once: look, then sort."""
    rows = gradient._indices()[0]
    if bool((rows[1:] > rows[:-1]).all()):
        return rows, gradient._values()
    gradient = gradient.coalesce()
    return gradient.indices()[0], gradient.values()
