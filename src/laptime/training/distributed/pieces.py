"""Which part of a parameter this process holds, how whole values are written into it, and norms of whole tensors.

A part is made by tensor parallelism (`Cut`), by sharding (a DTensor), or by both: then what was cut is sharded.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from laptime.training.distributed.world import World

Tensors = Sequence[torch.Tensor]


@dataclass(frozen=True)
class Cut:
    """Dimension `dim` of a whole tensor over the processes of `world`, within each of `parts` equal sections."""

    world: World
    dim: int
    parts: int = 1

    def of(self, whole: torch.Tensor) -> torch.Tensor:
        """This process's part, in memory of its own."""
        sections = whole.chunk(self.parts, self.dim)
        return torch.cat([one.chunk(self.world.size, self.dim)[self.world.rank] for one in sections], self.dim)


@dataclass(frozen=True)
class Held:
    """How a parameter relates to the model: its cut, the pipeline whose stages hold the other parameters, and whether
    another stage counts it (a shared parameter)."""

    cut: Cut | None
    pipeline: World
    elsewhere: bool = False


def mark(parameter: torch.Tensor, held: Held) -> None:
    parameter.held = held  # type: ignore[attr-defined]


def held(parameter: torch.Tensor) -> Held | None:
    """None in a model that was not divided."""
    return getattr(parameter, "held", None)


def divided(parameter: torch.Tensor) -> bool:
    """Whether other processes hold other parts of the model."""
    return isinstance(parameter, DTensor) or held(parameter) is not None


def local(tensor: torch.Tensor) -> torch.Tensor:
    """The elements that are here: a view."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def write(parameter: torch.Tensor, whole: torch.Tensor) -> None:
    """Write this process's part of `whole`. Nothing is written into a parameter without storage."""
    if parameter.is_meta:
        return
    how = held(parameter)
    part = whole if how is None or how.cut is None else how.cut.of(whole)
    if isinstance(parameter, DTensor):
        part = distribute_tensor(part.to(local(parameter)), parameter.device_mesh, parameter.placements,
                                 src_data_rank=None).to_local()
    local(parameter).copy_(part)


def norms(parameters: Tensors, tensors: Tensors) -> torch.Tensor:
    """Norms (n) of whole tensors (gradients, directions, ...), of which this process has the parts that it has of
    `parameters`."""
    found = torch.stack(torch._foreach_norm([local(one) for one in tensors]))
    groups = _groups(parameters)
    if not groups:
        return found
    squares = list(found.square().unbind())
    for world, indices in groups:
        together = world.sum(torch.stack([squares[i] for i in indices]))
        for i, one in zip(indices, together.unbind(), strict=True):
            squares[i] = one
    return torch.stack(squares).sqrt()


def whole_norm(parameters: Tensors, tensors: Tensors) -> torch.Tensor:
    """The norm (0-D) of all tensors of the model together, stages of a pipeline included."""
    each = norms(parameters, tensors)
    known = [how for how in map(held, parameters) if how is not None]
    if not known:
        return each.norm()
    hows = map(held, parameters)
    counted = [one for one, how in zip(each.unbind(), hows, strict=True) if not (how and how.elsewhere)]
    here = torch.stack(counted).square().sum() if counted else each.new_zeros(())
    return known[0].pipeline.sum(here).sqrt()


def whole_size(parameter: torch.Tensor) -> int:
    """Elements of the whole parameter, 0 where another stage counts it."""
    how = held(parameter)
    if how is None:
        return parameter.numel()
    return 0 if how.elsewhere else parameter.numel() * (how.cut.world.size if how.cut else 1)


def _groups(parameters: Tensors) -> list[tuple[World, list[int]]]:
    """Groups over which parameters are divided, and the numbers of those parameters."""
    shares = {i: _shares(one) for i, one in enumerate(parameters) if isinstance(one, DTensor)}
    cuts = {i: how.cut.world for i, how in enumerate(map(held, parameters)) if how and how.cut}
    return [(next(iter(worlds.values())), list(worlds)) for worlds in (shares, cuts) if worlds]


def _shares(parameter: DTensor) -> World:
    """Those who hold the shards of one copy."""
    mesh = parameter.device_mesh
    dim = next(dim for dim, placement in enumerate(parameter.placements) if isinstance(placement, Shard))
    return World(mesh.get_local_rank(dim), mesh.size(dim), parameter.device, mesh.get_group(dim))
