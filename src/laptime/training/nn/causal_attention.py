"""Causal attention with grouped heads, whole or with the positions of a sample on several processes.

In a world of one it is torch's own kernel. With a context world, keys and values are gathered, and each process
computes its two pieces of positions against the keys up to their end; or they go round (`ring_attention`).
Legend: B samples, N heads, G key heads (G divides N), S positions, D width of a head.
"""

import torch
from torch.nn import functional as F

from laptime.training.distributed.context import in_order, own_positions
from laptime.training.distributed.layout import CHUNKS
from laptime.training.distributed.world import World
from laptime.training.nn.ring_attention import ring_attention

POSITIONS = 2  # the dimension of positions


class CausalAttention(torch.nn.Module):
    """No parameters. `context` and `ring` (keys and values go round, nobody gathers them) are written by
    `parallelize`."""

    def __init__(self) -> None:
        super().__init__()
        self.context: World | None = None
        self.ring = False

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """q (B, N, S, D), k and v (B, G, S, D), of own positions -> (B, N, S, D)."""
        grouped = q.shape[1] != k.shape[1]
        if self.context is None or self.context.size == 1:
            return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
        if self.ring:
            return ring_attention(q, k, v, self.context)
        k, v = in_order(k, self.context, POSITIONS), in_order(v, self.context, POSITIONS)
        positions = own_positions(k.shape[POSITIONS], self.context)
        pieces = zip(q.chunk(CHUNKS, POSITIONS), positions.chunk(CHUNKS), self._ends(k.shape[POSITIONS]), strict=True)
        return torch.cat([_piece(one, k[:, :, :end], v[:, :, :end], at) for one, at, end in pieces], POSITIONS)

    def _ends(self, length: int) -> tuple[int, int]:
        """Where the two pieces end, known on the host."""
        assert self.context is not None
        each = length // (CHUNKS * self.context.size)
        return each * (self.context.rank + 1), length - each * self.context.rank


def _piece(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    seen = torch.arange(k.shape[POSITIONS], device=q.device)[None, :] <= positions[:, None]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen, enable_gqa=q.shape[1] != k.shape[1])
