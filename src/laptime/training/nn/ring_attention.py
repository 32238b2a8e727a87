"""Causal attention over a ring: keys and values go round, nobody holds all of them (Liu et al. 2023, ring attention).

Each of c processes holds two pieces of 2 c of a sample (`distributed.context`). In turn t it sees the keys and values
of the process t places before it: of an earlier one the early piece only, of a later one both, with its own late piece
only; so every turn costs all of them the same. Outputs of turns are merged by their log-sum-exp, as flash attention
does (Dao et al. 2022, section 3.1). Backwards the same way round, the gradients of keys and values travelling along.
Legend: B samples, N heads, G key heads (G divides N), S own positions, D width of a head.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from laptime.training.distributed.collectives import sent_on
from laptime.training.distributed.world import World
from laptime.training.nn.attention_kernels import Inputs, Output, kernel_for

POSITIONS = 2  # the dimension of positions
ALL = slice(None)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def ring_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, world: World) -> torch.Tensor:
    """q (B, N, S, D), k and v (B, G, S, D), of own positions in a context `world` -> (B, N, S, D)."""
    result: torch.Tensor = _Ring.apply(q, k, v, world)
    return result


@dataclass(frozen=True)
class Turn:
    """Which own rows meet which of the keys and values that are here. `last`: none come after them."""

    rows: slice
    keys: slice
    causal: bool
    last: bool


def turns(world: World, length: int) -> Iterator[Turn]:
    """One for each process, oneself first; `length`: S."""
    early, late = slice(0, length // 2), slice(length // 2, length)
    for turn in range(world.size):
        source, last = (world.rank - turn) % world.size, turn == world.size - 1
        if source == world.rank:
            yield Turn(ALL, ALL, causal=True, last=last)
        elif source < world.rank:
            yield Turn(ALL, early, causal=False, last=last)
        else:
            yield Turn(late, ALL, causal=False, last=last)


class _Ring(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, world):  # type: ignore[no-untyped-def]
        kernel = kernel_for(q)
        held, merged = torch.stack([k, v]), _Merged(q)
        for turn in turns(world, q.shape[POSITIONS]):
            coming = None if turn.last else sent_on(held, world)
            merged.add(turn.rows, kernel.forward(_inputs(q, held, turn)))
            held = held if coming is None else coming()
        out = merged.out.to(q.dtype)
        ctx.save_for_backward(q, k, v, out, merged.logsumexp)
        ctx.world, ctx.kernel = world, kernel
        return out

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        q, k, v, out, logsumexp = ctx.saved_tensors
        held, to_q = torch.stack([k, v]), torch.zeros_like(q, dtype=_wide(q))
        to_held = torch.zeros_like(held, dtype=_wide(q))
        for turn in turns(ctx.world, q.shape[POSITIONS]):
            coming = None if turn.last else sent_on(held, ctx.world)
            to_rows, *output = (one[:, :, turn.rows].contiguous() for one in (gradient, out, logsumexp))
            of_q, *of_held = ctx.kernel.backward(to_rows, _inputs(q, held, turn), Output(*output))
            to_q[:, :, turn.rows] += of_q
            to_held[:, :, :, turn.keys] += torch.stack([_grouped(one, k.shape[1]) for one in of_held])
            held = held if coming is None else coming()
            to_held = sent_on(to_held, ctx.world)()
        return to_q.to(q.dtype), to_held[0].to(k.dtype), to_held[1].to(v.dtype), None


class _Merged:
    """Outputs of several turns as that of one softmax over all keys seen so far."""

    def __init__(self, q: torch.Tensor) -> None:
        wide = _wide(q)
        self.out = torch.zeros_like(q, dtype=wide, memory_format=torch.contiguous_format)
        self.logsumexp = torch.full(q.shape[:-1], -torch.inf, dtype=wide, device=q.device)

    def add(self, rows: slice, turn: Output) -> None:
        out, logsumexp = turn
        before = self.logsumexp[:, :, rows]
        after = torch.logaddexp(before, logsumexp.to(before.dtype))
        kept, new = (before - after).exp().unsqueeze(-1), (logsumexp - after).exp().unsqueeze(-1)
        self.out[:, :, rows] = self.out[:, :, rows] * kept + out * new
        self.logsumexp[:, :, rows] = after


def _wide(q: torch.Tensor) -> torch.dtype:
    """Sums of several turns are kept in at least float32."""
    return torch.promote_types(q.dtype, torch.float32)


def _inputs(q: torch.Tensor, held: torch.Tensor, turn: Turn) -> Inputs:
    """What meets in a turn, with keys and values for every head."""
    keys, values = held[:, :, :, turn.keys].repeat_interleave(q.shape[1] // held.shape[2], 2)
    return Inputs(q[:, :, turn.rows].contiguous(), keys, values, turn.causal)


def _grouped(gradient: torch.Tensor, groups: int) -> torch.Tensor:
    """(B, N, S, D) -> (B, G, S, D): the sum over the heads that share a key head."""
    return gradient.unflatten(1, (groups, -1)).sum(2)


