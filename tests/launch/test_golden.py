"""Launches as text, compared with files in golden/.

To write them anew: .venv/bin/python tests/launch/test_golden.py
"""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from laptime.config import RunRequest, SuitePath
from laptime.launch.forms import launched
from laptime.launch.request import Launch

GOLDEN = Path(__file__).parent / "golden"
SMALL = RunRequest("resnet", round="smoke", nodes=2, nproc=1, device="cpu")
LARGE = RunRequest("llama31_8b", round="v5.1", nodes=16, nproc=8, out=Path("runs/a b"), data=Path("/data"), runs=10,
                   overrides=("parallel.accumulation_steps=2", "optimizer.lr=0.1"), submitter="O'Neill", status="onprem",
                   system="16x8", division="open", seed=7, threads=4, silence_s=600.0, suite=SuitePath(Path("my suite")))
CASES = {
    "torchrun_one_node.sh": ("torchrun", Launch(RunRequest("resnet", nproc=8))),
    "torchrun_two_nodes.sh": ("torchrun", Launch(SMALL, hosts=("127.0.0.2", "127.0.0.3"), rendezvous="127.0.0.2:29517")),
    "nodes_two.sh": ("nodes-only", Launch(SMALL, hosts=("10.0.0.1", "10.0.0.2"), environment=("A=b c",))),
    "nodes_docker.sh": ("nodes-only", Launch(LARGE, image="laptime:1", container="docker", folder="/home/me",
                                        mounts=("/data:/data",), rendezvous="node0:29500", environment=("X=1",))),
    "slurm_node.sbatch": ("slurm", Launch(SMALL, time="30", partition="cpu")),
    "slurm_node_pyxis.sbatch": ("slurm", Launch(LARGE, time="2-00:00:00", partition="h200", account="abc", qos="high",
                                                sbatch=("--reservation=mlperf",), image="registry#laptime:1", container="pyxis",
                                                mounts=("/data:/data",), environment=("NCCL_DEBUG=WARN",), logs="logs")),
    "slurm_accelerator_apptainer.sbatch": ("slurm", Launch(LARGE, per="accelerator", image="laptime.sif",
                                                           container="apptainer", rendezvous=":29600")),
    "kubernetes.yaml": ("kubernetes", Launch(LARGE, image="registry/laptime:1", claim="work", namespace="ml", time="4:00:00",
                                             environment=("PRICE=$(HOME)$5",))),
    "kubernetes_cpu.yaml": ("kubernetes", Launch(SMALL, image="laptime")),
    "kubeflow.yaml": ("kubeflow", Launch(LARGE, image="registry/laptime:1", name="Llama_8B")),
}


def text(name):
    return launched(*CASES[name]).text


@pytest.mark.parametrize("name", CASES)
def test_text_is_the_golden_one(name):
    assert text(name) == (GOLDEN / name).read_text(), f"to accept it: {sys.executable} {__file__}"


def test_golden_files_are_those_of_the_cases():
    assert {path.name for path in GOLDEN.iterdir()} == set(CASES)


@pytest.mark.parametrize("name", [name for name in CASES if not name.endswith(".yaml")])
def test_script_is_valid_shell(name):
    done = subprocess.run(["bash", "-n"], input=text(name), text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", [name for name in CASES if name.endswith(".yaml")])
def test_manifest_is_yaml_with_what_kubernetes_asks_for(name):
    documents = list(yaml.safe_load_all(text(name)))
    assert [one["kind"] for one in documents] == (["TrainJob"] if "kubeflow" in name else ["Service", "Job"])
    assert all(one["apiVersion"] and one["metadata"]["name"] for one in documents)


def test_pods_find_each_other_through_the_service():
    service, job = yaml.safe_load_all(text("kubernetes.yaml"))
    pod = job["spec"]["template"]
    name = service["metadata"]["name"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert pod["spec"]["subdomain"] == name
    assert f"--rendezvous={name}-0.{name}:29500" in pod["spec"]["containers"][0]["args"]
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == 16
    assert job["spec"]["activeDeadlineSeconds"] == 4 * 3600


if __name__ == "__main__":
    for case in CASES:
        (GOLDEN / case).write_text(text(case))
