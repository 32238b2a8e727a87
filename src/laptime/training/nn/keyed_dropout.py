"""Dropout (Srivastava et al. 2014) that is a function of keys, not of a generator's state.

Every row (a token) carries a key made from the run's seed, the epoch, the sample and the position; every column and
place of the network has a constant of its own. What is dropped is a hash of the two. So results depend neither on the
number of processes nor on how a batch is cut or packed, there is no state to save, and a compiler can fuse it.
"""

import numpy as np
import torch

from laptime.training.data.sampler import scrambled

FIRST = 0x7FEB352D  # two odd multipliers that mix well between shifts (found by search: Wellons, "Prospecting for Hash
SECOND = 0x1B56C4E9  # Functions", 2018)


def constants(place: str, *shape: int) -> torch.Tensor:
    """Random int32 constants of a place in the network, the same in every run."""
    start = int.from_bytes(place.encode()[-6:], "little") << 16
    numbers = scrambled(scrambled(np.arange(int(np.prod(shape)), dtype=np.uint64) + np.uint64(start)))
    return torch.from_numpy((numbers >> np.uint64(32)).astype(np.uint32).view(np.int32).reshape(shape))


def dropped(x: torch.Tensor, bits: torch.Tensor, probability: float) -> torch.Tensor:
    """`x` times `factors`: `bits` (int32, the shape of x) are overwritten."""
    return x * factors(bits, probability, x.dtype)


def factors(bits: torch.Tensor, probability: float, dtype: torch.dtype) -> torch.Tensor:
    """0 where the hash of `bits` (int32, overwritten) falls below `probability`, else 1 / (1 - probability).

    Compared in place: on a CPU a pass over whole numbers takes a fraction of one that makes or reads booleans.
    """
    bits = bits.mul_(FIRST)
    bits = bits.bitwise_xor_(bits >> 15).mul_(SECOND)
    return bits.ge_(int(probability * 2**32) - 2**31).to(dtype).mul_(1.0 / (1.0 - probability))


class KeyedDropout(torch.nn.Module):
    """Dropout of (rows, width) by the rows' keys (rows,) int32; nothing in evaluation. `place`: a name of this use."""

    columns: torch.Tensor

    def __init__(self, width: int, probability: float, place: str) -> None:
        super().__init__()
        self.probability = probability
        self.register_buffer("columns", constants(place, width), persistent=False)

    def forward(self, x: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        if not self.training or not self.probability:
            return x
        return dropped(x, keys[:, None] ^ self.columns, self.probability)


class KeyedAttentionDropout(torch.nn.Module):
    """Dropout of attention weights (n, heads, queries, keys) by the queries' keys (n, queries) int32."""

    columns: torch.Tensor

    def __init__(self, heads: int, longest: int, probability: float, place: str) -> None:
        super().__init__()
        self.probability = probability
        self.register_buffer("columns", constants(place, heads, 1, longest), persistent=False)

    def forward(self, weights: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        if not self.training or not self.probability:
            return weights
        bits = keys[:, None, :, None] ^ self.columns[..., :weights.shape[-1]]
        return dropped(weights, bits, self.probability)
