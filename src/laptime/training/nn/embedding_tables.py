"""Embedding tables with many rows per lookup, all tables in one weight and one call: sums over bags of rows.

Table k holds the rows starts[k] .. starts[k] + rows[k] - 1 of the flat weight; a sample looks up bags[k] rows of it,
whose sum is its vector there. The gradient is sparse and has each row once: the lookups are grouped by row ahead of
time (`grouped`, where the batch is made), and the sum over the bags that a row was looked up for is again a sum over a
bag, of gradients. So neither pass forms one vector per lookup.

Over several processes each table lives whole on one of them, or some rows of every table on each; a process looks up
the rows it has for every process's samples, and the sums then change places (`distributed.exchange`).
Legend: N samples, L lookups per sample, T tables, D width, U distinct rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from laptime.errors import InvalidConfiguration
from laptime.training.distributed.exchange import Exchange, RowSums
from laptime.training.distributed.world import World

Indices = NDArray[np.int64]
Holding = Literal["whole", "rows"]

CHUNK_ROWS = 1 << 20  # drawn at a time: a table may be larger than the memory of the host
LARGEST_FLAT_ROW = 2**31 - 1


@dataclass(frozen=True)
class Share:
    """What one process holds: of each of `tables`, `rows` rows from `lows` on. `whole`: those are all its rows."""

    tables: tuple[int, ...]
    lows: tuple[int, ...]
    rows: tuple[int, ...]
    whole: bool = True

    @property
    def starts(self) -> tuple[int, ...]:
        """The flat row where each table begins here."""
        return starts_of(self.rows)

    @property
    def shifts(self) -> tuple[int, ...]:
        """What makes flat rows of rows, per table."""
        return tuple(start - low for start, low in zip(self.starts, self.lows, strict=True))

    def flat(self, shifted_NL: Indices, bags: Sequence[int]) -> Indices:
        """Rows plus `shifts`, in columns of `bags` per table here -> flat rows, -1 for those of other processes."""
        if self.whole:
            return shifted_NL
        low, high = (np.repeat(bounds, bags) for bounds in (self.starts, np.add(self.starts, self.rows)))
        return np.where((shifted_NL >= low) & (shifted_NL < high), shifted_NL, -1)


class Lookups(NamedTuple):
    """Flat rows of N samples in L columns, table after table; -1 (where rows of a table lie on several processes) is
    another process's. `grouping` is None where no gradient is wanted."""

    flat_NL: torch.Tensor
    grouping: "Grouping | None" = None


class Grouping(NamedTuple):
    """Lookups by row: `rows` (U) in rising order, `bags` (N L) bag numbers sorted by row, `starts` (U) into `bags`."""

    rows: torch.Tensor
    bags: torch.Tensor
    starts: torch.Tensor


def starts_of(sizes: Sequence[int]) -> tuple[int, ...]:
    """Where each of consecutive pieces begins."""
    return tuple(accumulate(sizes, initial=0))[:-1]


