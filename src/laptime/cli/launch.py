"""`laptime launch`: a run set as text for torchrun, Slurm or Kubernetes, and on request submitted."""

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Literal, Unpack

import click

from laptime.cli.options import json_option
from laptime.cli.run import MOST, Asked, asked, run_options
from laptime.cli.terminal import say_json
from laptime.errors import RunFailed, UserError
from laptime.launch.forms import Form, Launched, launched
from laptime.launch.request import Container, Launch

FORMS: dict[Form, str] = {
    "torchrun": "A torchrun command for each node.", "nodes-only": "A plain command for each node.",
    "slurm": "A job script for sbatch.", "kubernetes": "An indexed Job and its service.",
    "kubeflow": "A TrainJob of the Kubeflow trainer."}


@click.command("launch", epilog="Example: laptime launch resnet --round smoke --slurm --nodes 2")
@run_options
@click.option("--torchrun", "form", flag_value="torchrun", type=str, help=FORMS["torchrun"])
@click.option("--nodes-only", "form", flag_value="nodes-only", type=str, help=FORMS["nodes-only"])
@click.option("--slurm", "form", flag_value="slurm", type=str, help=FORMS["slurm"])
@click.option("--kubernetes", "form", flag_value="kubernetes", type=str, help=FORMS["kubernetes"])
@click.option("--kubeflow", "form", flag_value="kubeflow", type=str, help=FORMS["kubeflow"])
@click.option("--nodes", type=click.IntRange(1, MOST), default=1, show_default=True, help="Nodes per run.")
@click.option("--accelerators-per-node", "--nproc", "nproc", type=click.IntRange(1, MOST), default=1,
              show_default=True, help="Processes per node; one for each accelerator, unless --device cpu.")
@click.option("--hosts", metavar="A,B,...", default="", help="Addresses of the nodes, node 0 first.")
@click.option("--rendezvous", metavar="HOST:PORT", default="", help="Where node 0 listens, if not at port 29500.")
@click.option("--node-rank", type=click.IntRange(0, MOST), default=0, show_default=True,
              help="Which node's command --submit runs here.")
@click.option("--per", type=click.Choice(["node", "accelerator"]), default="node", show_default=True,
              help="Tasks that Slurm starts: one for each.")
@click.option("--partition", default="", help="Of the cluster.")
@click.option("--account", default="", help="That the job is charged to.")
@click.option("--qos", default="", help="Quality of service.")
@click.option("--time", "limit", metavar="H:MM:SS", default="", help="Time limit of the job.")
@click.option("--sbatch", metavar="--OPTION=VALUE", multiple=True, help="More lines for sbatch. Repeatable.")
@click.option("--job-name", default="", show_default="laptime-NAME", help="Name of the job.")
@click.option("--logs", metavar="FOLDER", default=".", show_default=True, help="Where Slurm puts what tasks print.")
@click.option("--image", default="", help="Container image that everything runs in.")
@click.option("--container", type=click.Choice(["none", "pyxis", "apptainer", "docker"]), default="none",
              show_default=True, help="What runs the image outside of Kubernetes.")
@click.option("--mount", "mounts", metavar="FROM:TO", multiple=True, help="Folder that the container sees. Repeatable.")
@click.option("--env", "environment", metavar="NAME=VALUE", multiple=True, help="Variable to set. Repeatable.")
@click.option("--namespace", default="", help="Of Kubernetes.")
@click.option("--claim", default="", help="Volume claim that Kubernetes mounts as the working folder.")
@click.option("--resource", default="nvidia.com/gpu", show_default=True, help="What Kubernetes calls an accelerator.")
@click.option("--submit", is_flag=True, help="Run it, too.")
@json_option
def command(*, form: Form | None, nodes: int, nproc: int, hosts: str, rendezvous: str, node_rank: int,
            per: Literal["node", "accelerator"], partition: str, account: str, qos: str, limit: str,
            sbatch: tuple[str, ...], job_name: str, logs: str, image: str, container: Container,
            mounts: tuple[str, ...], environment: tuple[str, ...], namespace: str, claim: str, resource: str,
            submit: bool, as_json: bool, **options: Unpack[Asked]) -> int:
    """Print what starts `laptime run NAME` on many processes and nodes: choose one form; --submit runs it.

    Every option of `laptime run` is passed on.
    """
    if form is None:
        raise click.UsageError("expected one of --torchrun, --nodes-only, --slurm, --kubernetes, --kubeflow")
    launch = Launch(replace(asked(options), nodes=nodes, nproc=nproc), per=per, rendezvous=rendezvous, image=image,
                    hosts=tuple(filter(None, hosts.split(","))), container=container, mounts=mounts, name=job_name,
                    environment=environment, time=limit, partition=partition, account=account, qos=qos, sbatch=sbatch,
                    namespace=namespace, claim=claim, resource=resource, logs=logs, folder=str(Path.cwd()))
    made = launched(form, launch)
    if as_json:
        say_json(made.answer())
    else:
        click.echo(made.text, nl=False)
    return submitted(made, node_rank) if submit else 0


def submitted(made: Launched, node: int) -> int:
    """Hand the text to the scheduler, or run the command of one node; the exit code of that program."""
    if made.commands and node >= len(made.commands):
        raise UserError(f"expected --node-rank below {len(made.commands)}, found {node}")
    words = made.commands[node] if made.commands else made.submit
    if shutil.which(words[0]) is None:
        raise UserError(f"expected the program {words[0]} on this machine, found none",
                        hint="Without --submit the text is printed; take it to where it can run.")
    try:
        done = subprocess.run(words, input=None if made.commands else made.text.encode(), check=False, env=os.environ)
    except OSError as error:
        raise RunFailed(f"cannot run {words[0]}: {error.strerror}") from None
    return done.returncode if done.returncode >= 0 else 128 - done.returncode
