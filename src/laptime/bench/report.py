"""The whole measurement: what to measure, on what, and the file that keeps it."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
import torch

from laptime.bench import judging, overhead, pipeline, scaling, start, throughput
from laptime.bench.row import GROUPS, Group, Row
from laptime.bench.subject import Subject, subjects
from laptime.config import Json, SuitePath, to_json
from laptime.errors import UserError
from laptime.suite import BUILT_IN
from laptime.system.environment import environment_record
from laptime.system.machine import describe
from laptime.training.distributed.world import World, choose_device, set_threads

Tell = Callable[[str], None]
RESULTS = Path("bench") / "results"


@dataclass(frozen=True)
class BenchRequest:
    """What `laptime bench` was asked for. `names` empty: every benchmark that says how it is measured."""

    names: tuple[str, ...] = ()
    groups: tuple[Group, ...] = GROUPS
    quick: bool = False
    device: str = "auto"
    threads: int = 0
    suite: SuitePath = BUILT_IN
    command: tuple[str, ...] = ()
    processes: int = 2  # that train together, beside one that trains alone
    rounds: tuple[Path, ...] = ()  # public rounds to judge: folders or archives
    cases: tuple[str, ...] = ()  # of training steps; all of them where none is named


@dataclass(frozen=True)
class Report:
    """Rows and everything that says which machine and code made them. `date`: UTC, ISO 8601."""

    date: str
    command: tuple[str, ...]
    quick: bool
    device: str
    threads: int
    load: float
    machine: Mapping[str, Json]
    versions: Mapping[str, Json]
    rows: tuple[Row, ...]

    @property
    def busy(self) -> bool:
        """Something else was running when the measurement began."""
        return self.load > 0.5


def run(request: BenchRequest, tell: Tell) -> Report:
    """Measure. Raises UserErrors for unknown names and devices."""
    chosen = subjects(request.names, request.suite)
    load = os.getloadavg()[0]
    threads = set_threads(request.threads, 1)
    world = World(0, 1, choose_device(request.device))
    rows = tuple(_rows(request, chosen, world, tell))
    machine = to_json(describe())
    assert isinstance(machine, Mapping)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    device = device_name(world.device)
    return Report(date, request.command, request.quick, device, threads, load, machine, versions(), rows)


def _rows(request: BenchRequest, chosen: list[Subject], world: World, tell: Tell) -> Iterator[Row]:
    quick = request.quick
    if "judge" in request.groups:
        yield from judging.measure(request.rounds, quick=quick, tell=tell)
    for subject in chosen if set(request.groups) - {"judge"} else ():
        with TemporaryDirectory(prefix="laptime-bench-") as name:
            folder = Path(name)
            if "overhead" in request.groups:
                tell(f"harness overhead of {subject.name}")
                yield from overhead.measure(subject, folder, quick=quick)
            if "start" in request.groups:
                tell("start of commands")
                overhead.played_run(subject, folder / "log")
                log = folder / "log" / "result_0.txt"
                yield from start.measure(subject.name, log, repeats=1 if quick else start.REPEATS)
            if "train" in request.groups:
                effort = throughput.QUICK if quick else throughput.THOROUGH
                yield from throughput.measure(subject, world, folder, effort, tell, only=request.cases)
            if "scale" in request.groups:
                effort = scaling.QUICK if quick else throughput.THOROUGH
                yield from scaling.measure(subject, world, request.suite, effort, processes=request.processes,
                                           threads=request.threads, tell=tell)
            if "data" in request.groups:
                amount = (64, 1) if quick else (1024, 5)
                yield from pipeline.measure(subject, world, samples=amount[0], epochs=amount[1], tell=tell)


def device_name(device: torch.device) -> str:
    """Such as "cuda (NVIDIA H200)" or "cpu"."""
    return f"{device.type} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device.type


def versions() -> dict[str, Json]:
    """Python, git state, and the packages that this one names as dependencies, as far as they are installed."""
    environment = environment_record()
    named = {re.split(r"[ <>=!~;\[]", line)[0].lower() for line in metadata.requires("laptime") or []}
    packages = environment["packages"]
    assert isinstance(packages, Mapping)
    named.add("laptime")
    found: dict[str, Json] = {name: version for name, version in packages.items() if name.lower() in named}
    return {name: environment[name] for name in ("python", "platform", "git")} | {"packages": found}


def save(report: Report, out: Path | None = None) -> Path:
    """Write the report as JSON, by default to bench/results/DATE-DEVICE.json. Raises UserError."""
    stamp = re.sub(r"[^0-9T]", "", report.date.split("+")[0])
    device = re.sub(r"\W+", "_", report.device).strip("_")
    path = out or RESULTS / f"{stamp}-{device}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(orjson.dumps(to_json(report), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    except OSError as error:
        raise UserError(f"cannot write the measurements to {path}: {error.strerror or error}",
                        hint="Choose another file with --out.") from None
    return path