def grouped(flat_NL: torch.Tensor, bags: Sequence[int], *, whole: bool = True) -> Grouping:
    """What the backward pass needs of lookups in bags of `bags` rows per table. The order within a row is kept.

    whole: there are no rows of other processes among them.
    """
    width = flat_NL.shape[1]
    table = torch.repeat_interleave(torch.arange(len(bags)), torch.tensor(bags)).to(flat_NL.device)
    rows, order = flat_NL.reshape(-1).sort(stable=True)
    if not whole:
        elsewhere = int((rows < 0).sum())
        rows, order = rows[elsewhere:], order[elsewhere:]
    distinct, counts = torch.unique_consecutive(rows, return_counts=True)
    return Grouping(distinct, order // width * len(bags) + table[order % width], counts.cumsum(0) - counts)


class EmbeddingTables(torch.nn.Module):
    """The tables or rows that this process holds; in a world of one, all.

    rows, bags: of every table, on every process alike. `own`: numbers of the tables that live here.
    The weight is left as it is until `draw`.
    """

    def __init__(self, rows: Sequence[int], bags: Sequence[int], width: int, world: World,
                 held: Holding = "whole") -> None:
        super().__init__()
        shares = shares_of(rows, bags, world.size, held)
        self.share, self.sizes = shares[world.rank], tuple(rows)
        self.own, self.rows, self.starts = self.share.tables, self.share.rows, self.share.starts
        self.bags = tuple(bags[k] for k in self.own)
        self.exchange = Exchange(world, [one.tables for one in shares]) if self.share.whole else RowSums(world)
        self.weight = torch.nn.Parameter(torch.empty(sum(self.rows), width, device=world.device))
        self.bag_starts: torch.Tensor
        self.register_buffer("bag_starts", torch.tensor(starts_of(self.bags), device=world.device), persistent=False)

    def forward(self, lookups: Lookups) -> torch.Tensor:
        """Sums (n, T, D) of this process's n samples; `lookups` are those of all processes' samples in own tables."""
        if self.share.whole:
            return self.exchange(_pooled(self.weight, lookups, self.bag_starts))
        return self.exchange(_pooled_here(self.weight, lookups, self.bags))

    @torch.no_grad()
    def draw(self, generator: Callable[[int], torch.Generator]) -> None:
        """Uniform in +-1/sqrt(rows of the table), from one CPU generator per table: no matter who owns it."""
        if self.weight.is_meta:
            return
        for k, start, first, held in zip(self.own, self.starts, self.share.lows, self.rows, strict=True):
            source, bound = generator(k), self.sizes[k] ** -0.5
            for low in range(0, first + held, CHUNK_ROWS):
                drawn = torch.empty(min(self.sizes[k] - low, CHUNK_ROWS), self.weight.shape[1], dtype=torch.float32,
                                    device="cpu").uniform_(-bound, bound, generator=source)
                mine = drawn[max(0, first - low):first + held - low]
                into = start + max(0, low - first)
                self.weight[into:into + len(mine)].copy_(mine)


def table_shares(rows: Sequence[int], bags: Sequence[int], processes: int) -> tuple[tuple[int, ...], ...]:
    """Which tables each process owns: the largest first, to whoever has the fewest rows, then the fewest lookups.

    Raises InvalidConfiguration when there are fewer tables than processes, or a share too large to be numbered.
    """
    if processes > len(rows):
        raise InvalidConfiguration(f"expected at most one process per embedding table ({len(rows)}), found {processes}")
    shares: list[list[int]] = [[] for _ in range(processes)]
    for k in sorted(range(len(rows)), key=lambda k: (-rows[k], k)):
        min(shares, key=lambda own: (sum(rows[i] for i in own), sum(bags[i] for i in own))).append(k)
    if max(sum(rows[k] for k in own) for own in shares) > LARGEST_FLAT_ROW:
        raise InvalidConfiguration(f"expected at most {LARGEST_FLAT_ROW} embedding rows per process, found more",
                                   hint="Use more processes.")
    return tuple(tuple(sorted(own)) for own in shares)


def shares_of(rows: Sequence[int], bags: Sequence[int], processes: int, held: Holding) -> tuple[Share, ...]:
    """What each process holds: tables as a whole, or equally many rows of every table. Raises as `table_shares`."""
    if held == "rows":
        bounds = [[count * r // processes for count in rows] for r in range(processes + 1)]
        return tuple(Share(tuple(range(len(rows))), tuple(low), tuple(b - a for a, b in zip(low, high, strict=True)),
                           whole=False) for low, high in pairwise(bounds))
    shares = table_shares(rows, bags, processes)
    return tuple(Share(own, (0,) * len(own), tuple(rows[k] for k in own)) for own in shares)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _pooled_here(weight: torch.Tensor, lookups: Lookups, bags: Sequence[int]) -> torch.Tensor:
    """(N, T, D): sums over those rows that are here."""
    flat_NL = lookups.flat_NL
    here = flat_NL >= 0
    table = torch.repeat_interleave(torch.arange(len(bags)), torch.tensor(bags)).to(flat_NL.device)
    counts = torch.zeros(len(flat_NL), len(bags), dtype=torch.int64, device=flat_NL.device)
    counts = counts.index_add_(1, table, here.long()).reshape(-1)
    flat, offsets = flat_NL[here], counts.cumsum(0) - counts
    if lookups.grouping is None or not weight.requires_grad:
        sums = F.embedding_bag(flat, weight, offsets, mode="sum")
    else:
        sums = _Pool.apply(weight, flat, offsets, *lookups.grouping)
    return sums.view(len(flat_NL), len(bags), weight.shape[1])


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _pooled(weight: torch.Tensor, lookups: Lookups, bag_starts: torch.Tensor) -> torch.Tensor:
    """(N, T, D). Outside compiled graphs: a sparse gradient cannot be traced."""
    samples, width = lookups.flat_NL.shape
    first = torch.arange(samples, device=bag_starts.device)[:, None] * width + bag_starts
    flat, offsets = lookups.flat_NL.reshape(-1), first.reshape(-1)
    if lookups.grouping is None or not weight.requires_grad:
        sums = F.embedding_bag(flat, weight, offsets, mode="sum")
    else:
        sums = _Pool.apply(weight, flat, offsets, *lookups.grouping)
    return sums.view(samples, len(bag_starts), weight.shape[1])


class _Pool(torch.autograd.Function):
    """embedding_bag(sum) whose gradient is sparse with each row once."""

    @staticmethod
    def forward(ctx, weight, flat, offsets, rows, bags, starts):  # type: ignore[no-untyped-def]  # noqa: PLR0917
        ctx.save_for_backward(rows, bags, starts)
        ctx.shape = weight.shape
        return F.embedding_bag(flat, weight, offsets, mode="sum")

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        rows, bags, starts = ctx.saved_tensors
        summed = F.embedding_bag(bags, gradient.contiguous(), starts, mode="sum")
        sparse = torch.sparse_coo_tensor(rows[None], summed, ctx.shape, is_coalesced=True, check_invariants=False)
        return sparse, None, None, None, None, None
