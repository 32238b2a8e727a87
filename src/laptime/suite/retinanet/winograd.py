"""3x3 convolutions of several maps at once with 4/9 of the products: minimal filtering F(2x2, 3x3).

Lavin & Gray 2016, section 4.1: Y = A' [(G g G') * (B' d B)] A for every tile d of 4 x 4 pixels, which overlap by two
and give 2 x 2 pixels each. The products of all tiles of all maps are 16 matrix products; what surrounds them only adds.
The same algebra, transposed, gives both gradients. Row 3 of A' and of B' has its sign turned, which cancels and saves
negations. The result differs from the exact one by rounding, as that of a direct convolution does.

For a CPU, whose library trains without such an algorithm. Letters: N images, H and W sides of a map, C channels in, K
out, T tiles of all maps. Transformed input is kept for the backward pass: four times the maps' size.
"""

from collections.abc import Sequence

import torch
from torch.nn import functional as F

Maps = Sequence[torch.Tensor]
SIDE = 4  # pixels of a tile's side; neighbours are two apart
WIDE = 128  # channels in and out from which on the products saved outweigh the additions
BLOCK = 264  # output channels transformed at a time, so that what lies between stays in a cache


def pays(x: torch.Tensor, conv: torch.nn.Conv2d) -> bool:
    """Whether this is the fastest way to compute such a convolution of `x`, and a legal one."""
    return (x.device.type == "cpu" and min(conv.in_channels, conv.out_channels) >= WIDE
            and not torch.compiler.is_compiling() and not torch.is_autocast_enabled("cpu"))


def convolved(maps: Maps, weight: torch.Tensor, bias: torch.Tensor, *, relu: bool) -> list[torch.Tensor]:
    """`conv2d(map, weight, bias, padding=1)` of every map (N, C, H, W), followed by ReLU where asked for.

    The results lie in channels_last memory.
    """
    made = _Convolved.apply(weight, bias, relu, *(one.permute(0, 2, 3, 1) for one in maps))
    return [one.permute(0, 3, 1, 2) for one in made]


class _Convolved(torch.autograd.Function):
    """Maps (N, H, W, C) -> (N, H, W, K)."""

    @staticmethod
    def forward(ctx, weight, bias, relu, *maps):  # type: ignore[no-untyped-def]
        inputs, filters = tiles(maps), filter_tiles(weight)
        made = [one.new_empty(*_even(one.shape), len(weight)) for one in maps]
        for part in _blocks(len(weight)):
            products = _products(inputs, filters[:, :, part].mT)
            products[1, 1] += bias[part]  # reaches each of the four pixels once
            untiled(products, [one[..., part] for one in made])
        if relu:
            made = [one.relu_() for one in made]
        ctx.relu = relu
        ctx.save_for_backward(inputs, filters, *(made if relu else ()))
        ctx.shapes = [one.shape for one in maps]
        return tuple(one[:, :h, :w] for one, (_, h, w, _) in zip(made, ctx.shapes, strict=True))

    @staticmethod
    def backward(ctx, *upstream):  # type: ignore[no-untyped-def]
        inputs, filters, *made = ctx.saved_tensors
        slopes = [_padded(one) for one in upstream]
        if ctx.relu:
            slopes = [torch.ops.aten.threshold_backward(one, at, 0) for one, at in zip(slopes, made, strict=True)]
        weight, spread = torch.empty_like(filters), torch.zeros_like(inputs)
        bias = slopes[0].new_empty(filters.shape[2])
        for part in _blocks(filters.shape[2]):
            products = untiled_transposed([one[..., part] for one in slopes])
            bias[part] = products[1, 1].sum(0)
            weight[:, :, part] = _products(products.mT, inputs)
            spread.flatten(0, 1).baddbmm_(products.flatten(0, 1), filters[:, :, part].flatten(0, 1))
        return filter_tiles_transposed(weight), bias, None, *tiles_transposed(spread, ctx.shapes)


