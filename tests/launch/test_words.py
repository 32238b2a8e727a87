"""Whatever a user types arrives at `laptime run` as typed: through shells, through Slurm's script, through Kubernetes."""

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import click
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from laptime.cli.launch import command as launch_command
from laptime.cli.run import Asked, asked
from laptime.cli.run import command as run_command
from laptime.config import RunRequest, SuitePath
from laptime.errors import InvalidConfiguration
from laptime.launch import yaml as writer
from laptime.launch.forms import launched
from laptime.launch.request import Launch, run_words

HOSTILE = ["plain", "a b", "'", '"', "$(touch x)", "`id`", "$HOME", "$$", "$(NODE_RANK)", "a;b", "a&b|c", "\\", "é ü", "#", "*",
           "a\nb", "--", "-x", "!", "~", "{a,b}", "\t", "%s", "@"]
ANY = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=12)


def typed(words):
    """The request that `laptime run` makes of a command line."""
    context = run_command.make_context("run", list(words))
    values = {name: value for name, value in context.params.items() if name in Asked.__annotations__}
    return replace(asked(values), nproc=context.params["nproc"])


def request(**more):
    return RunRequest("resnet", **{"round": "smoke", "nproc": 3, **more})


def test_every_option_of_a_run_is_passed_on(tmp_path):
    full = request(out=Path("o"), data=Path("d"), runs=2, device="cpu", threads=3, seed=4, division="open", submitter="me",
                   status="cloud", system="box", silence_s=5.0, save_every_s=600.0, fresh=True, suite=SuitePath(tmp_path), overrides=("a=1", "b=2"))
    words = run_words(full)
    assert typed(words[2:]) == full
    options = {option for one in run_command.params if isinstance(one, click.Option) for option in one.opts[:1]}
    elsewhere = {"--json", "--nodes", "--node-rank", "--rendezvous", "--help"}
    assert {word.partition("=")[0] for word in words[3:]} == options - elsewhere


def test_options_of_a_run_are_options_of_launch():
    mine = {one.name for one in launch_command.params}
    assert {one.name for one in run_command.params} <= mine


@given(ANY, st.lists(ANY, max_size=3))
def test_words_of_any_text_come_back_from_the_command_line(data, changes):
    full = request(data=Path(data or "x"), overrides=tuple(changes))
    assert typed(run_words(full)[2:]) == full


