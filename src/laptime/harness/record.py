"""The run record beside each log: everything that says which code, configuration and machine made a number.

None of it is needed to judge the log.
"""

import contextlib
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from laptime.config import Json, RunRequest, to_json
from laptime.errors import RunFailed
from laptime.system.environment import environment_record
from laptime.system.machine import describe

if TYPE_CHECKING:
    from laptime.harness.one_run import Outcome, Run


def write_record(run: "Run", outcome: "Outcome") -> None:
    """Write `run.job.record`. Raises RunFailed when the disk is full."""
    job, flight, data = run.job, run.flight, run.store.metadata
    content = {
        "outcome": asdict(outcome), "seed": job.seed, "submittable": job.request.seed is None,
        "shared_machine": job.request.jobs > 1,  # with other runs of the set: its seconds are no times to score
        "round": flight.round.name, "benchmark": flight.rules.name, "request": to_json(job.request),
        "configuration": to_json(flight.config),
        "data": {"name": data.name, "content_hash": data.content_hash, "generator": data.generator},
        "world": {"size": run.world.size, "device": str(run.world.device)},
        "phases": run.account.phases, "evaluations": run.account.evaluations, **run.account.facts,
        "environment": environment_record(command=job.request.command, variables=_variables(job.request)),
        "machine": to_json(describe()),
    }
    save(job.record, to_json(content))


def _variables(request: RunRequest) -> dict[str, str]:
    pairs = (text.partition("=") for text in request.variables)
    return {name: value for name, _, value in pairs}


def save(path: Path, content: Json) -> None:
    """Write JSON for people and programs, whole or not at all. Raises RunFailed."""
    write_whole(path, orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file in one step: whatever happens, it holds the old content or the new. Raises RunFailed."""
    beside = path.with_name(f"{path.name}.new")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise RunFailed(f"cannot write {path}: {error.strerror or error}",
                        hint="Free some space or choose another --out.") from None