def _blocks(channels: int) -> list[slice]:
    """Output channels, as many at a time as keep what is between them in a cache."""
    return [slice(start, min(start + BLOCK, channels)) for start in range(0, channels, BLOCK)]


def _products(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The 16 matrix products of (4, 4, ., .) and (4, 4, ., .)."""
    return torch.bmm(one.flatten(0, 1), other.flatten(0, 1)).unflatten(0, (SIDE, SIDE))


def _even(shape: Sequence[int]) -> tuple[int, int, int]:
    """N, H, W of a map of this shape whose sides are rounded up to even ones."""
    return shape[0], 2 * _half(shape[1]), 2 * _half(shape[2])


def _padded(one: torch.Tensor) -> torch.Tensor:
    """A map with even sides, zeros added at the ends."""
    h, w = one.shape[1] % 2, one.shape[2] % 2
    return F.pad(one, (0, 0, 0, w, 0, h)) if h or w else one


def tiles(maps: Maps) -> torch.Tensor:
    """B' d B of every tile: maps (N, H, W, C) -> (4, 4, T, C)."""
    channels = maps[0].shape[-1]
    made = maps[0].new_empty(SIDE, SIDE, sum(_count(one.shape) for one in maps), channels)
    for one, part in zip(maps, made.split([_count(one.shape) for one in maps], 2), strict=True):
        n, h, w, _ = one.shape
        padded = F.pad(one, (0, 0, 1, 1 + w % 2, 1, 1 + h % 2))
        rows = one.new_empty(SIDE, n, _half(h), padded.shape[2], channels)
        _differences([padded[:, i:i + h + h % 2:2] for i in range(SIDE)], rows.unbind(0))
        shaped = part.view(SIDE, SIDE, n, _half(h), _half(w), channels)
        _differences([rows[:, :, :, j:j + w + w % 2:2] for j in range(SIDE)], shaped.unbind(1))
    return made


def tiles_transposed(parts: torch.Tensor, shapes: Sequence[torch.Size]) -> list[torch.Tensor]:
    """The transpose of `tiles`: (4, 4, T, C) -> maps of these shapes; where tiles overlap, their pixels add up."""
    made = []
    for (n, h, w, channels), part in zip(shapes, parts.split([_count(one) for one in shapes], 2), strict=True):
        shaped = part.view(SIDE, SIDE, n, _half(h), _half(w), channels)
        columns = parts.new_empty(SIDE, n, _half(h), _half(w), 2, channels)
        _overlapping(shaped.unbind(1), columns.unbind(4), 3)
        whole = parts.new_empty(n, _half(h), 2, 2 * _half(w), channels)
        _overlapping(columns.flatten(3, 4).unbind(0), whole.unbind(2), 1)
        made.append(whole.flatten(1, 2)[:, :h, :w])
    return made


def untiled(products: torch.Tensor, maps: Maps) -> None:
    """A' m A of every tile: (4, 4, T, K) -> into maps (N, H, W, K) of even sides."""
    rows = products.new_empty(2, *products.shape[1:])
    _sums(products.unbind(0), rows.unbind(0))
    for one, part in zip(maps, rows.split([_count(one.shape) for one in maps], 2), strict=True):
        pixels = [_pixels(one, axis) for axis in range(2)]
        _sums(part.unflatten(2, pixels[0].shape[1:4]).unbind(1), pixels)


def untiled_transposed(maps: Maps) -> torch.Tensor:
    """The transpose of `untiled`: maps (N, H, W, K) of even sides -> (4, 4, T, K)."""
    made = maps[0].new_empty(SIDE, SIDE, sum(_count(one.shape) for one in maps), maps[0].shape[-1])
    for one, part in zip(maps, made.split([_count(one.shape) for one in maps], 2), strict=True):
        left, right = _pixels(one, 0), _pixels(one, 1)  # (2, N, H / 2, W / 2, K)
        shaped = part.unflatten(2, left.shape[1:4])
        _sums_transposed((left[0], right[0]), shaped[0])
        _sums_transposed((left[1], right[1]), shaped[3])
        torch.add(shaped[0], shaped[3], out=shaped[1])
        torch.sub(shaped[0], shaped[3], out=shaped[2])
    return made


def _pixels(one: torch.Tensor, column: int) -> torch.Tensor:
    """The left or right pixels of all tiles: (N, H, W, K) -> (2, N, H / 2, W / 2, K), first the upper ones."""
    return one.unflatten(1, (one.shape[1] // 2, 2))[:, :, :, column::2].permute(2, 0, 1, 3, 4)


def filter_tiles(weight: torch.Tensor) -> torch.Tensor:
    """G g G': (K, C, 3, 3) -> (4, 4, K, C)."""
    taps = weight.permute(2, 3, 0, 1)
    rows = taps.new_empty(SIDE, *taps.shape[1:])
    _halves(taps.unbind(0), rows.unbind(0))
    made = taps.new_empty(SIDE, SIDE, *taps.shape[2:])
    _halves(rows.unbind(1), made.unbind(1))
    return made


def filter_tiles_transposed(parts: torch.Tensor) -> torch.Tensor:
    """The transpose of `filter_tiles`: (4, 4, K, C) -> (K, C, 3, 3) in channels_last memory."""
    rows = parts.new_empty(3, *parts.shape[1:])
    _halves_transposed(parts.unbind(0), rows.unbind(0))
    made = parts.new_empty(parts.shape[2], 3, 3, parts.shape[3])
    _halves_transposed(rows.unbind(1), made.permute(2, 1, 0, 3).unbind(0))
    return made.permute(0, 3, 1, 2)


def _half(side: int) -> int:
    return (side + 1) // 2


def _count(shape: Sequence[int]) -> int:
    """Tiles of a map."""
    return shape[0] * _half(shape[1]) * _half(shape[2])


def _differences(d: Maps, to: Maps) -> None:
    """B' along one axis."""
    torch.sub(d[0], d[2], out=to[0])
    torch.add(d[1], d[2], out=to[1])
    torch.sub(d[2], d[1], out=to[2])
    torch.sub(d[3], d[1], out=to[3])


def _overlapping(v: Maps, to: Maps, axis: int) -> None:
    """B along one axis, pixels of neighbouring tiles added up; the outermost two pixels are padding and left out."""
    last = v[0].shape[axis] - 1
    torch.sub(v[1], v[2], out=to[0])
    to[0].sub_(v[3]).narrow(axis, 1, last).add_(v[3].narrow(axis, 0, last))
    torch.add(v[1], v[2], out=to[1])
    to[1].sub_(v[0]).narrow(axis, 0, last).add_(v[0].narrow(axis, 1, last))


def _sums(m: Maps, to: Maps) -> None:
    """A' along one axis."""
    torch.add(m[1], m[2], out=to[0])
    to[0].add_(m[0])
    torch.sub(m[1], m[2], out=to[1])
    to[1].add_(m[3])


def _sums_transposed(m: Maps, to: Maps) -> None:
    """A along one axis."""
    to[0].copy_(m[0])
    torch.add(m[0], m[1], out=to[1])
    torch.sub(m[0], m[1], out=to[2])
    to[3].copy_(m[1])


def _halves(w: Maps, to: Maps) -> None:
    """G along one axis."""
    to[0].copy_(w[0])
    torch.add(w[0], w[2], out=to[1])
    torch.sub(to[1], w[1], out=to[2]).mul_(0.5)
    to[1].add_(w[1]).mul_(0.5)
    to[3].copy_(w[2])


def _halves_transposed(u: Maps, to: Maps) -> None:
    """G' along one axis."""
    torch.add(u[1], u[2], out=to[0])
    torch.add(u[3], to[0], alpha=0.5, out=to[2])
    to[0].mul_(0.5).add_(u[0])
    torch.sub(u[1], u[2], out=to[1]).mul_(0.5)
