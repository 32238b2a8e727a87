"""Processes and devices as one value: rank, size, device, collectives. A world of one returns its argument.

The only place that talks to torch.distributed and reads the launcher's environment.
"""

import os
import resource
from dataclasses import dataclass, field
from datetime import timedelta

import torch
import torch.distributed as dist

from laptime.errors import InvalidConfiguration


@dataclass(frozen=True)
class World:
    """This process among `size` processes, computing on `device`.

    `group`: those processes, None for all of the job. `parts`: sub-worlds, where work is divided in several ways.
    """

    rank: int
    size: int
    device: torch.device
    group: dist.ProcessGroup | None = field(default=None, repr=False, compare=False)
    parts: "Parts | None" = field(default=None, repr=False, compare=False)

    @property
    def first(self) -> bool:
        return self.rank == 0

    @property
    def data(self) -> "World":
        """Those who read different samples; the others of a model read the same ones as this process."""
        return self.parts.data if self.parts else self

    @property
    def replicas(self) -> "World":
        """Those who hold the same part of the model and work on different samples or positions: losses and gradients
        add up over them."""
        return self.parts.replicas if self.parts else self

    @property
    def shard(self) -> "World":
        """Those who share one copy of the weights they work with."""
        return self.parts.shard if self.parts else self.alone

    @property
    def context(self) -> "World":
        """Those who share the positions of a sample."""
        return self.parts.context if self.parts else self.alone

    @property
    def tensor(self) -> "World":
        """Those who share every layer."""
        return self.parts.tensor if self.parts else self.alone

    @property
    def pipeline(self) -> "World":
        """Those who share the depth, stage after stage."""
        return self.parts.pipeline if self.parts else self.alone

    @property
    def alone(self) -> "World":
        return World(0, 1, self.device)

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """`tensor` summed over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor, group=self.group)
        return tensor

    def sum_with_gradient(self, tensor: torch.Tensor) -> torch.Tensor:
        """Like `sum`, into a new tensor through which gradients flow (the gradient is summed too)."""
        return _SumAcrossRanks.apply(tensor, self.group) if self.size > 1 else tensor

    def broadcast(self, tensor: torch.Tensor, source: int = 0) -> torch.Tensor:
        """`tensor` of rank `source`, in place."""
        if self.size > 1:
            dist.broadcast(tensor, group=self.group, group_src=source)
        return tensor

    def agree(self, verdict: bool) -> bool:
        """Rank 0's verdict, on every rank."""
        if self.size == 1:
            return verdict
        return bool(self.broadcast(torch.tensor(int(verdict), device=self.device)).item())

    def barrier(self) -> None:
        if self.size > 1:
            dist.barrier(group=self.group)

    def synchronise(self) -> None:
        """Wait until the device has finished all work queued so far."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def peak_memory_bytes(self) -> dict[str, int]:
        """Highest memory use so far: of the process, and of the device where it counts its own."""
        peaks = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
        if self.device.type == "cuda":
            peaks["device"] = torch.cuda.max_memory_allocated(self.device)
        return peaks


@dataclass(frozen=True)
class Parts:
    """The sub-worlds of a process (`distributed.arrange` makes them)."""

    data: World
    replicas: World
    shard: World
    context: World
    tensor: World
    pipeline: World
    backwards: World  # the pipeline once more, for what flows against it
    ends: World  # first and last stage of the pipeline; size 1 on others


class _SumAcrossRanks(torch.autograd.Function):
    """all_reduce(sum) whose backward is all_reduce(sum)."""

    @staticmethod
    def forward(ctx, tensor, group):  # type: ignore[no-untyped-def]
        ctx.group, result = group, tensor.clone()
        dist.all_reduce(result, group=group)
        return result

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        gradient = gradient.clone()
        dist.all_reduce(gradient, group=ctx.group)
        return gradient, None


def device_name(name: str) -> str:
    """`name`, or for "auto" the first accelerator torch offers, else the CPU. Touches no device."""
    if name != "auto":
        return name
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return accelerator.type if accelerator is not None else "cpu"


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """The device called `name`; "auto" takes the first accelerator torch offers, else the CPU."""
    name = device_name(name)
    if name == "cpu":
        return torch.device("cpu")
    try:
        device = torch.device(name if ":" in name else f"{name}:{local_rank}")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InvalidConfiguration(f"device '{name}' cannot be used here: {str(error).splitlines()[0]}",
                                   hint="Use --device cpu, or see `laptime doctor`.") from None
    return device


def join(device: str = "auto", timeout_s: float = 600.0) -> World:
    """The world that torchrun's (or Slurm's torchrun-style) environment describes; a world of one without it.

    A collective that waits longer than `timeout_s` seconds fails, so that a dead rank ends the run.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    chosen = choose_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if size > 1:
        backend = "nccl" if chosen.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s))
    return World(rank, size, chosen)


def leave(world: World) -> None:
    """Release the process group, all ranks together: one that leaves early would break the others' last collective."""
    if world.size > 1 and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def threads_for(threads: int, processes: int) -> int:
    """`threads`, or (0) the share that one of `processes` has of the cores this process may use, less one for its data.

    Compute threads wait for each other by spinning: one that shares its core with the decoder holds up all of them.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return threads or max(1, cores // processes - 1)


def set_threads(threads: int, processes: int) -> int:
    """Use `threads` compute threads in this process, or (0) as many as `threads_for` gives it; returns the number."""
    chosen = threads_for(threads, processes)
    torch.set_num_threads(chosen)
    return chosen
