"""Reading a log written by anybody: records in file order, and what was wrong with the rest.

Tolerant by design: rank prefixes, interleaved output, any encoding, binary junk and truncation lead to problems with
line numbers, never to exceptions; memory is bounded whatever the file, time is linear.
Rules: log format facts, section 2 (the last token of a line counts); sheet on older forms, section 1.4 (repeats).
"""

import os
import stat
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

from laptime.errors import UserError
from laptime.log.dialects import DEEPEST, Problem, brackets, parse, usual
from laptime.log.record import Dialect, Record, distinct
from laptime.log.repeats import DIGITS, Repeats

LONGEST_LINE: Final = 16 * 2**20  # bytes; longer lines are skipped with a problem
MOST_RECORDS: Final = 500_000  # lines of one log; the longest published one has 55,000
MOST_MEMORY: Final = 128 * 2**20  # bytes of all values of one log, estimated; published ones take up to 16 MiB
_BLOCK: Final = 2**20
_PIPE: Final = 2**16  # bytes that a pipe holds at once
_MOST_PROBLEMS: Final = 1000
_MARK: Final = b":::ML"
_TOKENS: Final[Mapping[bytes, Dialect]] = {b":::MLLOG ": "mllog", b":::MLL ": "mll", b":::MLPv": "mlp05"}
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_LOG: Final = len(b"LOG ")
_ZERO: Final = ord("0")
_BYTES_OF_A_VALUE: Final = 100  # at most, as a member of a list or object
_REPEATS: Final = Repeats()


@dataclass(frozen=True)
class Log:
    """A log file as read. `dialect`: that of most lines (mllog when there are none)."""

    path: Path
    dialect: Dialect
    records: tuple[Record, ...]
    problems: tuple[Problem, ...]

    @cached_property
    def by_key(self) -> Mapping[str, tuple[Record, ...]]:
        """Records by their raw keys, in file order."""
        grouped: defaultdict[str, list[Record]] = defaultdict(list)
        for record in self.records:
            grouped[record.key].append(record)
        return {key: tuple(records) for key, records in grouped.items()}


class Unreadable(UserError):
    """There is no file, it may not be read, or it is something else (a pipe, a device, a folder)."""


class _Full(Exception):
    """More than any log holds has been read."""


@dataclass
class _Reading:
    """What has been read so far. `line`: the number of the line that is being read."""

    line: int = 1
    records: dict[Dialect, list[Record]] = field(default_factory=lambda: {"mllog": [], "mll": [], "mlp05": []})
    problems: list[Problem] = field(default_factory=list)
    untold: int = 0
    memory: int = 0

    def report(self, text: str, harmless: bool = False) -> None:
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(Problem(self.line, text, harmless))
        else:
            self.untold += 1


def read_log(path: Path, *, pipes: bool = False) -> Log:
    """Every record of the log at `path`. `pipes`: it may also be a pipe, such as /dev/stdin.

    Raises Unreadable when there is no readable file.
    """
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode) and not (pipes and stat.S_ISFIFO(mode)):
            raise Unreadable(f"expected a log file, found something else at {path}",
                             hint="Give a file such as result_0.txt, or a folder where folders are allowed.")
        with path.open("rb", buffering=0) as file:
            return read_stream(file, path, _BLOCK if stat.S_ISREG(mode) else _PIPE)
    except (OSError, ValueError) as problem:  # ValueError: a path that no system can have
        raise Unreadable(f"cannot read the log {path}: {getattr(problem, 'strerror', None) or problem}",
                         hint="Check the path and its permissions.") from None


def read_stream(file: BinaryIO, path: Path, block: int = _BLOCK) -> Log:
    """Every record that `file` gives until its end, read `block` bytes at a time. `path`: what to call it."""
    reading = _Reading()
    try:
        _read(file, block, reading)
    except _Full as limit:
        reading.report(f"{limit}: the rest of the file was not read")
    return _finished(path, reading)


def _read(file: BinaryIO, size: int, reading: _Reading) -> None:
    """Blocks of whole lines; a line that a block ends within is put together from all the blocks it spans."""
    line = _Line()
    while block := file.read(size):
        if reading.line == 1 and not line.size and block.startswith(_UTF16):
            reading.report("the file is UTF-16 text; convert it to UTF-8")
        first, last = block.find(b"\n"), block.rfind(b"\n")
        if first < 0:
            line.add(block)
            continue
        line.add(block[:first])
        line.take(reading)
        reading.line += 1
        _whole_lines(block[first + 1:last + 1], reading)
        if sum(map(len, reading.records.values())) > MOST_RECORDS:
            raise _Full(f"more than {MOST_RECORDS} log lines")
        line.add(block[last + 1:])
    line.take(reading)


