"""Log lines that differ in nothing but their time are parsed once: most lines of a round are such repetitions.

Holds for lines as the official library writes them (log format facts, section 1); all others take the usual way.
"""

import re
from collections.abc import Mapping
from typing import Final

from laptime.config import Json
from laptime.log.record import EventType, Record

Parts = tuple[str, Json, EventType, Mapping[str, Json], str]  # key, value, event type, metadata, namespace

USUAL_HEAD: Final = b'LOG {"namespace": "", "time_ms": '
DIGITS: Final = 13  # of a time in milliseconds, from 2001 to 2286
_HEAD: Final = re.compile(rb'LOG \{"namespace": "[^"\\]{0,60}", "time_ms": ')
_MOST: Final = 10_000  # lines kept
_LONGEST: Final = 1_000  # bytes of a line worth keeping


class Repeats:
    """What stands in lines seen before, by what follows the time in them.

    `head` is what stands before the time in the last line that was kept, from the token's last letters on; `known`
    holds lines with that head. Values and metadata are shared by all records made from a line: nobody may change them.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.head = USUAL_HEAD
        self.known: dict[bytes, Parts] = {}
        self._by_head: dict[bytes, dict[bytes, Parts]] = {USUAL_HEAD: self.known}
        self._kept = 0

    def keep(self, text: bytes, record: Record) -> None:
        """Remember `record`, read from `text` (without the mark and the line end), if its form allows it.

        Another time in its place must change nothing else: there is one member of that name, and no escaped one.
        """
        if len(text) > _LONGEST or isinstance(record.value, float | list | dict):  # measured, or a table: seldom again
            return
        if self._kept >= _MOST:
            self.forget()
        if not text.startswith(self.head) and (head := _HEAD.match(text)):
            self.head = head[0]
            self.known = self._by_head.setdefault(self.head, {})
        size = len(self.head)
        rest = text[size + DIGITS:]
        if not (text.startswith(self.head) and text[size:size + DIGITS].isdigit() and rest.startswith(b",")):
            return
        if b"\\" in rest or b"time_ms" in rest or b"\r" in rest[:-1]:
            return
        self._kept += 1
        self.known[rest] = (record.key, record.value, record.event_type, record.metadata, record.namespace)
