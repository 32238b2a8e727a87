"""Energy of runs and of a result, from power readings: plain numbers.

Training policies, power measurement (submission package facts, section 7). A node's average power over the time it was
measured is taken for the time of the run; a switch draws its estimate all the time. Energies are in joule.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

MS_PER_SECOND = 1000.0


@dataclass(frozen=True)
class NodePower:
    """One node during one run. `readings`: (ms, watts) by time, none after `stop_ms`; `efficiency`: DC of AC power."""

    start_ms: float
    stop_ms: float
    readings: tuple[tuple[float, float], ...]
    efficiency: float = 1.0


def average_watts(node: NodePower) -> float:
    """Each reading holds since the one before it, the first since the start. ValueError for an empty span of time."""
    span_ms = node.stop_ms - node.start_ms
    if not span_ms > 0:
        raise ValueError(f"expected a stop after the start, found {span_ms:g} ms between them")
    before = [node.start_ms, *(time for time, _ in node.readings)]
    parts = (watts * (time - last) for (time, watts), last in zip(node.readings, before, strict=False))
    return node.efficiency * math.fsum(parts) / span_ms


def node_joules(node: NodePower, run_ms: float) -> float:
    """The energy of a node in a run of `run_ms`. ValueError as `average_watts`."""
    return average_watts(node) * run_ms / MS_PER_SECOND


def switch_joules(watts: float, efficiency: float, run_ms: float) -> float:
    """The energy of a switch whose power was estimated."""
    return efficiency * watts * run_ms / MS_PER_SECOND


def mean_joules(joules: Sequence[float | None], kept: Sequence[int], factor: float = 1.0) -> float | None:
    """The mean over the runs that the time score keeps, times its scaling factor. None where one of them has none."""
    values = [joules[place] for place in kept]
    known = [value for value in values if value is not None]
    return factor * math.fsum(known) / len(known) if known and len(known) == len(values) else None
