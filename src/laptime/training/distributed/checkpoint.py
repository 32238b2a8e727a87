"""A whole state on disk and back, written while training goes on (torch.distributed.checkpoint).

What processes hold alike is written once, shards by those who have them. A checkpoint is a folder `step-<n>`; it counts
when its `.metadata` is there, which is written last. A state is complete at every event `Progress`: restored into a new
session of the same configuration and seed, training goes on as if it had not stopped, bit for bit. The same layout is
needed, but for the number of shards.
"""

import contextlib
import pickle
import re
import shutil
import struct
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_loader import load as read
from torch.distributed.checkpoint.state_dict_saver import async_save

from laptime.errors import DataProblem, UserError
from laptime.training.distributed.world import World
from laptime.training.state import State

WRITTEN = ".metadata"
FOLDER = re.compile(r"step-(\d+)")
BROKEN = (CheckpointException, OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, EOFError,
          pickle.UnpicklingError, struct.error)  # what reading files cut short, or others, raises

Tensors = dict[str, torch.Tensor]


def nothing(path: Path) -> None:
    """The default `complete`."""


class Saver:
    """Writes checkpoints of one run into `folder`, which all processes see; keeps the last `keep` that are whole.

    Made and used by all processes together. `complete`: called with each checkpoint on the first process, in the
    background, when all processes have written theirs; what it adds belongs to the checkpoint. Older ones are dropped
    only then, and one that could not be written is dropped at once.
    """

    def __init__(self, world: World, folder: Path, keep: int = 2, *, complete: Callable[[Path], None] = nothing,
                 timeout_s: float | None = None) -> None:
        self.world, self.folder, self.keep, self._complete = world, folder, keep, complete
        self._group, self._voices = _group(world, timeout_s), _group(world, timeout_s)  # beside the one that trains
        self._written: Future[None] | None = None
        _quiet()

    @property
    def busy(self) -> bool:
        """A checkpoint is being written."""
        return self._written is not None and not self._written.done()

    def agree(self, verdict: bool) -> bool:
        """The first process's verdict, on every process; the device is left alone."""
        if self.world.size == 1:
            return verdict
        told = torch.tensor(int(verdict))
        dist.broadcast(told, group=self._voices, group_src=0)
        return bool(told.item())

    def everywhere(self, verdict: bool) -> bool:
        """Whether the verdict is the same, true, on all processes."""
        if self.world.size == 1:
            return verdict
        told = torch.tensor(int(verdict))
        dist.all_reduce(told, dist.ReduceOp.MIN, group=self._voices)
        return bool(told.item())

    def save(self, state: State, step: int) -> Path:
        """Copy `state` now and write it in the background, after the one before has been written."""
        self.finish()
        path, written = self.folder / f"step-{step}", Future[None]()
        writing = async_save(named(state, self.world), checkpoint_id=path, process_group=self._group,
                             no_dist=self.world.size == 1)
        self._written = written
        writing.add_done_callback(partial(self._ended, path, written))  # type: ignore[union-attr]
        return path

    def load(self, state: State, path: Path) -> None:
        """As `load`, beside what trains."""
        load(state, path, self.world, self._group)

    def finish(self) -> None:
        """Wait until everything is on disk. Raises DataProblem when it cannot be written."""
        if self._written is None:
            return
        written, self._written = self._written, None
        try:
            written.result()
        except (CheckpointException, OSError, RuntimeError, UserError) as error:
            raise DataProblem(f"expected to write a checkpoint under {self.folder}, found {_reason(error)}",
                              hint="Is the disk full?") from error

    def _ended(self, path: Path, written: "Future[None]", writing: "Future[object]") -> None:
        """In the background: what processes wrote becomes a checkpoint, or is dropped."""
        try:
            writing.result()
            if self.world.first:
                self._complete(path)
                for old in checkpoints(self.folder)[:-self.keep]:
                    shutil.rmtree(old, ignore_errors=True)
        except BaseException as error:
            if self.world.first:
                shutil.rmtree(path, ignore_errors=True)
            written.set_exception(error)
        else:
            written.set_result(None)


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints in `folder`, the oldest first."""
    found = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        number = FOLDER.fullmatch(path.name)
        if number and (path / WRITTEN).is_file():
            found[int(number[1])] = path
    return [found[step] for step in sorted(found)]


@torch.no_grad()
def load(state: State, path: Path, world: World, group: dist.ProcessGroup | None = None) -> None:
    """Write a checkpoint into the tensors, generators and counters of `state`, in place.

    Called by all processes together, who talk in `group` (None: where they train). Raises DataProblem when it is not
    one of this layout.
    """
    into = named(state, world)
    _quiet()
    try:
        read(into, checkpoint_id=path, no_dist=world.size == 1, process_group=group)
    except BROKEN as error:
        raise DataProblem(f"expected a checkpoint of this configuration and layout at {path}, found {_reason(error)}",
                          hint="Start the run again without it.") from error
    own = _own(world)
    for name, generator in state.generators.items():
        generator.set_state(into[f"{own}generator.{name}"])
    for name, counter in state.counters.items():
        counter.value = int(into[f"{own}counter.{name}"])


def size_bytes(state: State, world: World) -> int:
    """About what a checkpoint of `state` takes on disk, of all processes together."""
    here = sum(tensor.numel() * tensor.element_size() for tensor in state.tensors.values())
    return here * world.pipeline.size * world.tensor.size


def named(state: State, world: World) -> Tensors:
    """Everything in `state` under names that are equal on two processes only where the values are."""
    own, here = _own(world), _here(world)
    found = {(own if name in state.own else here) + name: tensor.detach() for name, tensor in state.tensors.items()}
    found |= {f"{own}generator.{name}": generator.get_state() for name, generator in state.generators.items()}
    return found | {f"{own}counter.{name}": torch.tensor(counter.value) for name, counter in state.counters.items()}


def _group(world: World, timeout_s: float | None) -> dist.ProcessGroup | None:
    """All processes, talking from memory to memory."""
    if world.size == 1:
        return None
    return dist.new_group(backend="gloo", timeout=None if timeout_s is None else timedelta(seconds=timeout_s))


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
