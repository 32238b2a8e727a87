"""Data parallelism: one model on every rank, gradients combined in the backward pass of the last micro-batch."""

import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

from laptime.training.distributed.world import World

# The option that says whether buffers are sent in every step, by its name in this torch (2.13 renamed it).
BUFFERS = next(name for name in ("forward_sync_buffers", "broadcast_buffers")
               if name in inspect.signature(DistributedDataParallel.__init__).parameters)


def replicate(model: torch.nn.Module, world: World) -> torch.nn.Module:
    """`model` itself in a world of one, else wrapped so that `backward` averages gradients over ranks.

    Parameters and buffers of rank 0 are sent to all ranks once, here; buffers are never synchronised afterwards.
    """
    if world.size == 1:
        return model
    devices = [world.device.index] if world.device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=devices, process_group=world.group, gradient_as_bucket_view=True,
                                   **{BUFFERS: False})  # type: ignore[arg-type]


def gradient_exchange(model: torch.nn.Module, *, exchange: bool) -> AbstractContextManager[None]:
    """A context in which `backward` exchanges gradients between ranks, or (accumulation) only adds them up locally."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(exchange)
    if exchange or not isinstance(model, DistributedDataParallel):
        return nullcontext()
    return _without_exchange(model)


@contextmanager
def _without_exchange(model: DistributedDataParallel) -> Iterator[None]:
    with model.no_sync():
        yield
