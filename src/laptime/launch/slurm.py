"""A job script for Slurm: sbatch reads it, srun starts one task per node or one per accelerator.

Sources: the manual pages of sbatch and srun (options and SLURM_* variables), pyxis for containers by enroot.
"""

from laptime.launch import shell
from laptime.launch.container import PASSED, srun_options, wrapped
from laptime.launch.request import PORT, Launch, node_words, rank_words

# Tasks end each other through laptime's own line within 35 s (docs/launching.md); srun must not be faster, or node 0
# could not finish its log.
WAIT_SECONDS = 60
SUBMITTED, HEAD = "\0folder\0", "\0head\0"  # marks: no word of a launch holds a NUL
PER_NODE = 'exec "$@" --node-rank="$SLURM_NODEID"'
PER_ACCELERATOR = 'export RANK="$SLURM_PROCID" LOCAL_RANK="$SLURM_LOCALID" WORLD_SIZE="$SLURM_NTASKS"; exec "$@"'


def script(launch: Launch) -> str:
    """The text of the job script."""
    folder = [] if launch.logs == "." else [f"# {launch.logs} must exist before this is submitted."]
    return "\n".join(["#!/bin/bash", *_directives(launch), *folder, "", "set -euo pipefail",
                      'cd "$SLURM_SUBMIT_DIR"',
                      'head_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST")', "head_node=${head_node%%$'\\n'*}",
                      *_environment(launch), "",
                      "# Node 0 writes the logs of the runs; what every task prints lies beside this script's output.",
                      *_srun(launch), ""])


def _directives(launch: Launch) -> list[str]:
    request = launch.request
    values = {"job-name": launch.job, "nodes": request.nodes, "ntasks-per-node": _tasks(launch),
              "time": launch.time, "partition": launch.partition, "account": launch.account, "qos": launch.qos,
              "output": f"{launch.logs}/%x-%j.out", "signal": "TERM@60"}  # a minute for the log before the time is up
    if launch.accelerated:
        values["gpus-per-node"] = request.nproc
    lines = [f"#SBATCH --{name}={value}" for name, value in values.items() if value != ""]
    return [*lines, "#SBATCH --exclusive", *(f"#SBATCH {one}" for one in launch.sbatch)]


def _tasks(launch: Launch) -> int:
    return launch.request.nproc if launch.per == "accelerator" else 1


def _environment(launch: Launch) -> list[str]:
    told = []
    if launch.per == "accelerator":
        told = [f'export MASTER_ADDR="$head_node" MASTER_PORT={_port(launch)} LOCAL_WORLD_SIZE={launch.request.nproc}']
    return [*shell.exports(["PYTHONUNBUFFERED=1", *launch.environment]), *told]


def _srun(launch: Launch) -> list[str]:
    options = ["--kill-on-bad-exit=0", f"--wait={WAIT_SECONDS}", f"--output={launch.logs}/%x-%j-%N-%t.log"]
    options += srun_options(launch, folder=SUBMITTED)
    if launch.per == "accelerator":
        starter = PER_ACCELERATOR
        inner = wrapped(launch, rank_words(launch.request), folder=SUBMITTED, passed=PASSED)
    else:
        starter = PER_NODE if launch.request.nodes > 1 else 'exec "$@"'
        inner = wrapped(launch, node_words(launch, f"{HEAD}:{_port(launch)}"), folder=SUBMITTED)
    return [_filled(shell.command(["srun", *options, "bash", "-c", starter, "bash", *inner]))]


def _filled(text: str) -> str:
    """Put the script's own variables where their marks are. A word with a mark is in quotes, which end and begin."""
    return text.replace(SUBMITTED, "'\"$SLURM_SUBMIT_DIR\"'").replace(HEAD, "'\"$head_node\"'")


def _port(launch: Launch) -> str:
    return launch.rendezvous.rpartition(":")[2] or str(PORT)
