"""What a CPU computes with fewer passes over memory than torch's operators need: attention with keyed dropout, GELU.

Both give what the plain formulas give, up to rounding, and the same elements are dropped. Letters: n sequences of L
tokens, N heads, H = N D.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch.autograd.function import FunctionCtx, once_differentiable

from laptime.training.data.packing import Group
from laptime.training.nn.keyed_dropout import factors

PIECE = 1 << 16  # elements; a few arrays of them fit into a second-level cache
CUBIC, SLOPE = 0.044715, math.sqrt(2.0 / math.pi)  # of the tanh form (Hendrycks & Gimpel 2016, section 2)
DTYPES = (torch.float32, torch.float64)


def suits(x: torch.Tensor) -> bool:
    """Whether these functions may take the place of torch's: eager on a CPU, in the dtypes of its vector units."""
    return x.device.type == "cpu" and x.dtype in DTYPES and not torch.compiler.is_compiling()


class Dropout:
    """Factors of attention weights, made for all groups of a layer at once."""

    def __init__(self, keys: torch.Tensor, columns: torch.Tensor, probability: float) -> None:
        """keys: (T) int32 of the queries; columns: (N, 1, longest) int32."""
        self.keys, self.columns, self.probability = keys, columns, probability

    def of(self, groups: Sequence[Group], dtype: torch.dtype) -> list[torch.Tensor]:
        """Per group (n N, L, L)."""
        heads = len(self.columns)
        sizes = [group.tokens * group.length * heads for group in groups]
        bits = self.keys.new_empty(sum(sizes))
        found = torch.empty(bits.shape, dtype=dtype)
        parts = zip(groups, bits.split(sizes), self.keys.split([group.tokens for group in groups]), strict=True)
        for group, part, keys in parts:
            shape = group.count, heads, group.length, group.length
            torch.bitwise_xor(keys.view(group.count, 1, group.length, 1), self.columns[..., :group.length],
                              out=part.view(shape))
        for part, piece in zip(bits.split(PIECE), found.split(PIECE), strict=True):
            piece.copy_(factors(part, self.probability, dtype))
        return [part.view(-1, group.length, group.length)
                for group, part in zip(groups, found.split(sizes), strict=True)]


def attention(qkv: torch.Tensor, groups: Sequence[Group], heads: int, dropout: Dropout) -> torch.Tensor:
    """softmax(q k^T / sqrt(D)), dropped, times v, within each sequence: (T, 3 H) -> (T, H)."""
    found: torch.Tensor = _Attention.apply(qkv, groups, heads, dropout)
    return found


class _Attention(torch.autograd.Function):
    """Per group, all dense: scores, weights, output; backward by the derivative of softmax, whose row sums are those of
    gradient times output (Dao et al. 2022, appendix B)."""

    @staticmethod
    def forward(ctx: FunctionCtx, qkv: torch.Tensor, groups: Sequence[Group], heads: int,
                dropout: Dropout) -> torch.Tensor:
        out, kept = qkv.new_empty(len(qkv), qkv.shape[1] // 3), []
        parts = zip(groups, _parts(qkv, groups), _parts(out, groups), dropout.of(groups, qkv.dtype), strict=True)
        for group, part, whole, factor in parts:
            block = torch.empty((3, group.count, heads, group.length, out.shape[1] // heads), dtype=qkv.dtype)
            block.copy_(_heads(part, group, 3, heads))
            q, k, v = block.flatten(1, 2)
            weights = torch.bmm(q.mul_(q.shape[-1] ** -0.5), k.mT).softmax(-1)
            dropped = factor.mul_(weights)
            y = torch.bmm(dropped, v)
            _heads(whole, group, 1, heads)[0].copy_(y.view(block.shape[1:]))
            kept += [block, weights, dropped, y]
        ctx.save_for_backward(*kept)
        ctx.groups = groups  # type: ignore[attr-defined]
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        groups: Sequence[Group] = ctx.groups  # type: ignore[attr-defined]
        kept: tuple[torch.Tensor, ...] = ctx.saved_tensors  # type: ignore[attr-defined]
        found = gradient.new_empty(len(gradient), 3 * gradient.shape[1])
        parts = zip(groups, _parts(gradient, groups), _parts(found, groups), strict=True)
        for i, (group, part, whole) in enumerate(parts):
            block = kept[4 * i]
            above = _heads(part, group, 1, block.shape[2])[0].reshape(-1, *block.shape[3:])
            below = _block_gradient(above, *kept[4 * i:4 * i + 4])
            _heads(whole, group, 3, block.shape[2]).copy_(below)
        return found, None, None, None


def _block_gradient(above: torch.Tensor, block: torch.Tensor, weights: torch.Tensor, dropped: torch.Tensor,
                    y: torch.Tensor) -> torch.Tensor:
    """Gradient of a group's q, k and v, in the shape of `block`."""
    q, k, v = block.flatten(1, 2)
    below = torch.empty_like(block)
    of_q, of_k, of_v = below.flatten(1, 2)
    torch.bmm(dropped.mT, above, out=of_v)
    rows = (above * y).sum(-1, keepdim=True)
    scores = torch.bmm(above, v.mT).mul_(dropped).addcmul_(weights, rows, value=-1.0)
    torch.bmm(scores, k, out=of_q)
    of_q.mul_(q.shape[-1] ** -0.5)
    torch.bmm(scores.mT, q, out=of_k)  # q has been divided already
    return below


def _parts(x: torch.Tensor, groups: Sequence[Group]) -> tuple[torch.Tensor, ...]:
    """Rows of each group."""
    return x.split([group.tokens for group in groups])


def _heads(x: torch.Tensor, group: Group, kinds: int, heads: int) -> torch.Tensor:
    """(n L, kinds N D) seen as (kinds, n, N, L, D)."""
    return x.view(group.count, group.length, kinds, heads, -1).permute(2, 0, 3, 1, 4)


def gelu(x: torch.Tensor) -> torch.Tensor:
    """GELU in its tanh form, written x sigmoid(2 u) with u = SLOPE (x + CUBIC x^3)."""
    found: torch.Tensor = _Gelu.apply(x)
    return found


class _Gelu(torch.autograd.Function):
    """A piece at a time; torch's operator takes two to four times as long (its hyperbolic tangent is not the cause)."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: torch.Tensor) -> torch.Tensor:
        x = x.contiguous()
        gate, y = torch.empty_like(x), torch.empty_like(x)
        for part, opened, whole in _pieces(x, gate, y):
            torch.mul(part, part, out=opened).mul_(2.0 * SLOPE * CUBIC).add_(2.0 * SLOPE).mul_(part).sigmoid_()
            torch.mul(part, opened, out=whole)
        ctx.save_for_backward(x, gate)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: torch.Tensor) -> torch.Tensor:
        """gate (1 + x (1 - gate) 2 u')."""
        x, gate = ctx.saved_tensors  # type: ignore[attr-defined]
        found = torch.empty_like(x)
        for part, opened, above, whole in _pieces(x, gate, gradient.contiguous(), found):
            torch.mul(part, part, out=whole).mul_(6.0 * SLOPE * CUBIC).add_(2.0 * SLOPE).mul_(part)
            whole.addcmul_(whole, opened, value=-1.0).add_(1.0).mul_(opened).mul_(above)
        return found


def _pieces(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    return zip(*(one.view(-1).split(PIECE) for one in tensors), strict=True)
