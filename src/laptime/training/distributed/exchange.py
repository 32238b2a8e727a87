"""Values of many samples held by one process each, exchanged for all values of one process's samples; and gathering.

The model-parallel half of a recommendation model (Naumov et al. 2019, section 4: tables split over devices, the rest
replicated).
"""

from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from laptime.training.distributed.collectives import all_gather, reduce_scatter
from laptime.training.distributed.world import World


class Exchange:
    """Process r holds the columns shares[r] of everybody's samples and wants every column of its own samples."""

    def __init__(self, world: World, shares: Sequence[Sequence[int]]) -> None:
        self.world, self.counts = world, [len(share) for share in shares]
        arrival = [column for share in shares for column in share]
        self.positions = [arrival.index(column) for column in range(len(arrival))]

    def __call__(self, held_NTD: torch.Tensor) -> torch.Tensor:
        """(N, own columns, D), rank after rank along N -> (N / ranks, all columns, D). Differentiable.

        The gradient is divided by the number of processes, as the average over replicas is: each column has one owner,
        who gets the sum.
        """
        if self.world.size == 1:
            return held_NTD
        columns = torch.tensor(self.positions, device=held_NTD.device)
        return _Exchanged.apply(held_NTD, self.counts, self.world).index_select(1, columns)


class _Exchanged(torch.autograd.Function):
    """All-to-all whose backward is the all-to-all the other way round."""

    @staticmethod
    def forward(ctx, held, counts, world):  # type: ignore[no-untyped-def]
        ctx.counts, ctx.world = counts, world
        samples, own, width = held.shape
        samples //= len(counts)
        received = held.new_empty(samples * sum(counts) * width)
        dist.all_to_all_single(received, held.contiguous().view(-1),
                               output_split_sizes=[samples * count * width for count in counts],
                               input_split_sizes=[samples * own * width] * len(counts), group=world.group)
        return torch.cat([part.view(samples, -1, width) for part in
                          received.split([samples * count * width for count in counts])], dim=1)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        counts, own = ctx.counts, ctx.counts[ctx.world.rank]
        samples, _, width = gradient.shape
        sent = torch.cat([part.reshape(-1) for part in gradient.split(counts, dim=1)])
        received = gradient.new_empty(samples * len(counts) * own * width)
        dist.all_to_all_single(received, sent, output_split_sizes=[samples * own * width] * len(counts),
                               input_split_sizes=[samples * count * width for count in counts], group=ctx.world.group)
        return received.view(-1, own, width) / len(counts), None, None


class RowSums:
    """Every process holds some rows of every table, so sums over them for everybody's samples, and wants the whole sums
    of its own samples."""

    def __init__(self, world: World) -> None:
        self.world = world

    def __call__(self, partial_NTD: torch.Tensor) -> torch.Tensor:
        """(N, T, D), rank after rank along N -> (N / ranks, T, D). Differentiable; the gradient as of `Exchange`."""
        return partial_NTD if self.world.size == 1 else _Summed.apply(partial_NTD, self.world)


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, partial, world):  # type: ignore[no-untyped-def]
        ctx.world = world
        return reduce_scatter(partial, world, 0)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        return all_gather(gradient, ctx.world, 0) / ctx.world.size, None


def gathered(world: World, values: torch.Tensor) -> torch.Tensor:
    """The equally long values (n) of all processes one after another, on each."""
    if world.size == 1:
        return values
    everything = values.new_empty(world.size * len(values))
    dist.all_gather_into_tensor(everything, values.contiguous(), group=world.group)
    return everything


def keep_local(model: torch.nn.Module, part: str) -> None:
    """Tensors of the submodule `part` differ between processes: `replicate` neither sends nor averages them."""
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, list(_names(model, part)))


def kept_local(model: torch.nn.Module) -> tuple[str, ...]:
    """Names of tensors that `keep_local` was called for."""
    return tuple(getattr(model, "_ddp_params_and_buffers_to_ignore", ()))


def _names(model: torch.nn.Module, part: str) -> Iterator[str]:
    for names in (model.named_parameters(), model.named_buffers()):
        yield from (name for name, _ in names if name.startswith(f"{part}."))
