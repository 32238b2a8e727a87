"""The folder a set of runs writes: the layout of a submission, with a record beside each log."""

import hashlib
import shlex
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson

from laptime.config import RunRequest, to_json
from laptime.errors import InvalidConfiguration, UserError
from laptime.harness.preflight import Preflight
from laptime.harness.record import save
from laptime.layout import SubmissionPaths
from laptime.system.machine import describe
from laptime.system.submission import system_description, system_name

SET_FILE = "set.json"


@dataclass
class SetFolder:
    """`results`: the folder of the logs; `total`: how many runs make the set whole."""

    results: Path
    total: int
    request: RunRequest
    seeds: list[int]
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def open(cls, flight: Preflight) -> "SetFolder":
        """Make or reopen the folder of a request. Raises UserErrors: not writable, or runs of another configuration."""
        request = _completed(flight)
        assert request.out is not None
        paths = SubmissionPaths(request.out, request.submitter)
        results = paths.results(request.system, flight.rules.log_name)
        folder = cls(results, request.runs or flight.rules.runs, request, [])
        try:
            results.mkdir(parents=True, exist_ok=True)
            folder._agree(flight)
            _describe(paths, flight, request)
        except OSError as error:
            raise UserError(f"cannot write to {results}: {error.strerror or error}",
                            hint="Choose another folder with --out.") from None
        return folder

    def missing(self) -> list[int]:
        """Indices of the runs that are still to be made."""
        return [index for index in range(self.total) if not self.log(index).exists()]

    def log(self, index: int) -> Path:
        return self.results / f"result_{index}.txt"

    def record(self, index: int) -> Path:
        return self.results / f"record_{index}.json"

    def output(self, index: int) -> Path:
        """What the worker and its libraries printed."""
        return self.results / f"output_{index}.txt"

    def log_in_progress(self, index: int) -> Path:
        """Where the worker writes; becomes `log` when the run is finished."""
        path = self.results / f"running_{index}.log"
        self.keep(index, finished=False)  # left over by a set that was killed
        return path

    def keep(self, index: int, *, finished: bool) -> Path | None:
        """Move the log of a run to its place; an unfinished one is kept under another name and is no result."""
        running = self.results / f"running_{index}.log"
        if not running.exists():
            return None
        if finished:
            return running.rename(self.log(index))
        number = len(list(self.results.glob(f"unfinished_{index}_*.log")))
        return running.rename(self.results / f"unfinished_{index}_{number}.log")

    def fresh_seed(self, draw: Callable[[], int]) -> int:
        """A seed that no run of this set had."""
        with self._lock:
            seed = next(seed for seed in iter(draw, None) if seed not in self.seeds)
            self.seeds.append(seed)
            self._save_set(self._set)
        return seed

    def _agree(self, flight: Preflight) -> None:
        """All runs of a set have one configuration; a folder that holds another one is refused."""
        mine: dict[str, object] = {"round": flight.round.name, "division": flight.request.division,
                                   "processes": flight.request.nproc, "seed": flight.request.seed,
                                   "stop_at_target": flight.request.stop_at_target,
                                   "configuration": to_json(flight.config)}
        path = self.results / SET_FILE
        if path.exists():
            theirs = _loaded(path)
            seeds = theirs.pop("seeds", [])
            self.seeds = [int(seed) for seed in seeds] if isinstance(seeds, list) else []
            changed = [name for name in mine if mine[name] != theirs.get(name)]
            if changed:
                raise InvalidConfiguration(f"{self.results} holds runs of another {changed[0]}: "
                                           f"{_short(theirs.get(changed[0]))}, asked for {_short(mine[changed[0]])}",
                                           hint="Choose another --out, or remove that folder.")
        self._set = mine
        self._save_set(mine)

    def _save_set(self, content: dict[str, object]) -> None:
        save(self.results / SET_FILE, to_json({**content, "seeds": self.seeds}))


def _completed(flight: Preflight) -> RunRequest:
    """The request with its defaults filled in: output folder and system name."""
    request = flight.request
    out = request.out or Path("runs") / flight.round.name
    system = request.system or system_name(describe(), processes=request.nproc)
    return replace(request, out=out, system=system)


def _describe(paths: SubmissionPaths, flight: Preflight, request: RunRequest) -> None:
    """System description and the scripts that repeat the measurement."""
    machine = describe()
    description = system_description(machine, submitter=request.submitter, division=request.division,
                                     status=request.status, system_name=request.system)
    paths.system(request.system).parent.mkdir(parents=True, exist_ok=True)
    save(paths.system(request.system), description)
    scripts = paths.scripts(flight.rules.log_name, request.system)
    scripts.mkdir(parents=True, exist_ok=True)
    implementation = {"implementation": "laptime", "configuration": to_json(flight.config)}
    save(scripts / f"{request.system}_laptime.json", implementation)
    for name, text in _scripts(flight, request).items():
        (scripts / name).write_text(text)


def _scripts(flight: Preflight, request: RunRequest) -> dict[str, str]:
    name, round_ = flight.rules.name, flight.round.name
    options = [option for change in request.overrides for option in ("--set", change)]
    if request.nproc > 1:
        options += ["--nproc", str(request.nproc)]
    command = shlex.join(["laptime", "run", name, "--round", round_, "--division", request.division, *options])
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {"setup.sh": f"#!/bin/sh\n# Python {python}\npip install 'laptime[train]'\n",
            "init_datasets.sh": f"#!/bin/sh\nlaptime prepare {name} --round {round_}\n",
            "run_and_time.sh": f"#!/bin/sh\n{command}\n",
            "README.md": f"# {flight.rules.title}, round {round_}\n\nRun `sh setup.sh`, `sh init_datasets.sh`, "
                         f"`sh run_and_time.sh`. Results are unverified.\n"}


def _loaded(path: Path) -> dict[str, object]:
    try:
        content = orjson.loads(path.read_bytes())
        return dict(content)
    except (OSError, orjson.JSONDecodeError, TypeError, ValueError):
        raise UserError(f"{path} is damaged", hint="Remove that folder or choose another --out.") from None


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"one with digest {hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"
