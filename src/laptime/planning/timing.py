"""How long a step takes: operations over peak times utilisation, communication over bandwidth, and what never shrinks.

utilisation: model operations over peak of a published run, everything in it included (calibration.json). floor: seconds
of a step that do not shrink with more accelerators (launching, small collectives, evaluation), for each doubling of
accelerators. Both are fitted for each benchmark on half of the published entries (`calibration`).
"""

from dataclasses import dataclass
from math import log2

from laptime.planning.accelerators import Accelerator
from laptime.planning.layouts import Spread
from laptime.planning.workload import Workload
from laptime.training.distributed.layout import Layout

HIDDEN = 0.5  # share of computing time behind which gradients can travel: the backward pass of all but the first blocks
EXPOSED = 0.1  # share of their travel that is never hidden
AGAIN = 4 / 3  # operations of a step whose blocks are computed again, over those of one without
LAUNCH_S = 100e-6  # of one block and micro-batch, forward and backward: a hundred kernels that nothing overtakes
LATENCY_S = 20e-6  # of one collective
TENSOR_CALLS, CONTEXT_CALLS = 4, 3  # collectives of one block and micro-batch
REDUCE, GATHER = 2.0, 1.0  # times that data pass each process in an all-reduce, and in a gather or scatter


@dataclass(frozen=True)
class Fit:
    """What was fitted for a benchmark."""

    utilisation: float
    floor_s: float


@dataclass(frozen=True)
class Setting:
    """What is planned: a benchmark on a kind of accelerator."""

    work: Workload
    layout: Layout
    kind: Accelerator
    fit: Fit


@dataclass(frozen=True)
class Step:
    """Seconds of one global batch and what they are made of; bytes that one process sends in it."""

    compute_s: float
    waiting_s: float  # of pipeline stages, for the first and after the last micro-batch
    exposed_s: float  # communication that nothing hides
    floor_s: float
    sent_bytes: float

    @property
    def seconds(self) -> float:
        return self.compute_s + self.waiting_s + self.exposed_s + self.floor_s


def step(setting: Setting, one: Spread, batch: float) -> Step:
    """One step of a global `batch` spread as `one`."""
    work, kind, fit = setting.work, setting.kind, setting.fit
    again = AGAIN if one.parallel.checkpointing == "blocks" else 1.0
    compute = work.flop_per_sample * batch * again / (one.count * kind.flop_per_s * fit.utilisation)
    compute = max(compute, LAUNCH_S * again * work.blocks / one.pipeline * one.micros)
    waiting = compute * (one.pipeline - 1) / one.micros
    gradients, gradient_s = _gradients(setting, one)
    within, within_s = _within(work, kind, one)
    exposed = within_s + max(EXPOSED * gradient_s, gradient_s - HIDDEN * compute)
    return Step(compute, waiting, exposed, fit.floor_s * (1 + log2(one.count)), gradients + within)


def _gradients(setting: Setting, one: Spread) -> tuple[float, float]:
    """Bytes and seconds of bringing replicas together after a step: bfloat16 weights and gradients travel."""
    work, kind = setting.work, setting.kind
    inner = one.tensor * one.context
    held = work.parameters * work.trained * 2 / (one.tensor * one.pipeline)
    if setting.layout.tables:
        held = work.block_bytes  # tables stay where they are; what is looked up travels with the samples
    total_bytes = total_s = 0.0
    if one.shard > 1:
        whole = work.parameters * 2 / (one.tensor * one.pipeline)
        moved = (held + 2 * whole) * (one.shard - 1) / one.shard * max(1, one.micros if one.pipeline > 1 else 1)
        total_bytes, total_s = moved, moved / kind.bandwidth(one.shard * inner)
        held /= one.shard
    if one.data * one.context > 1:
        copies = one.data * one.context
        moved = REDUCE * held * (copies - 1) / copies
        total_bytes, total_s = total_bytes + moved, total_s + moved / kind.bandwidth(copies * one.shard * inner)
    return total_bytes, total_s


def _within(work: Workload, kind: Accelerator, one: Spread) -> tuple[float, float]:
    """Bytes and seconds of what the parts of one model tell each other: nothing hides them."""
    samples, blocks = one.micro * one.micros, work.blocks / one.pipeline
    tensor = 4 * REDUCE * (one.tensor - 1) / one.tensor * work.block_bytes * blocks * samples / one.context
    context = 3 * GATHER * (one.context - 1) / one.context * work.block_bytes * blocks * samples / one.tensor
    pipeline = 2 * work.block_bytes * samples / (one.tensor * one.context) if one.pipeline > 1 else 0.0
    calls = (TENSOR_CALLS * (one.tensor > 1) + CONTEXT_CALLS * (one.context > 1)) * blocks * one.micros
    seconds = (calls * LATENCY_S + tensor / kind.bandwidth(one.tensor)
               + context / kind.bandwidth(one.tensor * one.context) + pipeline / kind.bandwidth(one.count))
    return tensor + context + pipeline, seconds
