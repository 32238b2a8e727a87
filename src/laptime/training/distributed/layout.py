"""What a model says about how it may be spread, as plain values beside it, and whether a `Parallel` fits. No torch.

The styles are those of Megatron-LM (Shoeybi et al. 2019, section 3; Korthikanti et al. 2022 for "sequence").
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from typing import Literal

from laptime.config import Parallel, Speed
from laptime.errors import InvalidConfiguration

Style = Literal["enter", "columns", "rows", "vocabulary", "sequence", "partial"]
AXES = ("pipeline", "data", "shard", "context", "tensor")  # from the outermost to the innermost
FLOAT8_MULTIPLE = 16  # of inputs and outputs of a layer: what CUDA's products of float8 ask for
CHUNKS = 2  # per context process: one early and one late piece of each sample, so that all work equally


@dataclass(frozen=True)
class Split:
    """How modules take part in tensor parallelism. `modules`: a dotted name; `*` stands for one name between dots.

    enter:      their first argument is whole on every process, and each computes a part from it
    columns:    their parameters and buffers are cut along the first dimension (outputs), after it was cut into `parts`
                equal sections: 3 for queries, keys and values in one matrix
    rows:       a Linear whose weight is cut by inputs; the products are added up, then the bias
    vocabulary: an Embedding cut by words; the rows found are added up
    sequence:   their parameters see only own positions when positions are shared
    partial:    their parameters are whole on every process, but only a part is computed from what they make (low-rank
                adapters): gradients are added up
    counts:     integer attributes that count what a process holds (heads): divided
    """

    modules: str
    style: Style
    parts: int = 1
    counts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """What is known about a model; the default is a model that can only be copied.

    embedding: the module that makes x from the input; it lives on the first stage of a pipeline
    blocks:    modules called with x first, which return x, in order; all else lives on the last stage
    shared:    parameters used on the first and on the last stage (tied embeddings)
    divisible: settings (by name) that the number of tensor processes must divide
    length:    positions per sample, 0 where they cannot be shared; x is (samples, positions, width)
    tables:    there are embedding tables whose rows can be spread
    float8:    linear layers that can compute in float8 (named as in Split), with their (inputs, outputs)
    """

    embedding: str = ""
    blocks: tuple[str, ...] = ()
    splits: tuple[Split, ...] = ()
    shared: tuple[str, ...] = ()
    divisible: Mapping[str, int] = field(default_factory=dict)
    length: int = 0
    tables: bool = False
    float8: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def sizes(parallel: Parallel, processes: int) -> dict[str, int]:
    """Processes along each of AXES, 0 copies replaced by what is left. Raises InvalidConfiguration."""
    chosen = {axis: int(getattr(parallel, axis)) for axis in AXES}
    for axis, size in chosen.items():
        _expect(size >= (0 if axis == "data" else 1), f"parallel.{axis} of at least 1", size, "")
    others = prod(size for axis, size in chosen.items() if axis != "data")
    named = " x ".join(f"{axis} {size}" for axis, size in chosen.items() if size > 1) or "data 1"
    if not chosen["data"]:
        _expect(processes % others == 0, f"a number of processes divisible by {named}", processes,
                f"Start a multiple of {others} processes (--nproc), or change parallel.")
        chosen["data"] = processes // others
    _expect(prod(chosen.values()) == processes, f"{prod(chosen.values())} processes ({named})", processes,
            "Change --nproc, or parallel.data (0: as many as there are processes for).")
    return chosen


def data_processes(parallel: Parallel, processes: int) -> int:
    """How many processes read samples of their own. Raises InvalidConfiguration."""
    chosen = sizes(parallel, processes)
    return chosen["data"] * chosen["shard"]


def stage_blocks(blocks: int, stages: int) -> tuple[range, ...]:
    """Consecutive blocks per stage, as equal as can be; the later stages have the larger shares.

    (The first stage keeps activations of the most micro-batches.)
    """
    bounds = [blocks * stage // stages for stage in range(stages + 1)]
    return tuple(range(low, high) for low, high in pairwise(bounds))


def check(parallel: Parallel, layout: Layout, processes: int) -> None:
    """Raises InvalidConfiguration for what cannot run, before anything starts.

    Whether the global batch divides is the benchmark's to say (`Benchmark.validate`, with `data_processes`).
    """
    sizes(parallel, processes)
    for wanted, expected, found in _needs(parallel, layout):
        if wanted:
            raise InvalidConfiguration(f"expected {expected}, found {found}", hint="Change parallel, or leave it out.")


def check_speed(speed: Speed, parallel: Parallel, layout: Layout) -> None:
    """Raises InvalidConfiguration for float8 where no layer, or one of unfit size, would compute in it."""
    if speed.dtype != "float8":
        return
    if not layout.float8:
        raise InvalidConfiguration("expected a benchmark with layers that can compute in float8 (speed.dtype), "
                                   "found one without", hint="Choose speed.dtype=bfloat16.")
    styles = {one.modules: one.style for one in layout.splits}
    for name, (inputs, outputs) in layout.float8.items():
        cut = {"rows": (parallel.tensor, 1), "columns": (1, parallel.tensor)}.get(styles.get(name, ""), (1, 1))
        expect_float8_sizes(name, inputs // cut[0], outputs // cut[1])


def expect_float8_sizes(name: str, inputs: int, outputs: int) -> None:
    """Raises InvalidConfiguration for a linear layer that cannot compute in float8."""
    if inputs % FLOAT8_MULTIPLE or outputs % FLOAT8_MULTIPLE:
        raise InvalidConfiguration(
            f"expected inputs and outputs of {name} divisible by {FLOAT8_MULTIPLE} on each process for "
            f"speed.dtype=float8, found {inputs} and {outputs}", hint="Choose speed.dtype=bfloat16, or other sizes.")


def _needs(parallel: Parallel, layout: Layout) -> Iterator[tuple[bool, str, object]]:
    """(does not hold, what was expected, what was found)."""
    blocks, tensor, context = len(layout.blocks), parallel.tensor, parallel.context
    deep = {"shard": parallel.shard > 1, "pipeline": parallel.pipeline > 1,
            "checkpointing": parallel.checkpointing != "off"}
    for name, asked in deep.items():
        yield asked and not blocks, f"a benchmark with blocks for parallel.{name}", "one that names none"
    yield (parallel.pipeline > max(1, blocks), f"at least one of {blocks} blocks per stage",
           f"parallel.pipeline={parallel.pipeline}")
    yield tensor > 1 and not layout.splits, "a benchmark whose layers can be split for parallel.tensor", "another"
    for setting, size in layout.divisible.items():
        yield tensor > 1 and size % tensor != 0, f"{setting} divisible by parallel.tensor = {tensor}", size
    yield parallel.sequence and tensor == 1, "parallel.tensor above 1 for parallel.sequence", tensor
    shared = context > 1 or parallel.sequence
    yield shared and not layout.length, "a benchmark whose positions can be shared", "one where they cannot"
    pieces = (CHUNKS * context if context > 1 else 1) * (tensor if parallel.sequence else 1)
    yield (shared and layout.length % pieces != 0, f"positions per sample divisible by {pieces}", layout.length)
    yield parallel.tables != "whole" and not layout.tables, "a benchmark with embedding tables for parallel.tables", \
        "one without"


def _expect(holds: bool, expected: str, found: object, hint: str) -> None:
    if not holds:
        raise InvalidConfiguration(f"expected {expected}, found {found}", hint=hint)
