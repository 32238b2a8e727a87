"""Batch normalisation over groups of a configured number of samples (Ioffe & Szegedy 2015; the rules' `model_bn_span`).

The group is a value of the configuration, never a consequence of how a batch is spread: with equal spans, one process
or two and one micro-batch or several normalise the same groups. Running statistics follow once per optimizer step, with
the mean over all groups of the global batch. A group is `span` consecutive samples of the concatenation over ranks of
one micro-batch; a batch that is to be split in another way must keep this order (micro-batch first, then rank).
"""

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from laptime.errors import InvalidConfiguration
from laptime.training.distributed.world import World


def check_span(span: int, micro_batch: int, processes: int) -> None:
    """Raises InvalidConfiguration when groups of `span` samples cannot be formed from `processes` micro-batches of
    `micro_batch` samples each: neither whole groups per process nor whole processes per group."""
    whole_groups = span > 0 and micro_batch % span == 0
    whole_ranks = span > 0 and span % micro_batch == 0 and (micro_batch * processes) % span == 0
    if not (whole_groups or whole_ranks):
        raise InvalidConfiguration(
            f"expected batch-norm groups that fit {processes} process(es) x {micro_batch} samples per micro-batch, "
            f"found norm_span = {span}",
            hint="A span must divide the micro-batch, or be a multiple of it that divides processes x micro-batch; "
                 "change norm_span, global_batch_size, accumulation_steps or the number of processes.")


class SpanBatchNorm2d(torch.nn.Module):
    """Batch norm of (N, C, H, W) over groups of exactly `span` samples; statistics in float32 (float64 for float64).

    momentum: weight of the new value, running = (1 - momentum) old + momentum new; the running variance is the
    unbiased one. In training mode a forward pass only collects statistics; `RunningStatistics.commit` applies them.
    Raises InvalidConfiguration for a batch from which groups of `span` cannot be formed.
    """

    weight: torch.nn.Parameter
    bias: torch.nn.Parameter
    running_mean: torch.Tensor
    running_var: torch.Tensor
    group_mean: torch.Tensor
    group_var: torch.Tensor
    pending_mean: torch.Tensor
    pending_var: torch.Tensor
    pending_groups: torch.Tensor

    def __init__(self, features: int, span: int, world: World, *, momentum: float = 0.1, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.features, self.span, self.world = features, span, world
        self.momentum, self.epsilon = momentum, epsilon
        self.weight = torch.nn.Parameter(torch.ones(features))
        self.bias = torch.nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))
        for name in ("group_mean", "group_var", "pending_mean", "pending_var"):
            self.register_buffer(name, torch.zeros(features), persistent=False)
        # one element, not 0-D: torch 2.13 loses in-place changes of 0-D float64 buffers in compiled code
        self.register_buffer("pending_groups", torch.zeros(1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.epsilon)
        samples = x.shape[0]
        check_span(self.span, samples, self.world.size)
        if samples == self.span:
            return self._one_group(x)
        if samples > self.span:
            return torch.cat([self._one_group(group) for group in x.split(self.span)])
        return self._share_of_group(x)

    def extra_repr(self) -> str:
        return f"{self.features}, span={self.span}, momentum={self.momentum}, epsilon={self.epsilon}"

    def _one_group(self, x: torch.Tensor) -> torch.Tensor:
        """The fused kernel; with momentum 1 it leaves mean and unbiased variance of this group in the two buffers."""
        y = F.batch_norm(x, self.group_mean, self.group_var, self.weight, self.bias, True, 1.0, self.epsilon)
        self._collect(self.group_mean, self.group_var, 1.0)
        return y

    def _share_of_group(self, x: torch.Tensor) -> torch.Tensor:
        """This rank's samples of a group that is spread over span / N consecutive ranks."""
        wide = x.to(self.weight.dtype)
        variance, mean = self._merged(*torch.var_mean(wide, dim=(0, 2, 3), correction=0), ranks=self.span // x.shape[0])
        scale = self.weight * torch.rsqrt(variance + self.epsilon)
        y = (wide - mean[:, None, None]) * scale[:, None, None] + self.bias[:, None, None]
        count = self.span * x.shape[2] * x.shape[3]
        with torch.no_grad():
            self._collect(mean, variance * (count / (count - 1)), x.shape[0] / self.span)
        return y.to(x.dtype)

    def _merged(self, variance: torch.Tensor, mean: torch.Tensor, *, ranks: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Population variance and mean of the whole group from each rank's own (Chan et al. 1979: nothing cancels)."""
        mine = torch.stack([variance, mean])
        slots = [mine if rank == self.world.rank else torch.zeros_like(mine) for rank in range(self.world.size)]
        first = self.world.rank // ranks * ranks
        group = self.world.sum_with_gradient(torch.stack(slots))[first:first + ranks]
        between, centre = torch.var_mean(group[:, 1], dim=0, correction=0)
        return group[:, 0].mean(0) + between, centre

    @torch.no_grad()
    def _collect(self, mean: torch.Tensor, variance: torch.Tensor, groups: float) -> None:
        """Add statistics of a group; `groups`: the share of it that counts here, so that all ranks add up to one."""
        self.pending_mean.add_(mean, alpha=groups)
        self.pending_var.add_(variance, alpha=groups)
        self.pending_groups.add_(groups)


class RunningStatistics:
    """The running statistics of all `SpanBatchNorm2d` of a model (of one span), updated once per optimizer step."""

    def __init__(self, model: torch.nn.Module, world: World) -> None:
        self.layers = [layer for layer in model.modules() if isinstance(layer, SpanBatchNorm2d)]
        self.world = world
        assert len({(layer.span, layer.momentum) for layer in self.layers}) <= 1, "layers of different spans or momenta"

    @torch.no_grad()
    def commit(self) -> None:
        """Move every running value towards the mean over the global batch's groups; one all-reduce for all layers.

        Call it once per optimizer step on every rank, after the last backward pass.
        """
        if not self.layers:
            return
        running = [value for layer in self.layers for value in (layer.running_mean, layer.running_var)]
        pending = [value for layer in self.layers for value in (layer.pending_mean, layer.pending_var)]
        groups = [layer.pending_groups for layer in self.layers]
        self._sum_over_ranks([*pending, groups[0]])
        torch._foreach_div_(pending, groups[0].squeeze())
        torch._foreach_lerp_(running, pending, self.layers[0].momentum)
        torch._foreach_zero_([*pending, *groups])

    def _sum_over_ranks(self, values: Sequence[torch.Tensor]) -> None:
        if self.world.size == 1:
            return
        flat = self.world.sum(torch.cat([value.reshape(-1) for value in values]))
        parts = flat.split([value.numel() for value in values])
        torch._foreach_copy_(list(values), [part.view_as(value) for part, value in zip(parts, values, strict=True)])
