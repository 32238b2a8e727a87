"""Collectives through which gradients flow, in pairs: what one does forwards, its partner does backwards.

Of Megatron-LM (Shoeybi et al. 2019, figure 3; Korthikanti et al. 2022, figure 5). In a world of one they return their
argument.
"""

from collections.abc import Callable

import torch
import torch.distributed as dist

from laptime.training.distributed.world import World


def entered(x: torch.Tensor, world: World) -> torch.Tensor:
    """x as it is; its gradient is summed."""
    return _Entered.apply(x, world) if world.size > 1 else x


def summed(x: torch.Tensor, world: World) -> torch.Tensor:
    """x summed; its gradient is passed on as it is."""
    return _Summed.apply(x, world) if world.size > 1 else x


def gathered(x: torch.Tensor, world: World, dim: int) -> torch.Tensor:
    """Everybody's x, one after another along `dim`; of the gradients' sum each gets its own piece."""
    return _Gathered.apply(x, world, dim) if world.size > 1 else x


def scattered(x: torch.Tensor, world: World, dim: int) -> torch.Tensor:
    """Of the sum of x each gets its own piece along `dim`; the gradients of all pieces are gathered."""
    return _Scattered.apply(x, world, dim) if world.size > 1 else x


def sliced(x: torch.Tensor, world: World, dim: int) -> torch.Tensor:
    """One's own piece of x, which all hold alike; the gradients of all pieces are gathered."""
    return _Sliced.apply(x, world, dim) if world.size > 1 else x


def all_gather(x: torch.Tensor, world: World, dim: int) -> torch.Tensor:
    """Equally large pieces of all processes along `dim`. No gradient."""
    pieces = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(world.size)]
    dist.all_gather(pieces, x.contiguous(), group=world.group)
    return torch.cat(pieces, dim)


def reduce_scatter(x: torch.Tensor, world: World, dim: int) -> torch.Tensor:
    """One's own piece of the sum along `dim`. No gradient."""
    pieces = [piece.contiguous() for piece in x.chunk(world.size, dim)]
    if x.device.type == "cpu":  # every version of gloo can do this
        return world.sum(x.clone()).chunk(world.size, dim)[world.rank].contiguous()
    mine = torch.empty_like(pieces[world.rank])
    dist.reduce_scatter(mine, pieces, group=world.group)
    return mine


def sent_on(x: torch.Tensor, world: World) -> Callable[[], torch.Tensor]:
    """Begin to send x to the next process of the ring and to receive the previous one's, alike in shape; call the
    answer for what came. x must not change until then. No gradient."""
    if world.size == 1:
        return lambda: x
    x, arriving = x.contiguous(), torch.empty_like(x, memory_format=torch.contiguous_format)
    following, before = (world.rank + 1) % world.size, (world.rank - 1) % world.size
    works = dist.batch_isend_irecv([dist.P2POp(dist.isend, x, group=world.group, group_peer=following),
                                    dist.P2POp(dist.irecv, arriving, group=world.group, group_peer=before)])

    def arrived() -> torch.Tensor:
        for work in works:
            work.wait()
        return arriving

    return arrived


class _Entered(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, world):  # type: ignore[no-untyped-def]
        ctx.world = world
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        return ctx.world.sum(gradient.clone(memory_format=torch.contiguous_format)), None


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, world):  # type: ignore[no-untyped-def]
        return world.sum(x.clone(memory_format=torch.contiguous_format))

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        return gradient, None


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, world, dim):  # type: ignore[no-untyped-def]
        ctx.world, ctx.dim = world, dim
        return all_gather(x, world, dim)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        return reduce_scatter(gradient, ctx.world, ctx.dim), None, None


class _Scattered(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, world, dim):  # type: ignore[no-untyped-def]
        ctx.world, ctx.dim = world, dim
        return reduce_scatter(x, world, dim)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        return all_gather(gradient, ctx.world, ctx.dim), None, None


class _Sliced(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, world, dim):  # type: ignore[no-untyped-def]
        ctx.world, ctx.dim = world, dim
        return x.chunk(world.size, dim)[world.rank].clone(memory_format=torch.contiguous_format)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        return all_gather(gradient, ctx.world, ctx.dim), None, None