class _Line:
    """A line that comes in parts. Nothing is kept of one that grows too long, but whether it held the mark."""

    def __init__(self) -> None:
        self.size, self._parts, self._marked = 0, list[bytes](), False

    def add(self, part: bytes) -> None:
        self.size += len(part)
        self._parts.append(part)
        if self.size > LONGEST_LINE:
            text = b"".join(self._parts)
            self._marked = self._marked or _MARK in text
            self._parts = [text[-len(_MARK):]]

    def take(self, reading: _Reading) -> None:
        """Read the line, which is complete, and begin another."""
        if self.size > LONGEST_LINE:
            reading.report(f"the line is longer than {LONGEST_LINE // 2**20} MiB and was skipped", not self._marked)
        elif _MARK in (text := b"".join(self._parts)):
            _take(text, reading)
        self.__init__()  # type: ignore[misc]


def _whole_lines(text: bytes, reading: _Reading) -> None:
    """Read every log line of `text`, the first line of which is `reading.line`.

    Looks at what stands between one mark and the next; where both are on one line, that line is looked at as a whole.
    """
    pieces = text.split(_MARK)
    number = reading.line + pieces[0].count(b"\n")
    together: list[bytes] = []
    head, known, append = _REPEATS.head, _REPEATS.known, reading.records["mllog"].append
    after = len(head)
    for piece in islice(pieces, 1, None):
        end = piece.find(b"\n")
        if end < 0 or together:
            together.append(piece[:end] if end >= 0 else piece)
            if end >= 0:
                reading.line = number
                _take(_MARK + _MARK.join(together), reading)
                together = []
        elif piece.startswith(head) and (parts := known.get(piece[after + DIGITS:end])) \
                and (digits := piece[after:after + DIGITS]).isdigit() and digits[0] != _ZERO:
            key, value, kind, metadata, namespace = parts
            append(Record(key, value, int(digits), kind, metadata, namespace, number))
        else:
            reading.line = number
            _new_line(piece[:end], reading)
            head, known, after = _REPEATS.head, _REPEATS.known, len(_REPEATS.head)
        number += 1 if end == len(piece) - 1 else piece.count(b"\n")
    reading.line = number


def _new_line(text: bytes, reading: _Reading) -> None:
    """Read a line from behind its only mark on, and remember it where it may come again."""
    if text.startswith(b"LOG ") and b"\r" not in text[:-1]:
        payload, held = text[_LOG:], brackets(text)
        if held <= DEEPEST and _allowed(payload, held, reading) and (record := usual(payload, reading.line)):
            reading.records["mllog"].append(record)
            _REPEATS.keep(text, record)
            return
    _take(_MARK + text, reading)


def _take(text: bytes, reading: _Reading) -> None:
    """Read one line; parts between carriage returns count as lines of their own, as terminals show them."""
    end = 0
    while (mark := text.find(_MARK, end)) >= 0:
        start, end = text.rfind(b"\r", end, mark) + 1 or end, text.find(b"\r", mark)
        end = len(text) if end < 0 else end
        place, dialect, begin = _last_token(text, start, end)
        if dialect is None:
            continue
        if _last_token(text, start, place)[1]:
            reading.report("several log lines on one line of the file; only the last one is read", True)
        payload = text[begin:end].strip()
        if not _allowed(payload, brackets(payload), reading):
            reading.report("the line holds more values than any log line and was skipped")
        elif record := parse(dialect, payload, reading.line, reading.report):
            reading.records[dialect].append(record)


def _allowed(payload: bytes, held: int, reading: _Reading) -> bool:
    """Count what the values of a line may take: whether it is little enough for one line. `held`: lists and objects.

    Raises _Full where all lines together have too many.
    """
    memory = len(payload) + _BYTES_OF_A_VALUE * (payload.count(b",") + held)
    if memory > MOST_MEMORY // 2:
        return False
    reading.memory += memory
    if reading.memory > MOST_MEMORY:
        raise _Full(f"more than {MOST_MEMORY // 2**20} MiB of values")
    return True


def _last_token(text: bytes, start: int, end: int) -> tuple[int, Dialect | None, int]:
    """(where the last token between `start` and `end` begins, its dialect, where its payload begins)."""
    place, token = max((text.rfind(token, start, end), token) for token in _TOKENS)
    return (place, _TOKENS[token], place + len(token)) if place >= 0 else (-1, None, 0)


def _finished(path: Path, reading: _Reading) -> Log:
    counts = {dialect: len(records) for dialect, records in reading.records.items()}
    dialect: Dialect = max(counts, key=counts.__getitem__)
    reading.line = 0
    for other, count in counts.items():
        if other != dialect and count:
            reading.report(f"{count} {other} lines were left out of a log in the {dialect} dialect", True)
    if reading.untold:
        reading.problems.append(Problem(0, f"{reading.untold} further problems"))
    records = reading.records[dialect]
    return Log(path, dialect, tuple(distinct(records) if dialect == "mlp05" else records), tuple(reading.problems))
