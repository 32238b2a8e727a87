"""A whole state on disk and back, written while training goes on (torch.distributed.checkpoint).

What processes hold alike is written once, shards by those who have them. A checkpoint is a folder `step-<n>`; it counts
when its `.metadata` is there, which is written last. A state is complete at every event `Progress`: restored into a new
session of the same configuration and seed, training goes on as if it had not stopped, bit for bit. The same layout is
needed, but for the number of shards.
"""

import contextlib
import re
import shutil
import warnings
from concurrent.futures import Future
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_loader import load as read
from torch.distributed.checkpoint.state_dict_saver import async_save

from laptime.errors import DataProblem
from laptime.training.distributed.world import World
from laptime.training.state import State

WRITTEN = ".metadata"
FOLDER = re.compile(r"step-(\d+)")

Tensors = dict[str, torch.Tensor]


class Saver:
    """Writes checkpoints of one run into `folder`, which all processes see; keeps the last `keep`.

    Made and used by all processes together.
    """

    def __init__(self, world: World, folder: Path, keep: int = 2) -> None:
        self.world, self.folder, self.keep = world, folder, keep
        self._group = dist.new_group(backend="gloo") if world.size > 1 else None  # beside the one that trains
        self._writing: Future | None = None
        _quiet()

    def save(self, state: State, step: int) -> Path:
        """Copy `state` now and write it in the background, after the one before has been written."""
        self.finish()
        path = self.folder / f"step-{step}"
        self._writing = async_save(named(state, self.world), checkpoint_id=path, process_group=self._group,
                                   no_dist=self.world.size == 1)  # type: ignore[assignment]
        return path

    def finish(self) -> None:
        """Wait until everything is on disk. Raises DataProblem when it cannot be written."""
        if self._writing is None:
            return
        writing, self._writing = self._writing, None
        try:
            writing.result()
        except (CheckpointException, OSError, RuntimeError) as error:
            raise DataProblem(f"expected to write a checkpoint under {self.folder}, found {_reason(error)}",
                              hint="Is the disk full?") from error
        if self.world.first:
            for old in checkpoints(self.folder)[:-self.keep]:
                shutil.rmtree(old, ignore_errors=True)


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints in `folder`, the oldest first."""
    found = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        number = FOLDER.fullmatch(path.name)
        if number and (path / WRITTEN).is_file():
            found[int(number[1])] = path
    return [found[step] for step in sorted(found)]


@torch.no_grad()
def load(state: State, path: Path, world: World) -> None:
    """Write a checkpoint into the tensors, generators and counters of `state`, in place.

    Called by all processes together. Raises DataProblem when it is not one of this layout.
    """
    into = named(state, world)
    _quiet()
    try:
        read(into, checkpoint_id=path, no_dist=world.size == 1)
    except (CheckpointException, OSError, RuntimeError, ValueError, KeyError) as error:
        raise DataProblem(f"expected a checkpoint of this configuration and layout at {path}, found {_reason(error)}",
                          hint="Start the run again without it.") from error
    own = _own(world)
    for name, generator in state.generators.items():
        generator.set_state(into[f"{own}generator.{name}"])
    for name, counter in state.counters.items():
        counter.value = int(into[f"{own}counter.{name}"])


def named(state: State, world: World) -> Tensors:
    """Everything in `state` under names that are equal on two processes only where the values are."""
    own, here = _own(world), _here(world)
    found = {(own if name in state.own else here) + name: tensor.detach() for name, tensor in state.tensors.items()}
    found |= {f"{own}generator.{name}": generator.get_state() for name, generator in state.generators.items()}
    return found | {f"{own}counter.{name}": torch.tensor(counter.value) for name, counter in state.counters.items()}


def _quiet() -> None:
    """A single process is no reason to warn at every checkpoint."""
    warnings.filterwarnings("ignore", message="torch.distributed is disabled", module="torch.distributed.checkpoint")


def _own(world: World) -> str:
    return f"rank{world.rank}."


def _here(world: World) -> str:
    """The stage and the part of a layer that this process holds."""
    return f"stage{world.pipeline.rank}.part{world.tensor.rank}."


def _reason(error: BaseException) -> str:
    """The first line of the first error that processes report."""
    if isinstance(error, CheckpointException) and error.failures:
        with contextlib.suppress(IndexError):
            error = next(iter(error.failures.values()))[0]
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