def run_by_bash(script, folder, *, programs, **variables):
    """Arguments (NUL-separated) with which stand-ins for the programs were called by a script."""
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "n[0-1]", "SLURM_SUBMIT_DIR": str(folder), **variables}
    done = subprocess.run(["bash"], input=script, text=True, capture_output=True, cwd=folder, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split("\0")[:-1]


TELL = "printf '%s\\0' \"$@\""
SRUN = 'while [[ "$1" == --* ]]; do shift; done; exec "$@"'


@pytest.mark.parametrize("container", ["none", "apptainer", "docker"])
def test_hostile_words_survive_the_script_of_slurm(tmp_path, container):
    full = request(nodes=2, data=Path("x y'$z"), overrides=tuple(HOSTILE))
    image = "" if container == "none" else "image"
    made = launched("slurm", Launch(full, container=container, image=image, environment=tuple(f"V{i}={one}" for i, one in enumerate(HOSTILE))))
    found = run_by_bash(made.text, tmp_path, programs={"srun": SRUN, "scontrol": "echo n0; echo n1", "laptime": TELL,
                                                       "apptainer": TELL, "docker": TELL}, SLURM_NODEID="1")
    wanted = [*run_words(full)[1:], "--nodes=2", "--rendezvous=n0:29500", "--node-rank=1"]
    assert found[-len(wanted):] == wanted
    assert list(tmp_path.glob("x*")) == []


def test_task_per_accelerator_gets_what_torchrun_would_tell(tmp_path):
    made = launched("slurm", Launch(request(nodes=2), per="accelerator"))
    names = ["RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"]
    tell = "printf '%s\\0' " + " ".join(f'"${name}"' for name in names)
    found = run_by_bash(made.text, tmp_path, programs={"srun": SRUN, "scontrol": "echo n0; echo n1", "laptime": tell},
                        SLURM_PROCID="4", SLURM_LOCALID="1", SLURM_NTASKS="6")
    assert found == ["4", "1", "6", "3", "n0", "29500"]


@pytest.mark.parametrize("form", ["torchrun", "nodes-only"])
@given(changes=st.lists(ANY, max_size=3))
@settings(max_examples=25)
def test_any_words_survive_the_commands_of_nodes(form, changes):
    made = launched(form, Launch(request(nodes=2, overrides=tuple(changes)), rendezvous="h:1"))
    program = made.commands[0][0]
    script = f"{program}() {{ printf '%s\\0' \"$@\"; printf '\\0\\0'; }}\n{made.text}"
    done = subprocess.run(["bash"], input=script.encode(), capture_output=True, check=True)
    said = [tuple(words.split("\0")) for words in done.stdout.decode().removesuffix("\0\0\0").split("\0\0\0")]
    assert said == [words[1:] for words in made.commands]
    assert [f"--set={one}" for one in changes] == [word for word in made.commands[0] if word.startswith("--set=")]


def expanded(word, variables):
    """What Kubernetes makes of an argument (its documented expansion of $(NAME) and $$)."""
    return re.sub(r"\$(?:\$|\((\w+)\))", lambda found: "$" if found[0] == "$$" else variables.get(found[1], found[0]), word)


def test_hostile_words_survive_kubernetes():
    full = request(nodes=2, overrides=tuple(HOSTILE))
    made = launched("kubernetes", Launch(full, image="i", environment=("A=$(HOME)$$",)))
    container = list(yaml.safe_load_all(made.text))[1]["spec"]["template"]["spec"]["containers"][0]
    words = [expanded(word, {"NODE_RANK": "1"}) for word in container["args"]]
    wanted = [*run_words(full)[1:], "--nodes=2", "--rendezvous=laptime-resnet-0.laptime-resnet:29500", "--node-rank=1"]
    assert words == wanted
    assert expanded(container["env"][-1]["value"], {}) == "$(HOME)$$"


JSON = st.recursive(st.none() | st.booleans() | st.integers() | ANY, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY, inner, max_size=3))


@given(JSON)
@settings(max_examples=200)
def test_yaml_that_is_written_is_read_back(value):
    assert yaml.safe_load(writer.documents([value])) == value


@pytest.mark.parametrize("change", [
    {"partition": "a b"}, {"time": "1\n#SBATCH --x"}, {"sbatch": ("--a=$(b) c",)}, {"name": "a;b\n"}, {"environment": ("1A=b",)},
    {"environment": ("A-B=c",)}, {"image": "a\0b"}, {"hosts": ("a",)}])
def test_values_that_no_form_can_say_are_refused(change):
    with pytest.raises(InvalidConfiguration, match="expected"):
        Launch(request(nodes=2), **change)


@pytest.mark.parametrize(("form", "change"), [
    ("torchrun", {"partition": "a"}), ("kubernetes", {"image": "i", "partition": "a"}), ("kubernetes", {}), ("kubeflow", {"image": "i", "claim": "c"}),
    ("slurm", {"claim": "c"}), ("slurm", {"image": "i"}), ("nodes-only", {"image": "i", "container": "pyxis"}), ("kubeflow", {"image": "i", "time": "3"}),
    ("kubernetes", {"image": "i", "time": "1h"}), ("kubernetes", {"image": "i", "name": "a" * 60}), ("nodes-only", {"per": "accelerator"})])
def test_options_that_a_form_would_ignore_are_refused(form, change):
    with pytest.raises(InvalidConfiguration):
        launched(form, Launch(request(nodes=2), **change))


@pytest.mark.parametrize(("limit", "seconds"), [("30", 1800), ("1:30", 90), ("2:00:00", 7200), ("1-00", 86400), ("2-01:00:00", 176400)])
def test_time_limits_are_those_of_slurm(limit, seconds):
    job = list(yaml.safe_load_all(launched("kubernetes", Launch(request(), image="i", time=limit)).text))[1]
    assert job["spec"]["activeDeadlineSeconds"] == seconds
