"""Writing a log: one line per record, in the dialect of the round, whole lines only.

Line forms: log format facts, section 1 (mllog) and the sheet on older forms, sections 1 (mlp05) and 2 (mll).
"""

import errno
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from laptime.config import Json
from laptime.errors import RunFailed, UserError
from laptime.log.record import Dialect, Record

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_POSITION = ("file", "lineno")  # first in the metadata, as the official library writes them


class LogWriter:
    """Writes records to a new file, one flushed line each; a context manager.

    `benchmark` is the log name that every line of the dialect "mlp05" carries. Raises UserError when the file exists
    or cannot be made, RunFailed when a line cannot be written (the file then ends with the last whole line).
    """

    def __init__(self, path: Path, dialect: Dialect = "mllog", benchmark: str = "") -> None:
        self.path = path
        self.dialect: Dialect = dialect
        self.benchmark = benchmark
        self._size = 0
        try:
            self._file = path.open("xb", buffering=0)
        except FileExistsError:
            raise UserError(f"expected to write a new log, found an existing file at {path}",
                            hint="Move it away or choose another folder: logs are never overwritten.") from None
        except OSError as problem:
            raise UserError(f"cannot create the log {path}: {problem.strerror or problem}",
                            hint="Choose a folder that exists and that you may write to.") from None

    @classmethod
    def appending(cls, path: Path, dialect: Dialect = "mllog", benchmark: str = "") -> "LogWriter":
        """A writer that goes on behind the last whole line of an existing log. Raises RunFailed when it cannot."""
        writer = cls.__new__(cls)
        writer.path, writer.dialect, writer.benchmark = path, dialect, benchmark
        try:
            writer._size = path.read_bytes().rfind(b"\n") + 1
            writer._file = path.open("r+b", buffering=0)
            writer._file.truncate(writer._size)
            writer._file.seek(writer._size)
        except OSError as problem:
            raise writer._failure(problem) from None
        return writer

    def write(self, record: Record) -> None:
        """Append one record as one line."""
        line = format_line(record, self.dialect, self.benchmark).encode() + b"\n"
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[self._file.write(rest) or 0:]
        except OSError as problem:
            self._cut_back()
            raise self._failure(problem) from None
        self._size += len(line)

    def close(self) -> None:
        """Bring the file to the disk and close it; may be called twice."""
        if self._file.closed:
            return
        try:
            os.fsync(self._file.fileno())
        except OSError as problem:
            raise self._failure(problem) from None
        finally:
            self._file.close()

    def __enter__(self) -> "LogWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
            return
        with suppress(RunFailed):  # the first error is the one to report
            self.close()

    def _cut_back(self) -> None:
        """Drop the beginning of a line that did not fit."""
        with suppress(OSError):
            self._file.truncate(self._size)

    def _failure(self, problem: OSError) -> RunFailed:
        if problem.errno in _NO_ROOM:
            return RunFailed(f"no room left for the log {self.path}: {problem.strerror}; it ends with a whole line",
                             hint="Free some space (or raise the quota or file size limit) and start the run again.")
        return RunFailed(f"cannot write the log {self.path}: {problem.strerror or problem}",
                         hint="Check the disk or network folder, then start the run again.")


def format_line(record: Record, dialect: Dialect, benchmark: str = "") -> str:
    """`record` as the text of one line, without the line end."""
    if dialect == "mllog":
        return ":::MLLOG " + _text({
            "namespace": record.namespace, "time_ms": _milliseconds(record.time_ms), "event_type": record.event_type,
            "key": record.key, "value": record.value, "metadata": _ordered(record.metadata)})
    if dialect == "mll":
        payload = {"value": record.value, "metadata": _ordered(record.metadata)}
        return f":::MLL {_seconds(record.time_ms)} {record.key}: {_text(payload)}"
    file, line = record.metadata.get("file", "<string>"), record.metadata.get("lineno", 0)
    head = f":::MLPv0.5.0 {benchmark} {_seconds(record.time_ms)} ({file}:{line}) {record.key}"
    folded = _folded(record)
    return head if folded is None else f"{head}: {_text(folded)}"


def _text(value: Json) -> str:
    """JSON as the official library writes it: blanks after , and :, ASCII only, NaN and Infinity by name."""
    return json.dumps(value, default=_plain)


def _plain(value: object) -> Json:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    raise TypeError(f"a log holds plain values, found {type(value).__name__}")


def _ordered(metadata: Mapping[str, Json]) -> dict[str, Json]:
    first = {name: metadata[name] for name in _POSITION if name in metadata}
    return {**first, **metadata}


def _milliseconds(time_ms: float) -> float:
    return int(time_ms) if time_ms == int(time_ms) else time_ms


def _seconds(time_ms: float) -> str:
    """Decimal seconds: three decimals for whole milliseconds, else nine."""
    whole = int(time_ms)
    nanoseconds = whole * 1_000_000 + round((time_ms - whole) * 1e6)
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{seconds}.{rest // 1_000_000:03d}" if rest % 1_000_000 == 0 else f"{seconds}.{rest:09d}"


def _folded(record: Record) -> Json:
    """Value and metadata as the one value mlp05 has room for: {"success": x}, {"epoch": n, "value": x}, or x alone."""
    extra = {name: item for name, item in record.metadata.items() if name not in _POSITION}
    if "status" in extra:
        return {"success": extra["status"] == "success"}
    if "epoch_num" in extra:
        extra = {"epoch": extra.pop("epoch_num"), **extra}
    if not extra:
        return record.value
    if record.value is None and list(extra) == ["epoch"]:
        return extra["epoch"]
    return {**extra, "value": record.value}
