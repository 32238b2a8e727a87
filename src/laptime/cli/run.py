"""`laptime run`: a set of runs of one benchmark in one round."""

import math
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, TypeVar, Unpack

import click

from laptime.cli.options import FOLDER, data_option, json_option, round_option, suite_option
from laptime.cli.terminal import Column, say, say_json, table, width
from laptime.config import RunRequest, SuitePath, to_json
from laptime.errors import INTERRUPTED, TERMINATED

if TYPE_CHECKING:
    from laptime.harness.runset import SetOutcome

VARIABLES = ("OMP_", "KMP_", "MKL_", "GOMP_", "OPENBLAS_", "TORCH", "PYTORCH_", "CUDA_", "NCCL_", "GLOO_", "MALLOC_",
             "LD_PRELOAD", "PYTHONHASHSEED")
MOST = 10_000  # runs, processes per run, threads per process: more is a slip of the keyboard
UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}  # seconds
DEFAULTS = RunRequest("")
RUN_COLUMNS = (Column("run", right=True), Column("outcome"), Column("time [min]", right=True), Column("log"))


class Duration(click.ParamType):  # type: ignore[type-arg]
    """Seconds, typed as a number with a unit: 90s, 10m, 1.5h, 1d; without one it counts seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)([smhd]?)", str(value).strip(), re.ASCII)
        seconds = float(found[1]) * UNITS[found[2]] if found else math.nan
        if not seconds < math.inf:
            self.fail(f"expected a duration such as 90s, 10m or 1h, found '{value}'", param, ctx)
        return seconds


F = TypeVar("F", bound=Callable[..., object])


def run_options(command: F) -> F:
    """What a run set is asked for, in the words of `laptime run` and of the commands that start it elsewhere."""
    for option in reversed((
        click.argument("name"),
        round_option(),
        click.option("--out", type=FOLDER, default=None, show_default="runs/ROUND",
                     help="Folder of the submission tree."),
        click.option("--runs", type=click.IntRange(1, MOST), show_default="what the round asks for",
                     help="How many runs."),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, or what torch offers."),
        click.option("--threads", type=click.IntRange(0, MOST), default=0, show_default="cores / nproc - 1",
                     help="Compute threads per process."),
        click.option("--seed", type=click.IntRange(0),
                     help="Fixed seed of the first run; such runs cannot be submitted."),
        click.option("--set", "changes", metavar="A.B=VALUE", multiple=True,
                     help="Override a setting; may be repeated."),
        click.option("--division", type=click.Choice(["closed", "open"]), default="closed", show_default=True,
                     help="Closed runs must obey the hyperparameter rules."),
        data_option,
        click.option("--submitter", default="laptime", show_default=True, help="Who runs, as logs and folders say it."),
        click.option("--status", help="Availability of the system, as the round spells it."),
        click.option("--system", default="", show_default="from the hardware found", help="Name of the system."),
        click.option("--save-every", metavar="DURATION", type=Duration(), default=DEFAULTS.save_every_s,
                     show_default="never", help="Save the whole state of a run so often, such as 90s, 10m or 1h; after "
                     "an interruption the same command goes on from there."),
        click.option("--fresh", is_flag=True, help="Start interrupted runs anew, whatever was saved of them."),
        click.option("--hang-timeout", metavar="SECONDS", type=click.FloatRange(1), default=DEFAULTS.silence_s,
                     show_default=True, help="End a run that gives no sign of life for so long."),
        suite_option,
    )):
        command = option(command)
    return command


class Asked(TypedDict):
    """The values of `run_options`."""

    name: str
    round_name: str
    out: Path | None
    runs: int | None
    device: str
    threads: int
    seed: int | None
    changes: tuple[str, ...]
    division: Literal["closed", "open"]
    data: Path
    submitter: str
    status: str | None
    system: str
    hang_timeout: float
    save_every: float
    fresh: bool
    suite: SuitePath


def asked(options: Asked) -> RunRequest:
    """The request that they make."""
    o, status = options, options["status"]
    return RunRequest(benchmark=o["name"], round=o["round_name"], division=o["division"], out=o["out"], data=o["data"],
                      overrides=o["changes"], device=o["device"], threads=o["threads"], seed=o["seed"], runs=o["runs"],
                      submitter=o["submitter"], system=o["system"], silence_s=o["hang_timeout"], suite=o["suite"],
                      save_every_s=o["save_every"], fresh=o["fresh"],
                      status=DEFAULTS.status if status is None else status)


@click.command("run", epilog="Example: laptime run resnet --round smoke --save-every 10m")
@run_options
@click.option("--nproc", type=click.IntRange(1, MOST), default=1, show_default=True,
              help="Processes per run on each node.")
@click.option("--nodes", type=click.IntRange(1, MOST), default=1, show_default=True,
              help="Nodes that make each run together; every one runs this command.")
@click.option("--node-rank", type=click.IntRange(0, MOST),
              help="Number of this node; node 0 leads and writes the logs.")
@click.option("--rendezvous", metavar="HOST:PORT", help="Where node 0 listens.")
@json_option
def command(*, nproc: int, nodes: int, node_rank: int | None, rendezvous: str | None, as_json: bool,
            **options: Unpack[Asked]) -> int:
    """Train benchmark NAME to its target, as often as the round asks for.

    Each run is a fresh process with a fresh seed. A set that was interrupted goes on with the runs that are missing,
    and with --save-every inside the run that was interrupted, on the same clock: docs/launching.md.
    Several nodes: see `laptime launch`. Started by torchrun, each of its processes becomes one of each run.
    """
    from laptime.cli.watch import watcher
    from laptime.harness.place import launcher_variables, place_of
    from laptime.harness.runset import run_set

    place = place_of(nproc, nodes=nodes, node_rank=node_rank, rendezvous=rendezvous,
                     told=launcher_variables(os.environ))
    request = replace(asked(options), nproc=place.local_size, nodes=place.nodes, variables=told_variables(),
                      command=("laptime", *sys.argv[1:]))
    with watcher() as reporter:
        outcome = run_set(request, reporter, place)
    if as_json:
        say_json(answer(outcome))
    elif place.first:
        say(text(outcome))
    else:
        say(f"member {place.member + 1} of {place.members}: {outcome.message}")
    return outcome.exit_code


def told_variables() -> tuple[str, ...]:
    """NAME=value of the environment variables that can change a run; nothing else of the environment is recorded."""
    return tuple(f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(VARIABLES))


def answer(outcome: "SetOutcome") -> dict[str, object]:
    """What happened, for programs."""
    return {"folder": str(outcome.folder), "message": outcome.message, "exit_code": outcome.exit_code,
            "runs": [to_json(one) for one in outcome.outcomes]}


def text(outcome: "SetOutcome", limit: int | None = None) -> str:
    """What happened, for people, and what to do next."""
    rows = [(str(one.index + 1), one.status, "" if one.seconds is None else f"{one.seconds / 60:.2f}",
             one.log.name if one.log else "") for one in outcome.outcomes]
    lines = [table(RUN_COLUMNS, rows, limit or width())] if rows else []
    lines.append(f"{outcome.message}: {outcome.folder}")
    if outcome.exit_code not in (INTERRUPTED, TERMINATED):
        lines += [f"Next: laptime check {outcome.folder}", f"      laptime score {outcome.folder}"]
    return "\n".join(lines)
