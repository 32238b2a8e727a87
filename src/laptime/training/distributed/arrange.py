"""The processes of a job on a grid: pipeline x data x shard x context x tensor, the last one innermost.

Neighbours talk most, so tensor parallelism (several collectives per layer) gets neighbours; a pipeline (one message per
micro-batch) may cross slow links.
"""

from dataclasses import replace
from datetime import timedelta
from itertools import product

import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from laptime.config import Parallel
from laptime.training.distributed.layout import AXES, sizes
from laptime.training.distributed.world import Parts, World


def arrange(world: World, parallel: Parallel, timeout_s: float = 600.0) -> World:
    """`world` with the sub-worlds of `parallel`; `world` itself where every process is a copy of every other.

    Called by all processes together. A collective of a sub-world fails after `timeout_s` seconds, as of `join`.
    Raises InvalidConfiguration.
    """
    chosen = sizes(parallel, world.size)
    if chosen["data"] == world.size:
        return world

    def part(*axes: str) -> World:
        return _part(world, members(chosen, axes), timeout_s)

    pipeline = part("pipeline")
    ends = pipeline
    if chosen["pipeline"] > 2:
        ends = _part(world, [[line[0], line[-1]] for line in members(chosen, ("pipeline",))], timeout_s)
    return replace(world, parts=Parts(
        data=part("data", "shard"), replicas=part("data", "shard", "context"), shard=part("shard", "context"),
        context=part("context"), tensor=part("tensor"), pipeline=pipeline, backwards=part("pipeline"), ends=ends))


def members(chosen: dict[str, int], axes: tuple[str, ...]) -> list[list[int]]:
    """Ranks that differ along `axes` only, one list for every position along the others."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for rank, place in enumerate(product(*(range(chosen[axis]) for axis in AXES))):
        key = tuple(at for axis, at in zip(AXES, place, strict=True) if axis not in axes)
        groups.setdefault(key, []).append(rank)
    return list(groups.values())


def weights_mesh(world: World, parallel: Parallel) -> DeviceMesh:
    """This process's mesh for sharded weights: (copies, shares of a copy), or (shares) where there is one copy.

    Context processes share weights too: what they hold alike need not be held twice.
    """
    chosen = sizes(parallel, world.size)
    shape = (chosen["pipeline"], chosen["data"], chosen["shard"] * chosen["context"], chosen["tensor"])
    kind = "cpu" if world.device.type == "meta" else world.device.type
    mesh = init_device_mesh(kind, shape, mesh_dim_names=("pipeline", "data", "shard", "tensor"))
    return mesh["data", "shard"] if chosen["data"] > 1 else mesh["shard"]


def _part(world: World, groups: list[list[int]], timeout_s: float) -> World:
    """The group of `groups` that this process is in."""
    mine = next((ranks for ranks in groups if world.rank in ranks), [world.rank])
    if len(groups[0]) == 1:
        return world.alone
    if len(groups[0]) == world.size:
        return World(world.rank, world.size, world.device)
    group, _ = dist.new_subgroups_by_enumeration(groups, timeout=timedelta(seconds=timeout_s))
    if len(mine) == 1:
        return world.alone
    return World(mine.index(world.rank), len(mine), world.device, group)
