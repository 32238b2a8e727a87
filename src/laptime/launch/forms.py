"""The forms of a launch: its text, the files it belongs in, and the command that submits it."""

from dataclasses import dataclass
from typing import Literal

from laptime.config import Json
from laptime.errors import InvalidConfiguration
from laptime.launch import kubernetes, slurm, torchrun
from laptime.launch.request import Launch

Form = Literal["torchrun", "nodes-only", "slurm", "kubernetes", "kubeflow"]


@dataclass(frozen=True)
class Launched:
    """`commands`: one for each node, where there are such; `submit`: the program that takes `text` on its input."""

    form: Form
    text: str
    commands: tuple[tuple[str, ...], ...] = ()
    submit: tuple[str, ...] = ()

    def answer(self) -> dict[str, Json]:
        """For programs."""
        return {"form": self.form, "text": self.text, "commands": [list(words) for words in self.commands],
                "submit": list(self.submit)}


def launched(form: Form, launch: Launch) -> Launched:
    """A launch in one form. Raises InvalidConfiguration for what the form cannot say."""
    _fitting(form, launch)
    match form:
        case "torchrun" | "nodes-only":
            words_of = torchrun.torchrun_words if form == "torchrun" else torchrun.plain_words
            commands = [words_of(launch, node) for node in range(launch.request.nodes)]
            return Launched(form, torchrun.script(launch, commands), tuple(map(tuple, commands)))
        case "slurm":
            return Launched(form, slurm.script(launch), submit=("sbatch",))
        case "kubernetes":
            return Launched(form, kubernetes.job(launch), submit=("kubectl", "apply", "-f", "-"))
        case "kubeflow":
            return Launched(form, kubernetes.train_job(launch), submit=("kubectl", "apply", "-f", "-"))


def _fitting(form: Form, launch: Launch) -> None:
    """Options that a form would silently ignore are refused."""
    pods, machines = ("kubernetes", "kubeflow"), ("torchrun", "nodes-only", "slurm")
    given: tuple[tuple[str, object, tuple[str, ...]], ...] = (
        ("--partition", launch.partition, ("slurm",)), ("--account", launch.account, ("slurm",)),
        ("--qos", launch.qos, ("slurm",)), ("--sbatch", launch.sbatch, ("slurm",)),
        ("--per accelerator", launch.per == "accelerator", ("slurm",)),
        ("--time", launch.time, ("slurm", "kubernetes")), ("--container", launch.container != "none", machines),
        ("--hosts", launch.hosts, ("torchrun", "nodes-only")), ("--namespace", launch.namespace, pods),
        ("--claim", launch.claim, pods), ("--mount", launch.mounts, machines))
    for option, value, forms in given:
        if value and form not in forms:
            raise InvalidConfiguration(f"{option} says nothing to --{form}; it is for --{' and --'.join(forms)}")
    if form in machines and (launch.container == "none") != (not launch.image):
        raise InvalidConfiguration("expected --image and --container together",
                                   hint="Such as: --image laptime.sif --container apptainer")
    if launch.container == "pyxis" and form != "slurm":
        raise InvalidConfiguration("--container pyxis is an option of srun; it is for --slurm")
