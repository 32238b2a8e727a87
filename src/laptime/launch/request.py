"""What is to be launched where, as one value, and the words of `laptime run` that it comes to.

Knows the options of `laptime run` (a test compares them with the command) and no form of launching.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from laptime.config import RunRequest
from laptime.errors import InvalidConfiguration

Container = Literal["none", "pyxis", "apptainer", "docker"]
PORT = 29500  # torchrun's default
DEFAULTS = RunRequest("")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=", re.ASCII)
DIRECTIVE = re.compile(r"[\w.,:@%+=/\-\[\]&|*()]+", re.ASCII)  # values of #SBATCH lines: nothing that ends a word
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,48}[a-z0-9])?")  # RFC 1123, with room for what Kubernetes appends


@dataclass(frozen=True)
class Launch:
    """`request`: with its nodes and processes per node. Raises InvalidConfiguration for what no form can say.

    per:        tasks of the launcher: one for each node, or one for each accelerator
    hosts:      addresses of the nodes, node 0 first, where they are known beforehand
    image:      of the container that everything runs in; `container` says by which means
    mounts:     SOURCE:TARGET folders that containers see beside the working folder, `folder`
    environment: NAME=VALUE, set for every process
    claim:      of the volume that Kubernetes mounts as the working folder; `resource`: its name for an accelerator
    """

    request: RunRequest
    per: Literal["node", "accelerator"] = "node"
    hosts: tuple[str, ...] = ()
    rendezvous: str = ""
    image: str = ""
    container: Container = "none"
    mounts: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    name: str = ""
    time: str = ""
    partition: str = ""
    account: str = ""
    qos: str = ""
    sbatch: tuple[str, ...] = ()
    namespace: str = ""
    claim: str = ""
    resource: str = "nvidia.com/gpu"
    logs: str = "."
    folder: str = "."

    def __post_init__(self) -> None:
        for option, value in (("--time", self.time), ("--partition", self.partition), ("--account", self.account),
                              ("--qos", self.qos), ("--job-name", self.name), ("--logs", self.logs),
                              *(("--sbatch", one) for one in self.sbatch)):
            if value and not DIRECTIVE.fullmatch(value):
                raise InvalidConfiguration(f"expected {option} without blanks and signs that a job script gives a "
                                           f"meaning to, found {value!r}")
        for value in self.environment:
            if not VARIABLE.match(value):
                raise InvalidConfiguration(f"expected --env NAME=VALUE, found {value!r}")
        if self.request.benchmark.startswith("-"):
            raise InvalidConfiguration(f"expected the name of a benchmark, found '{self.request.benchmark}'")
        for word in (*run_words(self.request), *self.environment, *self.mounts, *self.hosts, self.image):
            _plain(word)
        if self.hosts and len(self.hosts) != self.request.nodes:
            raise InvalidConfiguration(f"expected --hosts to name {self.request.nodes} nodes, found {len(self.hosts)}")

    @property
    def job(self) -> str:
        """The name of the job."""
        return self.name or f"laptime-{self.request.benchmark}"

    @property
    def accelerated(self) -> bool:
        return self.request.device != "cpu"

    @property
    def meeting(self) -> str:
        """HOST:PORT of node 0, where it is known beforehand."""
        return self.rendezvous or f"{self.hosts[0] if self.hosts else '127.0.0.1'}:{PORT}"


def run_words(request: RunRequest) -> list[str]:
    """The command line of `laptime run` for a request: every option that is not default, but for where nodes meet."""
    options: Sequence[tuple[str, object, object]] = (
        ("--round", request.round, None), ("--out", request.out, None), ("--runs", request.runs, None),
        ("--nproc", request.nproc, DEFAULTS.nproc), ("--device", request.device, DEFAULTS.device),
        ("--threads", request.threads, DEFAULTS.threads), ("--seed", request.seed, None),
        ("--division", request.division, DEFAULTS.division), ("--data", request.data, DEFAULTS.data),
        ("--submitter", request.submitter, DEFAULTS.submitter), ("--status", request.status, DEFAULTS.status),
        ("--system", request.system, DEFAULTS.system), ("--suite", request.suite.extra, None),
        ("--hang-timeout", request.silence_s, DEFAULTS.silence_s),
        ("--save-every", request.save_every_s, DEFAULTS.save_every_s))
    given = [f"{name}={value}" for name, value, default in options if value not in (None, default)]
    given += ["--fresh"] if request.fresh else []
    return ["laptime", "run", request.benchmark, *given, *(f"--set={change}" for change in request.overrides)]


def rank_words(request: RunRequest) -> list[str]:
    """The same for a single process of each run, whose launcher says how many there are."""
    return [word for word in run_words(request) if not word.startswith("--nproc=")]


def node_words(launch: Launch, rendezvous: str) -> list[str]:
    """The same for one node of several, but for its number, which is to be appended as `--node-rank N`."""
    several = [f"--nodes={launch.request.nodes}", f"--rendezvous={rendezvous}"] if launch.request.nodes > 1 else []
    return [*run_words(launch.request), *several]


def job_label(launch: Launch) -> str:
    """The name of the job as Kubernetes allows names. Raises InvalidConfiguration."""
    label = launch.job.replace("_", "-").lower()
    if not LABEL.fullmatch(label):
        raise InvalidConfiguration(f"expected --job-name of at most 50 letters, digits and -, found '{launch.job}'")
    return label


def _plain(word: str) -> None:
    """What a file of UTF-8 cannot hold cannot be launched."""
    if "\0" in word or any("\ud800" <= sign <= "\udfff" for sign in word):
        raise InvalidConfiguration(f"expected text, found {word!r}")
