"""The quickest layout that fits, and the ones next to it."""

from collections.abc import Sequence
from dataclasses import dataclass

from laptime.planning.layouts import Memory, Spread, candidates, memory
from laptime.planning.timing import Setting, Step, step

DOUBT = 1.02  # an axis more must promise a gain that could be seen


@dataclass(frozen=True)
class Option:
    """One layout with what it needs and how long a step takes."""

    spread: Spread
    memory: Memory
    step: Step
    fits: bool


def weighed(setting: Setting, one: Spread, batch: int) -> Option:
    """One layout for a global `batch`."""
    needed = memory(setting.work, setting.layout, one)
    return Option(one, needed, step(setting, one, batch), needed.fits(setting.kind))


def options(setting: Setting, count: int, batch: int) -> list[Option]:
    """Every candidate, those that fit first, the quickest first; of nearly equal ones the simplest."""
    found = [weighed(setting, one, batch) for one in candidates(setting.layout, setting.kind, count, batch)]
    return sorted(found, key=lambda option: (not option.fits, option.step.seconds * DOUBT ** option.spread.axes))


def distinct(ordered: Sequence[Option], most: int) -> list[Option]:
    """The first of each (axes, blocks computed again): the others differ in micro-batches only."""
    seen: dict[str, Option] = {}
    for option in ordered:
        seen.setdefault(option.spread.text, option)
    return list(seen.values())[:most]
