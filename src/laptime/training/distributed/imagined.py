"""A job of many processes imagined in one: what each would hold of a model, without memory for it.

The processes are torch's fake process group (collectives do nothing), the tensors have shapes but no storage. A model
is built by the same code as in a run.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.distributed as dist

from laptime.config import Parallel
from laptime.errors import InvalidConfiguration
from laptime.training.distributed.arrange import arrange
from laptime.training.distributed.layout import sizes
from laptime.training.distributed.pieces import local, whole_size
from laptime.training.distributed.world import World
from laptime.training.state import State

MODEL, OPTIMIZER = "model.", "optimizer."  # how names of a session's state begin


class Built(Protocol):
    """A session, as far as it matters here."""

    def state(self) -> State: ...


@dataclass(frozen=True)
class Holding:
    """What one process holds, in bytes. `parameters_whole`: elements that its stage of a pipeline counts in all."""

    rank: int
    parameters_whole: int
    parameters_bytes: int
    gradients_bytes: int
    optimizer_bytes: int

    @property
    def total_bytes(self) -> int:
        return self.parameters_bytes + self.gradients_bytes + self.optimizer_bytes


@dataclass(frozen=True)
class Imagined:
    """`parameters`: elements of the whole model; `stages`: the first process of each stage."""

    parameters: int
    stages: tuple[Holding, ...]

    @property
    def largest(self) -> Holding:
        return max(self.stages, key=lambda one: one.total_bytes)


def imagine(build: Callable[[World], Built], parallel: Parallel, processes: int) -> Imagined:
    """What `build` (a benchmark's, on an arranged world) makes on the first process of each stage.

    Raises InvalidConfiguration for a `parallel` that does not fit, and inside a job that really has processes.
    """
    stages = sizes(parallel, processes)["pipeline"]
    found = []
    for stage in range(stages):
        with imagined_world(stage * (processes // stages), processes) as world, torch.device("meta"):
            found.append(holding(build(arrange(world, parallel)).state(), world.rank))
    return Imagined(sum(one.parameters_whole for one in found), tuple(found))


def holding(state: State, rank: int = 0) -> Holding:
    """Sizes of the tensors in a session's state. A gradient has the size of its parameter."""
    tensors = {name: one for name, one in state.tensors.items() if name.startswith(MODEL) and one.requires_grad}
    counted = sum(_bytes(one) for one in tensors.values())
    everything = sum(_bytes(one) for name, one in (state.tensors | state.frozen).items() if name.startswith(MODEL))
    optimizer = sum(_bytes(one) for name, one in state.tensors.items() if name.startswith(OPTIMIZER))
    return Holding(rank, sum(map(whole_size, tensors.values())), everything, counted, optimizer)


@contextmanager
def imagined_world(rank: int, processes: int) -> Iterator[World]:
    """Process `rank` of `processes` that do not exist, on the meta device."""
    if dist.is_initialized():
        raise InvalidConfiguration("expected a single process to imagine others in, found a job of several",
                                   hint="Start it without a launcher.")
    if processes == 1:
        yield World(0, 1, torch.device("meta"))
        return
    from torch.testing._internal.distributed.fake_pg import FakeStore  # registers the backend "fake"

    dist.init_process_group("fake", rank=rank, world_size=processes, store=FakeStore())
    try:
        yield World(rank, processes, torch.device("meta"))
    finally:
        dist.destroy_process_group()


def _bytes(tensor: torch.Tensor) -> int:
    here = local(tensor)
    return here.numel() * here.element_size()
