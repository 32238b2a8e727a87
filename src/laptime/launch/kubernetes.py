"""Kubernetes: an indexed Job with a headless service, or a TrainJob of the Kubeflow trainer.

Every pod is a node. Kubernetes replaces $(NAME) in arguments by variables of the container and $$ by $, so that every $
of a user's value is written twice. Sources: Kubernetes API batch/v1 Job and v1 Service; Kubeflow trainer v1alpha1
(runtime torch-distributed, which sets PET_NODE_RANK, PET_MASTER_ADDR and PET_MASTER_PORT as torchrun reads them).
"""

from laptime.config import Json
from laptime.errors import InvalidConfiguration
from laptime.launch import yaml
from laptime.launch.request import PORT, Launch, job_label, node_words

INDEX = "batch.kubernetes.io/job-completion-index"
GRACE_SECONDS = 60  # between SIGTERM and SIGKILL; the log needs at most 35 (docs/launching.md)
WORK = "/work"


def job(launch: Launch) -> str:
    """The manifest of an indexed Job and of the service that gives its pods names."""
    name = job_label(launch)
    return yaml.documents([_service(launch, name), _job(launch, name)])


def train_job(launch: Launch) -> str:
    """The manifest of a TrainJob. Raises InvalidConfiguration for what its runtime decides."""
    if launch.claim:
        raise InvalidConfiguration("expected no --claim for Kubeflow: volumes belong to the training runtime",
                                   hint="Add the volume to the runtime, or use --kubernetes.")
    words = _words(launch, "$(PET_NODE_RANK)", "$(PET_MASTER_ADDR):$(PET_MASTER_PORT)")
    trainer: dict[str, Json] = {"numNodes": launch.request.nodes, "numProcPerNode": launch.request.nproc,
                                "image": _image(launch), "command": words[:1], "args": words[1:],
                                "env": _environment(launch)}
    if launch.accelerated:
        trainer["resourcesPerNode"] = {"limits": {launch.resource: launch.request.nproc}}
    return yaml.documents([{
        "apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob",
        "metadata": _metadata(launch, job_label(launch)),
        "spec": {"runtimeRef": {"name": "torch-distributed"}, "trainer": trainer}}])


def _service(launch: Launch, name: str) -> Json:
    return {"apiVersion": "v1", "kind": "Service", "metadata": _metadata(launch, name),
            "spec": {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {"laptime-job": name}}}


def _job(launch: Launch, name: str) -> Json:
    """No pod is made again: a run that lost a node is over, and the set goes on when the job is applied again."""
    nodes = launch.request.nodes
    pod: dict[str, Json] = {"restartPolicy": "Never", "subdomain": name, "terminationGracePeriodSeconds": GRACE_SECONDS,
                            "containers": [_container(launch, name)], "volumes": _volumes(launch)}
    spec: dict[str, Json] = {"completionMode": "Indexed", "completions": nodes, "parallelism": nodes, "backoffLimit": 0,
                             "template": {"metadata": {"labels": {"laptime-job": name}}, "spec": pod}}
    if launch.time:
        spec["activeDeadlineSeconds"] = _seconds(launch.time)
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": _metadata(launch, name), "spec": spec}


def _container(launch: Launch, name: str) -> Json:
    index: Json = {"name": "NODE_RANK", "valueFrom": {"fieldRef": {"fieldPath": f"metadata.annotations['{INDEX}']"}}}
    words = _words(launch, "$(NODE_RANK)", f"{name}-0.{name}:{launch.rendezvous.rpartition(':')[2] or PORT}")
    mounts = [{"name": "shm", "mountPath": "/dev/shm"}]
    mounts += [{"name": "work", "mountPath": WORK}] if launch.claim else []
    container: dict[str, Json] = {
        "name": "laptime", "image": _image(launch), "command": words[:1], "args": words[1:], "workingDir": WORK,
        "env": [index, *_environment(launch)], "volumeMounts": mounts}
    if launch.accelerated:
        container["resources"] = {"limits": {launch.resource: launch.request.nproc}}
    return container


def _words(launch: Launch, node: str, rendezvous: str) -> list[str]:
    """The command in a container: our references to its variables as they are, every $ of a value twice."""
    mark = "\0meeting\0"
    words = [word.replace("$", "$$").replace(mark, rendezvous) for word in node_words(launch, mark)]
    return [*words, f"--node-rank={node}"] if launch.request.nodes > 1 else words


def _environment(launch: Launch) -> list[Json]:
    pairs = (pair.partition("=") for pair in ("PYTHONUNBUFFERED=1", *launch.environment))
    return [{"name": name, "value": value.replace("$", "$$")} for name, _, value in pairs]


def _volumes(launch: Launch) -> list[Json]:
    shared: Json = {"name": "shm", "emptyDir": {"medium": "Memory"}}  # torch's workers exchange tensors there
    claim: Json = {"name": "work", "persistentVolumeClaim": {"claimName": launch.claim}}
    return [shared, claim] if launch.claim else [shared]


def _metadata(launch: Launch, name: str) -> Json:
    namespace: dict[str, Json] = {"namespace": launch.namespace} if launch.namespace else {}
    return {"name": name, **namespace, "labels": {"laptime-job": name}}


def _image(launch: Launch) -> str:
    if not launch.image:
        raise InvalidConfiguration("expected --image for Kubernetes, found none", hint="See docs/launching.md for one.")
    return launch.image


def _seconds(time: str) -> int:
    """Of a time limit as Slurm writes it: minutes, [[days-]hours:]minutes:seconds or days-hours."""
    days, dash, rest = time.rpartition("-")
    parts = rest.split(":")
    if not all(part.isascii() and part.isdigit() for part in [*parts, *([days] if dash else [])]) or len(parts) > 3:
        raise InvalidConfiguration(f"expected --time such as 30 (minutes), 1:30:00 or 2-00:00:00, found '{time}'")
    numbers = [int(part) for part in parts]
    if dash:
        hours, minutes, seconds = [*numbers, 0, 0][:3]
    else:
        hours, minutes, seconds = (0, numbers[0], 0) if len(numbers) == 1 else ([0] * (3 - len(numbers)) + numbers)
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
