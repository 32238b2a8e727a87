"""Randomness by purpose: every generator of a run derives from its one logged seed."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Seeds:
    """`run` is the logged seed of the run (0 <= run < 2**63)."""

    run: int

    def number(self, purpose: str, *indices: int) -> int:
        """A 63-bit number that depends on the run's seed, the purpose and the indices only."""
        text = f"{self.run}:{purpose}:{','.join(map(str, indices))}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1

    def torch(self, purpose: str, *indices: int, device: torch.device | str = "cpu") -> torch.Generator:
        """A fresh torch generator on `device`."""
        return torch.Generator(device=device).manual_seed(self.number(purpose, *indices))

    def numpy(self, purpose: str, *indices: int) -> np.random.Generator:
        """A fresh numpy generator."""
        return np.random.Generator(np.random.Philox(self.number(purpose, *indices)))
