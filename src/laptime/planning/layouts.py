"""Which layouts are worth a look for a number of accelerators, and what one of them needs on each."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from laptime.config import Parallel
from laptime.errors import InvalidConfiguration
from laptime.planning.accelerators import Accelerator
from laptime.planning.workload import Workload
from laptime.training.distributed.layout import Layout, check, sizes

USABLE = 0.92  # share of the memory: the rest is the driver's, the allocator's and the collectives'
CAST = 0.5  # bytes of weights in bfloat16 over those in float32
DEEPEST, WIDEST = 64, 8  # stages of a pipeline; processes of one tensor group, which stay within a domain
LONGEST = 8  # processes that share positions


@dataclass(frozen=True)
class Spread:
    """One way to spread a benchmark: numbers along each axis, and samples a process computes at a time."""

    parallel: Parallel
    data: int
    shard: int
    context: int
    tensor: int
    pipeline: int
    micro: float  # samples of one micro-batch on one process
    micros: int  # micro-batches of one step on one process

    @property
    def count(self) -> int:
        return self.data * self.shard * self.context * self.tensor * self.pipeline

    @property
    def axes(self) -> int:
        """In how many ways the model itself is spread, computing blocks again counted as one."""
        spread_ = sum(size > 1 for size in (self.shard, self.context, self.tensor, self.pipeline))
        return spread_ + (self.parallel.checkpointing == "blocks")

    @property
    def text(self) -> str:
        named = [(axis, getattr(self, axis)) for axis in ("pipeline", "data", "shard", "context", "tensor")]
        parts = [f"{axis} {size}" for axis, size in named if size > 1] or ["data 1"]
        return " x ".join(parts) + (", blocks computed again" if self.parallel.checkpointing == "blocks" else "")


@dataclass(frozen=True)
class Memory:
    """Bytes on one accelerator: `passing` are the activations of the micro-batches in flight."""

    weights: float
    gradients: float
    optimizer: float
    passing: float

    @property
    def total(self) -> float:
        return self.weights + self.gradients + self.optimizer + self.passing

    def fits(self, kind: Accelerator) -> bool:
        return self.total <= USABLE * kind.memory_bytes


def spread(parallel: Parallel, layout: Layout, count: int, batch: int) -> Spread:
    """`parallel` on `count` accelerators. Raises InvalidConfiguration for what cannot run."""
    check(parallel, layout, count)
    axes = sizes(parallel, count)
    readers = axes["data"] * axes["shard"]
    micros = parallel.accumulation_steps
    if batch % (readers * micros) and batch >= readers * micros:
        raise InvalidConfiguration(f"expected a global batch divisible by {readers} processes that read samples x "
                                   f"{micros} micro-batches, found {batch}")
    if batch < readers * micros:
        raise InvalidConfiguration(f"expected a global batch of at least {readers * micros} for {readers} processes "
                                   f"that read samples x {micros} micro-batches, found {batch}")
    return Spread(parallel, axes["data"], axes["shard"], axes["context"], axes["tensor"], axes["pipeline"],
                  batch / (readers * micros), micros)


def memory(work: Workload, layout: Layout, one: Spread) -> Memory:
    """What `one` needs on each accelerator.

    Weights, gradients and optimizer state in the precision the benchmark keeps them in, divided by tensor, pipeline and
    shard; beside them the bfloat16 copy that a block computes with. A pipeline of p stages holds p micro-batches at a
    time, each a p-th of the depth: no more than one whole.
    """
    cut = one.tensor * one.pipeline * one.shard
    if layout.tables:
        cut = one.count  # embedding tables, nearly all of the weights, live on one process each
    working = CAST * work.weight_bytes / max(1, work.blocks) / one.tensor
    kept = work.activation_bytes
    if one.parallel.checkpointing == "blocks" and work.blocks:
        kept = work.block_bytes * work.blocks + work.activation_bytes / work.blocks
    in_flight = min(1.0, one.micros / one.pipeline) if one.pipeline > 1 else 1.0
    share = kept * one.micro * in_flight / (one.tensor * one.context)
    return Memory(work.weight_bytes / cut + working, work.gradient_bytes / cut, work.optimizer_bytes / cut, share)


def candidates(layout: Layout, kind: Accelerator, count: int, batch: int) -> Iterator[Spread]:
    """Every layout of powers of two that can run, with micro-batches of one sample and of as many as there are."""
    blocks = len(layout.blocks)
    for pipeline in _powers(DEEPEST if blocks else 1, count):
        for tensor in _powers(min(WIDEST, kind.domain) if layout.splits else 1, count // pipeline):
            for context in _powers(LONGEST if layout.length > 1 and layout.splits else 1, count // pipeline // tensor):
                rest = count // (pipeline * tensor * context)
                for shard in _powers(rest if blocks else 1, rest):
                    yield from _with_micros(Parallel(pipeline=pipeline, tensor=tensor, context=context, shard=shard,
                                                     sequence=tensor > 1 and layout.length > 0), layout, count, batch)


def _with_micros(parallel: Parallel, layout: Layout, count: int, batch: int) -> Iterator[Spread]:
    readers = count // (parallel.pipeline * parallel.tensor * parallel.context)
    if batch % readers:
        return
    each = batch // readers
    modes: tuple[Literal["off", "blocks"], ...] = ("off", "blocks") if layout.blocks else ("off",)
    for micros in sorted({micros for micros in (1, each, *(_powers(each, each))) if each % micros == 0}):
        for mode in modes:
            try:
                yield spread(replace(parallel, accumulation_steps=micros, checkpointing=mode), layout, count, batch)
            except InvalidConfiguration:
                continue


def _powers(most: int, dividing: int) -> list[int]:
    """Powers of two up to `most` that divide `dividing`."""
    return [2**k for k in range(most.bit_length()) if 2**k <= most and dividing % 2**k == 0]
