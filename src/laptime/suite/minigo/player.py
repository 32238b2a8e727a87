"""A network as a judge of positions: batches of one size, symmetries by position, one or several networks at a time."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from laptime.suite.minigo.board import Hashes, Ints
from laptime.suite.minigo.features import SYMMETRIES, Planes, turned_moves, turned_planes
from laptime.suite.minigo.model import DualNetwork, Frozen
from laptime.training.data.sampler import scrambled

Judged = tuple[NDArray[np.float32], NDArray[np.float32]]


class Player:
    """Judges positions with a frozen copy of a network, `batch` at a time: always so many (padded), so that what it
    says of a position does not depend on the others."""

    def __init__(self, model: DualNetwork, size: int, batch: int) -> None:
        self.network, self.size, self.batch = Frozen(model), size, batch
        parameter = next(model.parameters())
        self.dtype, self.device = parameter.dtype, parameter.device

    def __call__(self, planes: Planes) -> Judged:
        """Planes (B, C, P) -> probabilities (B, P + 1), values for Black (B,)."""
        count, channels = len(planes), planes.shape[1]
        whole = -(-count // self.batch) * self.batch
        batch = torch.zeros((whole, channels, self.size, self.size), dtype=self.dtype)
        batch.view(whole, channels, -1)[:count] = torch.from_numpy(planes)
        parts = [self.network(part) for part in batch.to(self.device).split(self.batch)]
        priors = torch.cat([part[0] for part in parts])[:count].float().cpu().numpy()
        return priors, torch.cat([part[1] for part in parts])[:count].float().cpu().numpy()


class Table:
    """The judge of a forest: slot i belongs to `players[i // share]`; `salts`: one random number per slot, by which and
    by the position its symmetry is chosen (None: no symmetries)."""

    def __init__(self, players: Sequence[Player], share: int, salts: Hashes | None) -> None:
        self.players, self.share, self.salts = players, share, salts

    def __call__(self, planes: Planes, hashes: Hashes, slots: Ints) -> Judged:
        size = self.players[0].size
        if self.salts is not None:
            which = (scrambled(hashes ^ self.salts[slots]) % np.uint64(SYMMETRIES)).astype(np.intp)
            planes = turned_planes(size, planes, which)
        priors, values = self._asked(planes, slots // self.share)
        if self.salts is not None:
            priors = turned_moves(size, priors, which, back=True)
        return priors, values

    def _asked(self, planes: Planes, owners: Ints) -> Judged:
        if len(self.players) == 1:
            return self.players[0](planes)
        priors = np.zeros((len(planes), self.players[0].size ** 2 + 1), np.float32)
        values = np.zeros(len(planes), np.float32)
        for number, player in enumerate(self.players):
            mine = owners == number
            if mine.any():
                priors[mine], values[mine] = player(planes[mine])
        return priors, values
