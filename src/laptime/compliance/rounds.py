"""Which round a log belongs to: the one asked for, or as the log itself, its path or the logs beside it say."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from laptime.compliance.finding import Finding, shown
from laptime.compliance.run import catalogued
from laptime.errors import UnknownName, UserError
from laptime.layout import rounds_in_path
from laptime.log.read import Log
from laptime.log.record import ROUND_KEY, Record
from laptime.rules.load import load_round, resolve, round_names


class RoundUnknown(UserError):
    """Neither the log nor its path tells the round."""


def round_of(log: Log, asked: str | None = None) -> str:
    """The round of a log: as asked for, as its own line says, as its path says, or the only one of its dialect.

    Raises UserError where none of these tells.
    """
    name = asked or round_in(log) or _round_in_path(log.path) or _round_of_dialect(log)
    if name is None:
        raise RoundUnknown(f"expected the round of {log.path} in the log or in its path, found none",
                           hint=f"Say it: --round NAME, one of {', '.join(round_names())}.")
    return resolve(name)


def rounds_of(logs: Sequence[Log], asked: str | None = None) -> tuple[str, ...]:
    """The round of each log of one folder; one that tells none has that of the first beside it that does.

    Raises UserError where no log tells its round.
    """
    told = [_told(log, asked) for log in logs]
    known = next((name for name in told if name is not None), None)
    if known is None:
        round_of(logs[0], asked)  # says why
    return tuple(name or known or "" for name in told)


def _told(log: Log, asked: str | None) -> str | None:
    try:
        return round_of(log, asked)
    except UserError:
        if asked:
            raise
        return None


def check_round(log: Log, round_name: str, asked: str | None) -> Iterator[Finding]:
    """The round that a log names itself is the one it is judged by and the one its path says."""
    line, said, placed = _line(log), round_in(log), _round_in_path(log.path)
    if line is None or said is None:
        return
    if said != round_name:
        yield catalogued("round-differs", f"the log says round {shown(said)}, it is judged by {round_name}", log.path,
                         line.line, "warning")
    elif not asked and placed is not None and placed != said:
        yield catalogued("round-differs", f"the log says round '{said}', its path says '{placed}'", log.path,
                         line.line, "note")


def round_in(log: Log) -> str | None:
    """The round that a log names in a line of its own, in full where there is such a round."""
    line = _line(log)
    if line is None or not isinstance(line.value, str):
        return None
    try:
        return resolve(line.value)
    except UnknownName:
        return line.value


def data_hash(log: Log) -> str | None:
    """The hash of the data set, which the line that names the round carries as metadata."""
    line = _line(log)
    found = None if line is None else line.metadata.get("data_hash")
    return found if isinstance(found, str) else None


def _line(log: Log) -> Record | None:
    return next(iter(log.by_key.get(ROUND_KEY, ())), None)


def _round_in_path(path: Path) -> str | None:
    return next((name for name in rounds_in_path(path) if name in round_names()), None)


def _round_of_dialect(log: Log) -> str | None:
    names = [name for name in round_names() if load_round(name).dialect == log.dialect] if log.records else []
    return names[0] if len(names) == 1 else None
