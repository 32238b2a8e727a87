"""Likelihood of label sequences under a recurrent neural transducer (Graves 2012, section 2.4), in the log domain.

Shapes: a batch of B sequences with T_b frames and U_b labels has cells (b, t, u), 0 <= t < T_b, 0 <= u <= U_b. All
their scores lie back to back in rows, N = sum of T_b (U_b + 1): nothing is computed for padding. In a cell, `blank` is
the log probability of going on to frame t + 1 and `label` that of emitting label u + 1.

The recursion runs along anti-diagonals t + u, all cells of one and all sequences at once; T + U small steps instead of
T x U. The gradient is the posterior probability of each transition, from one forward and one backward recursion.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

NEVER = -1e30  # log of a probability of nothing; finite, so that no difference becomes NaN


class Lattice(NamedTuple):
    """Where the rows of a batch belong. All int64; `shape` stays on the host, the rest goes to the device.

    frame, label: (N,) row t * B + b and u * B + b of time-major inputs; emitted: (N,) the label that the cell may emit,
    0 where `emits` (N,) bool is False; place: (N,) position in the skewed array (diagonals, B, width);
    sequence: (N,) b; last: (B,) row of cell (T_b - 1, U_b). shape: (diagonals, B, width).
    """

    frame: torch.Tensor
    label: torch.Tensor
    emitted: torch.Tensor
    emits: torch.Tensor
    place: torch.Tensor
    sequence: torch.Tensor
    last: torch.Tensor
    shape: tuple[int, int, int]

    def tensors(self) -> tuple[torch.Tensor, ...]:
        return self[:7]

    def at(self, tensors: Sequence[torch.Tensor]) -> "Lattice":
        """The same lattice with its tensors elsewhere."""
        frame, label, emitted, emits, place, sequence, last = tensors
        return Lattice(frame, label, emitted, emits, place, sequence, last, self.shape)


def lattice(frames: Sequence[int], labels: Sequence[Sequence[int]]) -> Lattice:
    """The cells of a batch. frames: T_b >= 1 of each sequence; labels: its label ids."""
    batch = len(frames)
    t_b = np.asarray(frames, np.int64)
    u_b = np.array([len(one) for one in labels], np.int64)
    assert len(u_b) == batch, "expected as many sequences of labels as of frames"
    assert (t_b > 0).all(), "expected a frame in each sequence"
    counts = t_b * (u_b + 1)
    ends = np.cumsum(counts)
    b = np.repeat(np.arange(batch), counts)
    within = np.arange(int(ends[-1])) - (ends - counts)[b]
    t, u = np.divmod(within, u_b[b] + 1)
    padded = np.zeros((batch, int(u_b.max()) + 1), np.int64)
    for row, one in zip(padded, labels, strict=True):
        row[:len(one)] = one
    diagonals, width = int((t_b + u_b).max()), padded.shape[1]
    frame, label, emitted, emits, place, sequence, last = (torch.from_numpy(np.ascontiguousarray(one)) for one in (
        t * batch + b, u * batch + b, padded[b, u], u < u_b[b], ((t + u) * batch + b) * width + u, b, ends - 1))
    return Lattice(frame, label, emitted, emits, place, sequence, last, (diagonals, batch, width))


def transducer_loss(blank: torch.Tensor, label: torch.Tensor, cells: Lattice) -> torch.Tensor:
    """Negative log likelihood of each sequence, (B,), from log probabilities (N,) in float32 or float64.

    `label` is ignored where a cell emits nothing. A sequence whose likelihood is not finite makes no gradient, nor does
    a transition whose posterior probability lies below `negligible`.
    """
    return _Likelihood.apply(blank, label, cells)


def transition_scores(logits: torch.Tensor, cells: Lattice, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """(blank, label) log probabilities of some rows from logits (rows, classes); the last class is blank."""
    total = logits.logsumexp(1)
    label = logits.gather(1, cells.emitted[rows, None]).squeeze(1)
    return logits[:, -1] - total, label - total


def negligible(dtype: torch.dtype) -> float:
    """Posteriors below count as 0: beside those of the same frame, which add up to 1, rounding loses them, and their
    products with scores and weights would be subnormal numbers, which slow a processor down manifold."""
    return float(torch.finfo(dtype).tiny**0.5)


class _Likelihood(torch.autograd.Function):
    """Both recursions in the forward pass; the backward pass only scales the posteriors."""

    @staticmethod
    def forward(ctx, blank, label, cells):  # type: ignore[no-untyped-def]
        emits, place, sequence, last, shape = cells.emits, cells.place, cells.sequence, cells.last, cells.shape
        blank_DBW = _skewed(blank, place, shape)
        label_DBW = _skewed(label.masked_fill(~emits, NEVER), place, shape)
        alpha = _forward(blank_DBW, label_DBW).reshape(-1)[place]
        likelihood = alpha[last] + blank[last]
        end = torch.full((shape[0] + 1, *shape[1:]), NEVER, dtype=blank.dtype, device=blank.device)
        end.view(-1)[place[last] + shape[1] * shape[2]] = 0.0
        beta = _backward(blank_DBW, label_DBW, end).reshape(-1)
        down, right = place + shape[1] * shape[2], place + shape[1] * shape[2] + 1
        known = alpha - likelihood[sequence]
        posterior_blank = (known + blank + beta[down]).exp()
        posterior_label = torch.where(emits, (known + label + beta[torch.where(emits, right, down)]).exp(), 0.0)
        sound = likelihood.isfinite()[sequence]
        ctx.save_for_backward(*(torch.where(sound & (posterior >= negligible(blank.dtype)), posterior, 0.0)
                                for posterior in (posterior_blank, posterior_label)), sequence)
        return -likelihood

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        posterior_blank, posterior_label, sequence = ctx.saved_tensors
        scale = -gradient[sequence]
        return scale * posterior_blank, scale * posterior_label, None


def _skewed(scores: torch.Tensor, place: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
    """(diagonals, B, width): row t + u, column u; NEVER where no cell is."""
    full = torch.full(shape, NEVER, dtype=scores.dtype, device=scores.device)
    full.view(-1)[place] = scores
    return full


def _forward(blank_DBW: torch.Tensor, label_DBW: torch.Tensor) -> torch.Tensor:
    """Log probability of reaching each cell from (0, 0)."""
    alpha = torch.full_like(blank_DBW, NEVER)
    alpha[0, :, 0] = 0.0
    for n in range(1, len(alpha)):
        stay = alpha[n - 1] + blank_DBW[n - 1]
        torch.logaddexp(stay[:, 1:], alpha[n - 1, :, :-1] + label_DBW[n - 1, :, :-1], out=alpha[n, :, 1:])
        alpha[n, :, 0] = stay[:, 0]
    return alpha


def _backward(blank_DBW: torch.Tensor, label_DBW: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """Log probability of the rest from each cell, (diagonals + 1, B, width); `end`: 0 where a path is complete."""
    beta = end
    for n in range(len(blank_DBW) - 1, -1, -1):
        stay = beta[n + 1] + blank_DBW[n]
        stay[:, :-1] = torch.logaddexp(stay[:, :-1], beta[n + 1, :, 1:] + label_DBW[n, :, :-1])
        torch.maximum(beta[n], stay, out=beta[n])
    return beta
