"""Standard normal noise that is a function of keys, not of a generator's state.

Every sample carries a key (from the run's seed, the epoch and its place in the stream), every use in the network a
name. A hash of key, name and element gives two fractions, the Box-Muller transform (1958) a normal number. So results
depend neither on the number of processes nor on how a batch is cut; no state is saved, and a compiler can fuse it.
"""

import math

import torch

from laptime.training.nn.keyed_dropout import FIRST, SECOND, constants

FRACTION_BITS = 23


class KeyedNoise(torch.nn.Module):
    """Noise of shape (N, *shape) by the samples' keys (N,) int32. `place`: a name of this use."""

    elements: torch.Tensor

    def __init__(self, place: str, *shape: int) -> None:
        super().__init__()
        self.register_buffer("elements", constants(place, 2, *shape), persistent=False)

    def forward(self, keys: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        mixed = hashed(hashed(keys.reshape(-1, *[1] * (self.elements.dim() - 1))) ^ self.elements[:, None])
        wide = torch.promote_types(dtype, torch.float32)
        fractions = ((mixed >> (32 - FRACTION_BITS)).to(wide) + (2 ** (FRACTION_BITS - 1) + 0.5)) * 2.0**-FRACTION_BITS
        return ((-2.0 * fractions[0].log()).sqrt() * (2.0 * math.pi * fractions[1]).cos()).to(dtype)


def hashed(bits: torch.Tensor) -> torch.Tensor:
    """A bijection of int32 numbers under which neighbours become unrelated (Wellons 2018: three rounds of shift and
    product). Arithmetic shifts take the place of logical ones; what they copy in is masked off."""
    bits = (bits ^ ((bits >> 16) & 0xFFFF)) * FIRST
    bits = (bits ^ ((bits >> 15) & 0x1FFFF)) * SECOND
    return bits ^ ((bits >> 16) & 0xFFFF)
