"""Weights of one moment in a file, for an evaluation off the clock.

The first process writes and reads; the others get the weights from it, so that the folder need not be shared.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from laptime.events import At
from laptime.training.distributed.world import World
from laptime.training.state import Saved, State, state_of


@dataclass(frozen=True)
class Checkpoints:
    """Checkpoints of `model` (parameters and buffers) in `folder`."""

    world: World
    model: torch.nn.Module
    folder: Path

    def save(self, at: At) -> Path:
        """Write the weights of now; returns the path, equal on every rank."""
        path = self.folder / f"{at.samples}.pt"
        if self.world.first:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._state().copy().save(path)
        return path

    @contextmanager
    def loaded(self, path: Path) -> Iterator[None]:
        """The model with the weights of a checkpoint, on every rank; afterwards with those of before.

        Raises DataProblem.
        """
        state = self._state()
        before = Saved({name: tensor.detach().cpu().clone() for name, tensor in state.tensors.items()}, {}, {})
        try:
            self._put(state, path)
            yield
        finally:
            state.restore(before)

    @torch.no_grad()
    def _put(self, state: State, path: Path) -> None:
        if self.world.first:
            state.restore(Saved.load(path))
        for _, tensor in sorted(state.tensors.items()):
            self.world.broadcast(tensor)

    def _state(self) -> State:
        return state_of(modules={"model": self.model}, optimizers={})
