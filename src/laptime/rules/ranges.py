"""Names of rounds, their order in time, and closed ranges of them ("first..last")."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from laptime.config import nearest
from laptime.errors import UserError

OFFICIAL = re.compile(r"v(\d+)\.(\d+)")
HOUSE = re.compile(r"([a-z]+)-(\d+)")

Order = tuple[int, str, int, int]


def order(name: str) -> Order | None:
    """A sort key: official rounds in time, then house rounds by kind and number. None: not a round's name."""
    if match := OFFICIAL.fullmatch(name):
        return (0, "", int(match[1]), int(match[2]))
    if match := HOUSE.fullmatch(name):
        return (1, match[1], int(match[2]), 0)
    return None


def is_official(name: str) -> bool:
    """Whether the name is that of an official round."""
    return OFFICIAL.fullmatch(name) is not None


@dataclass(frozen=True)
class Ranges:
    """A union of closed ranges of rounds. There are no open ends: they would keep a retired benchmark alive."""

    spans: tuple[tuple[Order, Order], ...]

    def __contains__(self, name: object) -> bool:
        at = order(name) if isinstance(name, str) else None
        return at is not None and any(low <= at <= high for low, high in self.spans)


def parse(text: str, known: Sequence[str], where: str) -> Ranges:
    """Blank-separated rounds and `first..last` ranges. Raises UserError for an end that is not a known round."""
    spans = []
    for part in text.split():
        first, separator, last = part.partition("..")
        low, high = _end(first, known, part, where), _end(last if separator else first, known, part, where)
        if low > high or low[:2] != high[:2]:
            raise UserError(f"{where}: expected a range of rounds from earlier to later in field 'in', found '{part}'")
        spans.append((low, high))
    if not spans:
        raise UserError(f"{where}: expected rounds or ranges 'first..last' in field 'in', found '{text}'")
    return Ranges(tuple(spans))


def _end(name: str, known: Sequence[str], part: str, where: str) -> Order:
    at = order(name)
    if at is None or name not in known:
        raise UserError(f"{where}: unknown round '{name}' in '{part}', field 'in'.{nearest(name, known)}",
                        hint=f"A range has two ends, among {', '.join(known)}.")
    return at
