"""Greedy transducer decoding (Graves 2012, section 2.5, with a beam of one) of a whole batch at once.

Every utterance walks through its own frames: one iteration takes one decision for each of them, a symbol or, on blank,
the next frame. So a batch needs as many iterations as its longest walk (frames plus symbols), not the sum of all.
"""

from dataclasses import dataclass
from itertools import count

import torch

from laptime.suite.rnnt.model import RNNT, States

LOOK_EVERY = 16  # iterations between looks at whether all have finished, each of which waits for the device


@dataclass(frozen=True)
class Limits:
    """per_frame: symbols at most before the next frame; total: an utterance with more at the start of a frame ends."""

    per_frame: int
    total: int

    @property
    def longest(self) -> int:
        """The most symbols that an utterance can have."""
        return self.total + self.per_frame


@torch.no_grad()
def greedy(model: RNNT, x_TBF: torch.Tensor, frames_B: torch.Tensor, limits: Limits) -> list[list[int]]:
    """The pieces of each utterance. x_TBF: features; frames_B: how many of them are the utterance's own."""
    f_TBW = model.joint_enc(model.encode(x_TBF, frames_B))
    walk = _Walk(model, f_TBW, -(-frames_B // model.config.time_stack), limits)
    for iteration in count():
        going = walk.going()
        if iteration % LOOK_EVERY == 0 and not bool(going.any()):
            return walk.result()
        walk.advance(going)
    raise AssertionError("unreachable")


class _Walk:
    """Where every utterance is: frame, symbols said at this frame and in all, and what the prediction network says."""

    def __init__(self, model: RNNT, f_TBW: torch.Tensor, ends_B: torch.Tensor, limits: Limits) -> None:
        self.model, self.f_TBW, self.ends_B, self.limits = model, f_TBW, ends_B, limits
        batch, device = f_TBW.shape[1], f_TBW.device
        self.frame, self.here, self.total = (torch.zeros(batch, dtype=torch.int64, device=device) for _ in range(3))
        self.everyone = torch.arange(batch, device=device)
        self.said = torch.zeros(batch, limits.longest + 1, dtype=torch.int64, device=device)
        start = f_TBW.new_zeros(batch, model.config.prediction_width)
        self.states: States
        out, self.states = model.dec_rnn.step(start, [(start, start)] * model.config.prediction_layers)
        self.heard = model.joint_pred(out)

    def going(self) -> torch.Tensor:
        """(B,) bool: utterances with frames left that may say more."""
        return (self.frame < self.ends_B) & ((self.here > 0) | (self.total <= self.limits.total))

    def advance(self, going: torch.Tensor) -> None:
        """One decision for each utterance that is going."""
        f = self.f_TBW[self.frame.clamp(max=len(self.f_TBW) - 1), self.everyone]
        best = self.model.joint(f, self.heard).argmax(1)
        emits = going & (best != self.model.config.vocabulary)
        old = self.said[self.everyone, self.total]
        self.said[self.everyone, self.total] = torch.where(emits, best, old)
        self.total += emits
        self.here += emits
        moves = going & (~emits | (self.here >= self.limits.per_frame))
        self.frame += moves
        self.here.masked_fill_(moves, 0)
        self._hear(torch.where(emits, best, 0), emits)

    def result(self) -> list[list[int]]:
        return [pieces[:total] for pieces, total in zip(self.said.tolist(), self.total.tolist(), strict=True)]

    def _hear(self, labels: torch.Tensor, emits: torch.Tensor) -> None:
        """The prediction network takes a step where a symbol was said."""
        said = emits[:, None]
        embedded = self.model.embed(labels)
        out, after = self.model.dec_rnn.step(embedded, self.states)
        self.states = [(torch.where(said, h, h0), torch.where(said, c, c0))
                       for (h, c), (h0, c0) in zip(after, self.states, strict=True)]
        self.heard = torch.where(said, self.model.joint_pred(out), self.heard)
