"""Pipeline parallelism: consecutive blocks per stage, micro-batches one after another (GPipe: Huang et al. 2018; 1F1B:
Narayanan et al. 2021, section 2.2).

All stages read the same batch, so only x travels, and any micro-batch will do. A stage's embedding returns what has
arrived; its first missing block ends the pass through the model, and what it was called with is sent on.
"""

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Literal

import torch
import torch.distributed as dist

from laptime.training.distributed.layout import Layout, stage_blocks
from laptime.training.distributed.world import World

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
MOST_DIMENSIONS = 6

Task = tuple[Literal["forward", "backward"], int]


class Left(Exception):
    """x leaves this stage."""

    def __init__(self, x: torch.Tensor) -> None:
        super().__init__("a stage ends here")
        self.x = x


class Arrival:
    """What the previous stage sent for the micro-batch in progress."""

    def __init__(self) -> None:
        self.x: torch.Tensor | None = None

    def __call__(self, *arguments: object, **settings: object) -> torch.Tensor:
        """In place of the embedding."""
        assert self.x is not None
        return self.x


def keep_stage(model: torch.nn.Module, layout: Layout, world: World) -> Arrival:
    """Remove from `model`, in place, the parameters and buffers of other stages of `world`, a pipeline."""
    own = stage_blocks(len(layout.blocks), world.size)[world.rank]
    arrival, first, last = Arrival(), world.rank == 0, world.rank == world.size - 1
    for i, name in enumerate(layout.blocks):
        if i not in own:
            _empty(model, name, ())
            model.get_submodule(name).forward = _passed if i < own.start else _leave
    if not first:
        _empty(model, layout.embedding, layout.shared if last else ())
        model.get_submodule(layout.embedding).forward = arrival
    if not last:
        for name, module in model.named_modules():
            if not _within(name, layout) or not name:
                _clear(name, module, layout.shared if first else ())
        model.forward = _until_left(model.forward)
    return arrival


def tasks(schedule: str, stage: int, stages: int, micros: int) -> Iterator[Task]:
    """What a stage does, in order. 1F1B holds activations of at most `stages - stage` micro-batches, GPipe of all."""
    ahead = micros if schedule == "gpipe" else min(micros, stages - stage - 1)
    yield from (("forward", i) for i in range(ahead))
    for i in range(ahead, micros):
        yield "forward", i
        yield "backward", i - ahead
    yield from (("backward", i) for i in range(micros - ahead, micros))


class Line:
    """Sends tensors along one direction of a pipeline. `step`: 1 towards the last stage, -1 towards the first.

    The shape goes ahead of the first tensor of each kind of micro-batch; afterwards both sides know it.
    """

    def __init__(self, world: World, step: int) -> None:
        self.world, self.step = world, step
        self._announced: set[object] = set()
        self._shapes: dict[object, tuple[tuple[int, ...], torch.dtype]] = {}
        self._sent: list[tuple[dist.Work, torch.Tensor]] = []

    def send(self, x: torch.Tensor, kind: object) -> None:
        """Without waiting; `finish` does."""
        x = x.detach().contiguous()
        if kind not in self._announced:
            self._announced.add(kind)
            self._start(_header(x))
        self._start(x)

    def receive(self, kind: object) -> torch.Tensor:
        if kind not in self._shapes:
            header = torch.zeros(MOST_DIMENSIONS + 2, dtype=torch.int64, device=self.world.device)
            self._take(header)
            dtype, dimensions, *sizes = header.tolist()
            self._shapes[kind] = tuple(sizes[:dimensions]), DTYPES[dtype]
        shape, kept = self._shapes[kind]
        return self._take(torch.empty(shape, dtype=kept, device=self.world.device))

    def finish(self) -> None:
        for work, _ in self._sent:
            work.wait()
        self._sent.clear()

    def _start(self, x: torch.Tensor) -> None:
        work = dist.isend(x, group=self.world.group, group_dst=self.world.rank + self.step)
        assert work is not None
        self._sent.append((work, x))

    def _take(self, into: torch.Tensor) -> torch.Tensor:
        dist.recv(into, group=self.world.group, group_src=self.world.rank - self.step)
        return into


def kind_of(micro: object) -> object:
    """What the shape of x depends on: shapes of all tensors and the plain values of a micro-batch."""
    if isinstance(micro, torch.Tensor):
        return tuple(micro.shape)
    if isinstance(micro, tuple | list):
        return tuple(kind_of(one) for one in micro)
    if is_dataclass(micro):
        return tuple(kind_of(getattr(micro, one.name)) for one in fields(micro))
    return micro


def _header(x: torch.Tensor) -> torch.Tensor:
    shape = [*x.shape, *[0] * (MOST_DIMENSIONS - x.ndim)]
    return torch.tensor([DTYPES.index(x.dtype), x.ndim, *shape], device=x.device)


def _passed(x: torch.Tensor, *others: object) -> torch.Tensor:
    """In place of a block of an earlier stage."""
    return x


def _leave(x: torch.Tensor, *others: object) -> torch.Tensor:
    """In place of a block of a later stage."""
    raise Left(x)


def _until_left(forward: Callable) -> Callable:
    """The model's own forward as far as this stage goes; returns x."""

    def shortened(*arguments: object, **settings: object) -> object:
        try:
            return forward(*arguments, **settings)
        except Left as left:
            return left.x

    return shortened


def _within(name: str, layout: Layout) -> bool:
    """Whether a module belongs to the embedding or to a block."""
    return any(name == part or name.startswith(f"{part}.") for part in (layout.embedding, *layout.blocks))


def _empty(model: torch.nn.Module, name: str, kept: tuple[str, ...]) -> None:
    for inner, module in model.get_submodule(name).named_modules(prefix=name):
        _clear(inner, module, kept)


def _clear(name: str, module: torch.nn.Module, kept: tuple[str, ...]) -> None:
    """Take away a module's own tensors but those named in `kept`."""
    for tensors in (module._parameters, module._buffers):
        for key in tensors:
            if f"{name}.{key}".lstrip(".") not in kept:
                tensors[key] = None
