"""Scores of all cells on a CPU: joint network, softmax and the choice of blank and label in one pass over a cache.

The cells of an utterance are a whole grid of its frames and labels, so its projected outputs are added by broadcasting
and their gradients are sums along the grid. Rows go through every operation while a processor's cache holds them; what
is kept for the backward pass is the hidden layer and the softmax before its division, once each.

Letters as in `model.py`. The gradient of a row's logits is  -(b + l) softmax, + b at blank, + l at its label.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from laptime.training.nn.transducer_loss import Lattice

CACHED_BYTES = 1 << 20  # of logits that pass through together; with the hidden rows and the weights a cache holds them
Drop = Callable[[torch.Tensor, slice], torch.Tensor]  # hidden rows and which they are -> the same after dropout


class Block(NamedTuple):
    """Frames `start` to `end` of an utterance with all its labels: `rows` of the cells, `width` labels + 1."""

    utterance: int
    start: int
    end: int
    width: int
    rows: slice


def cached(f_TBW: torch.Tensor, logits: int) -> bool:
    """Whether this form pays: on a CPU in whole precision, for more logits than a cache holds anyway."""
    exact = f_TBW.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")
    return f_TBW.device.type == "cpu" and exact and logits * f_TBW.element_size() > CACHED_BYTES


def joint_scores(f_TBW: torch.Tensor, g_UBW: torch.Tensor, net: torch.nn.Linear, cells: Lattice, *, dropout: float,
                 drop: Drop) -> tuple[torch.Tensor, torch.Tensor]:
    """(blank, label) log probabilities (N,) of every cell, from projected encoder and prediction outputs.

    dropout: probability; 0 where nothing is dropped. What `drop` keeps it multiplies by 1 / (1 - dropout).
    """
    blank, label = _Scores.apply(f_TBW, g_UBW, net.weight, net.bias, cells, dropout, drop)
    return blank, label


def blocks(cells: Lattice, rows: int) -> Iterator[Block]:
    """All cells in order, about `rows` at a time; a block is never less than all labels of one frame."""
    batch = cells.shape[1]
    begin = 0
    for b, (frames, labels) in enumerate(zip((cells.frame[cells.last] // batch + 1).tolist(),
                                             (cells.label[cells.last] // batch + 1).tolist(), strict=True)):
        step = max(1, rows // labels)
        for start in range(0, frames, step):
            end = min(frames, start + step)
            yield Block(b, start, end, labels, slice(begin + start * labels, begin + end * labels))
        begin += frames * labels


class _Scores(torch.autograd.Function):
    """The backward pass leaves out cells without gradient: their posteriors are negligible."""

    @staticmethod
    def forward(ctx, f_TBW, g_UBW, weight, bias, cells, dropout, drop):  # type: ignore[no-untyped-def]  # noqa: PLR0917
        total, (classes, width) = len(cells.frame), weight.shape
        hidden, powers = f_TBW.new_empty(total, width), f_TBW.new_empty(total, classes)
        blank, label, mass = (f_TBW.new_empty(total) for _ in range(3))
        for b, start, end, labels, rows in _blocks(cells, weight):
            torch.add(f_TBW[start:end, b, None], g_UBW[:labels, b], out=hidden[rows].view(end - start, labels, width))
            here, logits = hidden[rows].relu_(), powers[rows]
            if dropout:
                here.copy_(drop(here, rows))
            torch.addmm(bias, here, weight.t(), out=logits)
            logits.sub_(logits.amax(1, keepdim=True))
            blank[rows] = logits[:, -1]
            torch.gather(logits, 1, cells.emitted[rows, None], out=label[rows].unsqueeze(1))
            torch.sum(logits.exp_(), 1, out=mass[rows])
        log_mass = mass.log()
        ctx.save_for_backward(weight, hidden, powers, mass)
        ctx.cells, ctx.scale, ctx.shapes = cells, 1.0 / (1.0 - dropout), (f_TBW.shape, g_UBW.shape)
        return blank.sub_(log_mass), label.sub_(log_mass)

    @staticmethod
    def backward(ctx, to_blank, to_label):  # type: ignore[no-untyped-def]
        weight, hidden, powers, mass = ctx.saved_tensors
        cells, factor = ctx.cells, (to_blank + to_label).div_(-mass)
        d_f, d_g = (weight.new_zeros(shape) for shape in ctx.shapes)
        d_weight, d_bias = torch.zeros_like(weight), weight.new_zeros(len(weight))
        for b, start, end, labels, rows in _blocks(cells, weight):
            at = factor[rows].nonzero().squeeze(1)
            here = hidden[rows].index_select(0, at)
            d_logits = powers[rows].index_select(0, at).mul_(factor[rows][at, None])
            d_logits[:, -1] += to_blank[rows][at]
            d_logits.scatter_add_(1, cells.emitted[rows][at, None], to_label[rows][at, None])
            d_weight.addmm_(d_logits.t(), here)
            d_bias += d_logits.sum(0)
            grid = weight.new_zeros(end - start, labels, here.shape[1])
            grid.flatten(0, 1).index_copy_(0, at, _behind_relu(d_logits @ weight, here))
            torch.sum(grid, 1, out=d_f[start:end, b])
            d_g[:labels, b] += grid.sum(0)
        return d_f.mul_(ctx.scale), d_g.mul_(ctx.scale), d_weight, d_bias, None, None, None


def _behind_relu(gradient: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    """Zero where ReLU or dropout made zero."""
    found: torch.Tensor = torch.ops.aten.threshold_backward(gradient, output, 0)
    return found


def _blocks(cells: Lattice, weight: torch.Tensor) -> Iterator[Block]:
    return blocks(cells, CACHED_BYTES // (len(weight) * weight.element_size()))
