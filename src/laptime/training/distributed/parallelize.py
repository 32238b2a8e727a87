"""A model spread over the processes of a world, as a `Parallel` and the model's `Layout` say.

Order (about that of torchtitan): layers, stages, activation checkpointing, compiled blocks, shards; copies are the
engine's.
"""

from functools import partial

import torch
from torch.distributed.fsdp import fully_shard
from torch.utils.checkpoint import checkpoint

from laptime.config import Parallel
from laptime.training.distributed.arrange import weights_mesh
from laptime.training.distributed.engine import Engine, Replicas, Stages
from laptime.training.distributed.layout import Layout, stage_blocks
from laptime.training.distributed.pieces import Held, mark
from laptime.training.distributed.pipeline import keep_stage
from laptime.training.distributed.splits import Divided, share_positions, split
from laptime.training.distributed.world import World
from laptime.training.nn.causal_attention import CausalAttention


def parallelize(model: torch.nn.Module, layout: Layout, parallel: Parallel, world: World, *,
                dtype: torch.dtype | None = None, compiled: bool = False) -> Engine:
    """Keep in `model`, in place, what this process of `world` (arranged) holds of it, and return the engine that runs
    it.

    A model on the meta device gets memory for that part only, without values: they are written afterwards
    (`pieces.write`). `dtype`: of its floating-point tensors. `compiled`: compile each block, where the whole step
    cannot be.
    """
    model.to(dtype)
    divided = split(model, layout, world.tensor, sequence=parallel.sequence)
    if parallel.sequence and world.pipeline.rank == 0:
        share_positions(model.get_submodule(layout.embedding), world.tensor)
    arrival = keep_stage(model, layout, world.pipeline) if world.pipeline.size > 1 else None
    for module in model.modules():
        if isinstance(module, CausalAttention):
            module.context, module.ring = world.context, parallel.keys == "ring"
    blocks = [model.get_submodule(layout.blocks[i]) for i in _own(layout, world)]
    _wrap(blocks, parallel, compiled=compiled and world.parts is not None)
    if parallel.shard > 1:
        _shard(model, blocks, parallel, world)
    _place(model, world)
    _mark(model, layout, divided, world)
    named = dict(model.named_parameters())
    summed = [named[name] for name in sorted(divided.partial) if name in named]
    if arrival is None:
        return Replicas(model, world, summed)
    ends = world.pipeline.rank in (0, world.pipeline.size - 1)
    return Stages(model, world, arrival, schedule=parallel.schedule, partial=summed,
                  shared=[named[name] for name in layout.shared] if ends else [])


def _own(layout: Layout, world: World) -> range:
    return stage_blocks(len(layout.blocks), world.pipeline.size)[world.pipeline.rank]


def _wrap(blocks: list[torch.nn.Module], parallel: Parallel, *, compiled: bool) -> None:
    for block in blocks:
        if parallel.checkpointing == "blocks":
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        if compiled:
            block.compile()


def _place(model: torch.nn.Module, world: World) -> None:
    """On the world's device; memory without values for what had none."""
    if any(parameter.is_meta for parameter in model.parameters()):
        model.to_empty(device=world.device)
    else:
        model.to(world.device)


def _shard(model: torch.nn.Module, blocks: list[torch.nn.Module], parallel: Parallel, world: World) -> None:
    mesh = weights_mesh(world, parallel)
    for block in blocks:
        fully_shard(block, mesh=mesh, reshard_after_forward=world.pipeline.size == 1)
    fully_shard(model, mesh=mesh, reshard_after_forward=False)


def _mark(model: torch.nn.Module, layout: Layout, divided: Divided, world: World) -> None:
    """Tell each parameter what it is a part of."""
    if world.parts is None:
        return
    for name, parameter in model.named_parameters():
        elsewhere = name in layout.shared and world.pipeline.rank > 0
        mark(parameter, Held(divided.cuts.get(name), world.pipeline, elsewhere))
