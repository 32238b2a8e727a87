"""Saved states of a run, beside its log: folders `step-<n>`, each of them whole or not there.

A generation is what all processes wrote (`training.distributed.checkpoint`), the log up to that moment and `run.json`,
which is written last and names every file with its size. So a kill at any moment, or a file cut short, leaves the
generation before it. Read by whoever starts a run, written by its first process.
"""

import hashlib
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import orjson

from laptime.config import Json, from_json, to_json
from laptime.errors import InvalidConfiguration, UserError
from laptime.events import At
from laptime.harness.journal import PACKAGE, Memory
from laptime.harness.preflight import Preflight
from laptime.harness.record import save, write_whole
from laptime.suite import folders
from laptime.training.distributed.world import device_name, threads_for

RUN_FILE, LOG_FILE, HISTORY_FILE = "run.json", "log.txt", "history.json"
SCRATCH = "scratch"  # of the run: what it saved to evaluate it after training belongs to its state
FOLDER = re.compile(r"step-(\d+)")
CODE = ("training", "benchmark.py", "events.py")  # of the package: what computes, beside the benchmark's folder


@dataclass(frozen=True)
class Offline:
    """A checkpoint that is evaluated after training: where, the name of its file, and when it was saved."""

    at: At
    name: str
    stamp_ms: int


@dataclass(frozen=True)
class Position:
    """Where a run is, as the harness knows it. `started_ms`: of run_start; `saved_ms`: of this."""

    seed: int
    started_ms: int
    saved_ms: int
    at: At
    journal: Memory
    offline: tuple[Offline, ...] = ()


@dataclass(frozen=True)
class Interruption:
    """A run ended at `interrupted_ms`, and went on at `resumed_ms` from `step`, saved at `saved_ms`."""

    step: int
    saved_ms: int
    interrupted_ms: int
    resumed_ms: int


@dataclass(frozen=True)
class Generation:
    """A whole one. `evaluations`: of the run's record, up to there; `size`: in bytes."""

    path: Path
    position: Position
    identity: Mapping[str, Json]
    evaluations: Sequence[Json]
    size: int

    @property
    def step(self) -> int:
        return self.position.at.step

    def log(self) -> bytes:
        """The lines of the run up to this moment."""
        return (self.path / LOG_FILE).read_bytes()


def whole(folder: Path) -> list[Generation]:
    """The whole generations in `folder`, the oldest first."""
    paths = [path for path in folder.iterdir() if FOLDER.fullmatch(path.name)] if folder.is_dir() else []
    found = [one for one in map(_loaded, paths) if one is not None]
    return sorted(found, key=lambda one: one.step)


def complete(path: Path, position: Position, identity: Mapping[str, Json], *, evaluations: Sequence[Json],
             log: bytes) -> None:
    """Make a generation of what was written into `path`. Raises RunFailed."""
    write_whole(path / LOG_FILE, log)
    beside = [path.parent / SCRATCH / one.name for one in position.offline]
    files = {_name(file, path): file.stat().st_size for file in (*_files(path), *beside)}
    save(path / RUN_FILE, {"identity": identity, "position": to_json(position), "evaluations": evaluations,
                           "files": files})


def clear(folder: Path, kept: Iterable[Generation] = ()) -> None:
    """Remove everything that does not belong to the generations that are `kept`."""
    names = {one.path.name for one in kept}
    if not names:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for path in folder.iterdir():
        if FOLDER.fullmatch(path.name) and path.name not in names:
            shutil.rmtree(path, ignore_errors=True)


def refuse_foreign(found: Generation, identity: Mapping[str, Json], run: str) -> None:
    """Going on with something else would be no run at all. Raises InvalidConfiguration."""
    changed = [name for name in identity if found.identity.get(name) != identity[name]]
    if changed:
        raise InvalidConfiguration(
            f"{run} was saved with another {changed[0]} than this command has ({found.path})",
            hint="Go on with what it was saved with, or start it anew with --fresh.")


def identity(flight: Preflight, data: str) -> dict[str, Json]:
    """What a run and whoever goes on with it have in common. `data`: hash of the data set's content."""
    request = flight.request
    found = {"benchmark": flight.rules.name, "round": flight.round.name, "division": request.division,
             "number of processes": request.processes, "device": device_name(request.device),
             "number of threads": threads_for(request.threads, request.nproc),
             "fixed seed": request.seed, "end (stop_at_target)": request.stop_at_target,
             "configuration": to_json(flight.config), "data set": data, "version of the code": _code(flight),
             "version of laptime": metadata.version("laptime"), "version of torch": metadata.version("torch")}
    return dict(orjson.loads(orjson.dumps(found)))


def history(folder: Path) -> list[Interruption]:
    """The interruptions of the run in `folder`, as far as they can be read."""
    try:
        content = orjson.loads((folder / HISTORY_FILE).read_bytes())
        return [from_json(Interruption, one) for one in content]
    except (OSError, ValueError, TypeError, UserError):
        return []


def remember(folder: Path, interruptions: Sequence[Interruption]) -> None:
    """Keep the history of a run, which outlives its generations. Raises RunFailed."""
    save(folder / HISTORY_FILE, to_json(tuple(interruptions)))


def summary(interruptions: Sequence[Interruption]) -> dict[str, Json]:
    """How long a run was away, and how much it did again, in seconds, all interruptions together."""
    again = (max(0, one.interrupted_ms - max(one.saved_ms, before))
             for one, before in zip(interruptions, (0, *(one.resumed_ms for one in interruptions)), strict=False))
    away = (max(0, one.resumed_ms - one.interrupted_ms) for one in interruptions)
    return {"away_seconds": sum(away) / 1000, "repeated_seconds": sum(again) / 1000}


def _loaded(path: Path) -> Generation | None:
    """The generation in `path`; None where a file is missing, cut short or unreadable."""
    try:
        content = orjson.loads((path / RUN_FILE).read_bytes())
        sizes = {path / name: int(size) for name, size in content["files"].items()}
        if not sizes or any(file.stat().st_size != size for file, size in sizes.items()):
            return None
        return Generation(path, from_json(Position, content["position"]), dict(content["identity"]),
                          list(content["evaluations"]), sum(sizes.values()))
    except (OSError, ValueError, TypeError, LookupError, AttributeError, UserError):
        return None


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file() and file.name != RUN_FILE)


def _name(file: Path, path: Path) -> str:
    return file.relative_to(path).as_posix() if file.is_relative_to(path) else f"../{file.parent.name}/{file.name}"


def _code(flight: Preflight) -> str:
    """A digest of the source that computes: another one may compute something else."""
    roots = [*(PACKAGE / "laptime" / name for name in CODE), folders(flight.request.suite)[flight.rules.name]]
    digest = hashlib.blake2b(digest_size=8)
    for root in roots:
        for file in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
            if not file.name.startswith("test_"):
                digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()
