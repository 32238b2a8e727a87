"""`laptime doctor`: what this machine can run, and why not."""

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import click

from laptime.cli.options import data_option, json_option, suite_option
from laptime.cli.terminal import Column, say, say_json, table, width
from laptime.config import SuitePath
from laptime.errors import FINDINGS, FINE
from laptime.system.machine import Machine, describe
from laptime.system.submission import hardware_name

GIB = 1 << 30
NEEDED_MEMORY_GIB = 4  # a mini run with its workers peaks near 1 GiB; the rest is the system's
NEEDED_DISK_GIB = 1  # generated data sets and logs of a mini set
OLDEST_PYTHON = (3, 11)

Answer = Literal["yes", "limited", "no"]


@dataclass(frozen=True)
class Check:
    """One thing looked at. `ok` "limited": works, but not as well as it could; `advice`: what to do."""

    what: str
    ok: Answer
    found: str
    advice: str = ""


@click.command("doctor", epilog="Example: laptime doctor")
@data_option
@suite_option
@json_option
def command(*, data: Path, suite: SuitePath, as_json: bool) -> int:
    """Say what this machine can run, and why not.

    Exit code 1 when a benchmark at laptop scale cannot run here.
    """
    checks = list(examine(describe(), data))
    runnable = _runnable(checks, suite)
    if as_json:
        say_json({"checks": checks, "benchmarks": runnable})
    else:
        say(report(checks, width()))
        say()
        say(verdict(runnable))
    return FINE if all(not reasons for reasons in runnable.values()) else FINDINGS


def examine(machine: Machine, data: Path) -> Iterator[Check]:
    """Everything a run depends on, in the order in which to mend it."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Check("python", "yes" if sys.version_info >= OLDEST_PYTHON else "no", version, "install Python 3.11 or newer")
    yield _torch(machine)
    for package, use in (("simplejpeg", "decoding images"), ("matplotlib", "laptime plot")):
        found = _version(package)
        yield Check(package, "yes" if found else "limited", found or "not installed",
                    f"needed for {use}: pip install '{package}'")
    yield _compiler()
    yield _cores(machine)
    yield _memory(machine)
    yield _disk(data)
    yield _caches()
    yield _accelerator(machine)


def _torch(machine: Machine) -> Check:
    version = _version("torch")
    if not version:
        return Check("torch", "no", "not installed", "pip install 'laptime[train]'")
    try:
        import torch
        seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    except Exception as error:  # a broken installation fails in many ways
        return Check("torch", "no", f"{version} cannot be imported: {str(error).splitlines()[0]}", "install it again")
    if machine.accelerators and not seen:
        return Check("torch", "limited", f"{version}, does not see the accelerator", "install a build for accelerators")
    return Check("torch", "yes", f"{version}, {seen} accelerators" if seen else f"{version}, CPU")


def _compiler() -> Check:
    from laptime.training.compiler import compiler

    found = compiler()
    return Check("C compiler", "yes" if found else "limited", found or "none",
                 "steps run uncompiled without one; install gcc or clang")


def _cores(machine: Machine) -> Check:
    usable, total = machine.limits.processors, machine.processor.threads
    text = f"{usable} usable of {max(usable, total)}, {machine.processor.model or 'unknown model'}"
    return Check("processors", "yes" if usable >= 2 else "limited", text, "times are quoted for two processors")


def _memory(machine: Machine) -> Check:
    usable = machine.usable_memory_bytes / GIB
    ok: Answer = "no" if 0 < usable < NEEDED_MEMORY_GIB / 2 else "limited" if usable < NEEDED_MEMORY_GIB else "yes"
    return Check("memory", ok, f"{usable:.1f} GiB" if usable else "unknown", f"{NEEDED_MEMORY_GIB} GiB are comfortable")


def _disk(data: Path) -> Check:
    folder = next(place for place in (data.absolute(), *data.absolute().parents) if place.is_dir())
    free = shutil.disk_usage(folder).free / GIB
    return Check("disk", "yes" if free >= NEEDED_DISK_GIB else "no", f"{free:.1f} GiB free at {folder}",
                 f"{NEEDED_DISK_GIB} GiB needed; choose another folder with --data")


def _caches() -> Check:
    from laptime.harness.caches import can_drop_all

    if can_drop_all():
        return Check("cache drop", "yes", "permitted")
    return Check("cache drop", "limited", "not permitted; runs ask the kernel file by file and log what was left",
                 "run as root where a submission must prove cold caches")


def _accelerator(machine: Machine) -> Check:
    if machine.accelerators:
        return Check("accelerator", "yes", hardware_name(machine))
    return Check("accelerator", "limited", "none found", "laptop scale does not need one; full scale does")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _runnable(checks: list[Check], suite: SuitePath) -> dict[str, list[str]]:
    """Benchmark -> why it cannot run at laptop scale here; empty: it can."""
    from laptime.cli.list import implemented

    blocking = [f"{check.what}: {check.found}" for check in checks if check.ok == "no"]
    return dict.fromkeys(implemented(suite), blocking)


def report(checks: list[Check], limit: int | None) -> str:
    """The table of checks."""
    columns = (Column("what"), Column("ok"), Column("found"), Column("what to do"))
    return table(columns, [(c.what, c.ok, c.found, "" if c.ok == "yes" else c.advice) for c in checks], limit)


def verdict(runnable: dict[str, list[str]]) -> str:
    """One line per answer."""
    able = [name for name, reasons in runnable.items() if not reasons]
    lines = [f"At laptop scale (rounds mini and smoke) this machine runs: {', '.join(able) or 'nothing'}."]
    lines += [f"{name} cannot run: {'; '.join(reasons)}" for name, reasons in runnable.items() if reasons]
    return "\n".join(lines)
