"""Runs that go on just now, as results: a log in progress has a name of its own until its run has ended.

A folder with such logs is copied aside, each log under the name that it will have, with the finished logs and the
system descriptions beside it, at the same place below a scratch folder: so it is found, named and judged like the real
one.
"""

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

_RUNNING: Final = re.compile(r"running_(\d{1,6})\.log")  # as a set of runs names the log that it is writing
_LOGS: Final = "result_*.txt"
_SYSTEMS: Final = "systems"


def in_progress(paths: Sequence[Path], scratch: Path) -> list[Path]:
    """A copy below `scratch`, which is emptied first, of each path that holds logs in progress; then the paths, without
    those that hold nothing else."""
    shutil.rmtree(scratch, ignore_errors=True)
    found: list[Path] = []
    for path in paths:
        folders = sorted({log.parent for log in _logs(path)})
        for folder in folders:
            _copy(folder, scratch)
        for systems in sorted({one for folder in folders for one in _systems(folder, path)}):
            for description in systems.glob("*.json"):
                _put(description, _below(scratch, description))
        if folders:
            found.append(_below(scratch, path))
    return found + [path for path in paths if not found or path.is_file() or any(path.rglob(_LOGS))]


def _logs(path: Path) -> Iterator[Path]:
    places = path.rglob("running_*.log") if path.is_dir() else iter(())
    return (log for log in places if _RUNNING.fullmatch(log.name) and log.is_file())


def _copy(folder: Path, scratch: Path) -> None:
    for log in folder.glob(_LOGS):
        _put(log, _below(scratch, log))
    for log in _logs(folder):
        if (match := _RUNNING.fullmatch(log.name)) and not (folder / f"result_{match[1]}.txt").exists():
            _put(log, _below(scratch, log).with_name(f"result_{match[1]}.txt"))


def _systems(folder: Path, path: Path) -> Iterator[Path]:
    """Folders of descriptions beside the parents of a folder, up to the path that was asked for and the one above."""
    for parent in folder.parents:
        if (parent / _SYSTEMS).is_dir():
            yield parent / _SYSTEMS
        if parent == path.parent:
            return


def _below(scratch: Path, path: Path) -> Path:
    """The same place below another root: rounds and submitters are read from it."""
    return scratch.joinpath(*path.absolute().parts[1:])


def _put(source: Path, target: Path) -> None:
    with suppress(OSError):  # gone meanwhile: its run has ended
        if not source.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
