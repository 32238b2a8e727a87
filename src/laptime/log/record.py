"""One line of a log as a value, whatever the dialect."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from laptime.config import Json

EventType = Literal["INTERVAL_START", "INTERVAL_END", "POINT_IN_TIME"]
Dialect = Literal["mlp05", "mll", "mllog"]

ROUND_KEY: Final = "laptime_round"  # our harness names its round in a line of this key; official checkers ignore it


@dataclass(frozen=True, slots=True)
class Record:
    """`time_ms`: milliseconds since 1970, a float where the dialect has fractions; `line`: 1-based, 0: not read.

    Dialects without an event type (mlp05, mll) read as POINT_IN_TIME; mlp05 positions read as metadata `epoch`
    or `iteration`, its outcome as metadata `status`.
    """

    key: str
    value: Json
    time_ms: float
    event_type: EventType = "POINT_IN_TIME"
    metadata: Mapping[str, Json] = field(default_factory=dict)
    namespace: str = ""
    line: int = 0


def distinct(records: Iterable[Record]) -> list[Record]:
    """Without lines that say again, at the same time and place, what an earlier one said (loggers that write twice)."""
    seen: set[tuple[float, str, str]] = set()
    kept = []
    for record in records:
        mark = (record.time_ms, record.key, repr((record.value, record.metadata)))
        if mark not in seen:
            seen.add(mark)
            kept.append(record)
    return kept
