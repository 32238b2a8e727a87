"""One line of a log as a value, whatever the dialect."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final, Literal

from laptime.config import Json

EventType = Literal["INTERVAL_START", "INTERVAL_END", "POINT_IN_TIME"]
Dialect = Literal["mlp05", "mll", "mllog"]

ROUND_KEY: Final = "laptime_round"  # our harness names its round in a line of this key; official checkers ignore it
RESUMED_KEY: Final = "laptime_resumed"  # and says in this one that a run went on after an interruption


@dataclass(slots=True)  # not frozen, which takes three times as long to make, and a round has millions
class Record:
    """`time_ms`: milliseconds since 1970, a float where the dialect has fractions; `line`: 1-based, 0: not read.

    Dialects without an event type (mlp05, mll) read as POINT_IN_TIME; mlp05 positions read as metadata `epoch`
    or `iteration`, its outcome as metadata `status`. A value: use `dataclasses.replace` for another one.
    """

    key: str
    value: Json
    time_ms: float
    event_type: EventType = "POINT_IN_TIME"
    metadata: Mapping[str, Json] = field(default_factory=dict)
    namespace: str = ""
    line: int = 0


_PLACE = attrgetter("time_ms", "key")


def distinct(records: Sequence[Record]) -> list[Record]:
    """Without lines that say again, at the same time and place, what an earlier one said (loggers that write twice)."""
    if len(set(map(_PLACE, records))) == len(records):
        return list(records)
    first: dict[tuple[float, str], Record] = {}
    said: dict[tuple[float, str], set[str]] = {}  # only where a time and key come again
    kept = []
    for record in records:
        place = _PLACE(record)
        earlier = first.setdefault(place, record)
        if earlier is not record:
            if record.metadata is earlier.metadata and record.value is earlier.value:  # read as repetitions
                continue
            if place not in said:
                said[place] = {_said(earlier)}
            seen, words = said[place], _said(record)
            if words in seen:
                continue
            seen.add(words)
        kept.append(record)
    return kept


def _said(record: Record) -> str:
    return repr((record.value, record.metadata))
