"""What a submission says beside its logs: the system, the implementation, and the scripts that repeat the measurement.

A file that is there is kept: people complete descriptions by hand. Submission package facts,
sections 1 and 2.
"""

import shlex
import sys
from importlib import metadata
from pathlib import Path

import orjson

from laptime.config import Json, RunRequest, to_json
from laptime.harness.preflight import Preflight
from laptime.harness.record import save, write_whole
from laptime.layout import SubmissionPaths
from laptime.system.machine import describe
from laptime.system.submission import system_description

DEFAULTS = RunRequest("")


def write_descriptions(paths: SubmissionPaths, flight: Preflight, request: RunRequest) -> list[str]:
    """Make the files that are missing; returns what the user should know about those that were kept."""
    system = paths.system(request.system)
    system.parent.mkdir(parents=True, exist_ok=True)
    if not system.exists():
        save(system, system_description(describe(), submitter=request.submitter, division=request.division,
                                        status=request.status, system_name=request.system, nodes=request.nodes))
    folder = paths.scripts(flight.rules.log_name, request.system)
    folder.mkdir(parents=True, exist_ok=True)
    _save_implementation(folder / f"{request.system}_laptime.json", flight)
    return [note for name, text in scripts(flight, request).items() for note in _kept(folder / name, text)]


def scripts(flight: Preflight, request: RunRequest) -> dict[str, str]:
    """The text of every script, by file name. `request` has its system named; `flight` has it as it was typed."""
    name, round_ = flight.rules.name, flight.round.name
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    run = shlex.join(["laptime", "run", name, "--round", round_, *_options(request, flight.request)])
    if request.nodes > 1:  # on every node: its number, and where the first one listens
        run += f' --nodes {request.nodes} --node-rank "${{NODE_RANK:?}}" --rendezvous "${{RENDEZVOUS:?}}"'
    prepare = shlex.join(["laptime", "prepare", name, "--round", round_, *_places(flight.request)])
    download = ""
    if flight.rules.data != "generated":
        download = f"# $1: the folder that {flight.rules.dataset} was downloaded to\n"
        prepare += ' --source "${1:?expected the folder of the download}"'
    steps = "`sh setup.sh`, `sh init_datasets.sh`" + (" with the folder of the download" if download else "")
    return {"setup.sh": f"#!/bin/sh\n# Python {python}\npip install 'laptime[train]=={metadata.version('laptime')}'\n",
            "init_datasets.sh": f"#!/bin/sh\n{download}{prepare}\n",
            "run_and_time.sh": f"#!/bin/sh\n{run}\n",
            "README.md": f"# {flight.rules.title}, round {round_}\n\nRun {steps}, `sh run_and_time.sh`. "
                         f"Results are unverified.\n"}


def _options(request: RunRequest, typed: RunRequest) -> list[str]:
    """Every option that the measurement depends on; folders only where the user named them."""
    given: dict[str, object] = {"--division": request.division, "--submitter": request.submitter,
                                "--status": request.status, "--system": request.system}
    where_changed = (("--nproc", request.nproc, DEFAULTS.nproc), ("--device", request.device, DEFAULTS.device),
                     ("--threads", request.threads, DEFAULTS.threads), ("--seed", request.seed, None),
                     ("--runs", request.runs, None), ("--out", typed.out, None),
                     ("--save-every", request.save_every_s, DEFAULTS.save_every_s))
    given |= {name: value for name, value, default in where_changed if value != default}
    options = [word for name, value in given.items() for word in (name, str(value))]
    return options + _places(typed) + [word for change in request.overrides for word in ("--set", change)]


def _places(typed: RunRequest) -> list[str]:
    data = [] if typed.data == DEFAULTS.data else ["--data", str(typed.data)]
    return data + ([] if typed.suite.extra is None else ["--suite", str(typed.suite.extra)])


def _save_implementation(path: Path, flight: Preflight) -> None:
    """The configuration is that of the logs beside it; whatever else was written into the file stays."""
    known: dict[str, Json] = {}
    if path.exists():
        try:
            known = dict(orjson.loads(path.read_bytes()))
        except (orjson.JSONDecodeError, TypeError, ValueError):
            return  # half completed by hand: not ours to mend
    content = {**known, "implementation": "laptime", "configuration": to_json(flight.config)}
    if content != known:
        save(path, content)


def _kept(path: Path, text: str) -> list[str]:
    """Write a script that is missing; a note when the one that is there measures something else."""
    if not path.exists():
        write_whole(path, text.encode())
    elif path.name == "run_and_time.sh" and path.read_text(errors="replace") != text:
        return [f"{path} is kept as it is, although this command would write another one"]
    return []
