"""Reading a log written by anybody: records in file order, and what was wrong with the rest.

Tolerant by design: rank prefixes, interleaved output, any encoding, binary junk and truncation lead to problems with
line numbers, never to exceptions; memory is bounded by the block size plus the records, time is linear.
Rules: log format facts, section 2 (the last token of a line counts); sheet on older forms, section 1.4 (repeats).
"""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from laptime.errors import UserError
from laptime.log.dialects import Problem, parse
from laptime.log.record import Dialect, Record, distinct

LONGEST_LINE: Final = 16 * 2**20  # bytes; longer lines are skipped with a problem
_BLOCK: Final = 4 * 2**20
_MOST_PROBLEMS: Final = 1000
_MARK: Final = b":::ML"
_TOKENS: Final[tuple[tuple[bytes, Dialect], ...]] = ((b"LOG ", "mllog"), (b"L ", "mll"), (b"Pv", "mlp05"))
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Log:
    """A log file as read. `dialect`: that of most lines (mllog when there are none)."""

    path: Path
    dialect: Dialect
    records: tuple[Record, ...]
    problems: tuple[Problem, ...]


@dataclass
class _Reading:
    """What has been read so far."""

    records: dict[Dialect, list[Record]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    untold: int = 0

    def report(self, line: int, text: str, harmless: bool = False) -> None:
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(Problem(line, text, harmless))
        else:
            self.untold += 1


def read_log(path: Path) -> Log:
    """Every record of the log at `path`. Raises UserError when there is no readable file."""
    reading = _Reading()
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UserError(f"expected a log file, found something else at {path}",
                            hint="Give a file such as result_0.txt, or a folder where folders are allowed.")
        with path.open("rb") as file:
            for line, text in _lines(file, reading):
                _take(text, line, reading)
    except OSError as problem:
        raise UserError(f"cannot read the log {path}: {problem.strerror or problem}",
                        hint="Check the path and its permissions.") from None
    return _finished(path, reading)


def _lines(file: BinaryIO, reading: _Reading) -> Iterator[tuple[int, bytes]]:
    """(number, text) of every line that holds the mark; blocks of whole lines, the rest carried over."""
    number, rest, skipping = 1, b"", False
    while block := file.read(_BLOCK):
        if number == 1 and not rest and block.startswith(_UTF16):
            reading.report(1, "the file is UTF-16 text; convert it to UTF-8")
        cut = block.rfind(b"\n") + 1
        if skipping:
            start = block.find(b"\n") + 1
            if not start:
                continue
            number, block, cut, skipping = number + 1, block[start:], cut - start, False
        if not cut:
            rest += block
        else:
            whole, rest = rest + block[:cut], block[cut:]
            yield from _marked(whole, number)
            number += whole.count(b"\n")
        if len(rest) > LONGEST_LINE:
            reading.report(number, f"the line is longer than {LONGEST_LINE // 2**20} MiB and was skipped")
            rest, skipping = b"", True
    yield from _marked(rest, number)


def _marked(text: bytes, number: int) -> Iterator[tuple[int, bytes]]:
    """The lines of `text` (whose first one has `number`) that hold the mark."""
    counted, place = 0, text.find(_MARK)
    while place >= 0:
        start = text.rfind(b"\n", 0, place) + 1
        end = text.find(b"\n", place)
        end = len(text) if end < 0 else end
        number += text.count(b"\n", counted, start)
        counted = start
        yield number, text[start:end]
        place = text.find(_MARK, end)


def _take(text: bytes, line: int, reading: _Reading) -> None:
    """Read one line; parts between carriage returns count as lines of their own, as terminals show them."""
    def report(text: str, harmless: bool) -> None:
        reading.report(line, text, harmless)

    for part in text.split(b"\r") if b"\r" in text else (text,):
        place, dialect, start = _last_token(part)
        if dialect is None:
            continue
        if place and part.find(_MARK, 0, place) >= 0 and _last_token(part[:place])[1]:
            reading.report(line, "several log lines on one line of the file; only the last one is read", True)
        record = parse(dialect, part[start:].strip(), line, report)
        if record is not None:
            reading.records.setdefault(dialect, []).append(record)


def _last_token(text: bytes) -> tuple[int, Dialect | None, int]:
    """(where the last token begins, its dialect, where its payload begins)."""
    place = text.rfind(_MARK)
    while place >= 0:
        after = place + len(_MARK)
        for token, dialect in _TOKENS:
            if text.startswith(token, after):
                return place, dialect, after + len(token)
        place = text.rfind(_MARK, 0, place)
    return -1, None, 0


def _finished(path: Path, reading: _Reading) -> Log:
    counts = Counter({dialect: len(records) for dialect, records in reading.records.items()})
    dialect: Dialect = counts.most_common(1)[0][0] if counts else "mllog"
    for other, count in counts.items():
        if other != dialect:
            reading.report(0, f"{count} {other} lines were left out of a log in the {dialect} dialect", True)
    if reading.untold:
        reading.problems.append(Problem(0, f"{reading.untold} further problems"))
    records = reading.records.get(dialect, [])
    return Log(path, dialect, tuple(distinct(records) if dialect == "mlp05" else records), tuple(reading.problems))
