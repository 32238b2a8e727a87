"""`laptime launch`: forms printed, told as JSON, and handed to a scheduler (a stand-in for it)."""

import json
import os

import pytest

from laptime import errors


@pytest.fixture
def sbatch(tmp_path, monkeypatch):
    """A program sbatch that keeps what it is given and ends with code 7."""
    path = tmp_path / "sbatch"
    path.write_text(f"#!/bin/sh\ncat > {tmp_path}/script\nexit 7\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path / "script"


def test_text_is_printed_and_nothing_is_run(run, sbatch):
    answer = run("launch", "resnet", "--slurm", "--nodes", 2, "--accelerators-per-node", 8)
    assert answer.code == errors.FINE
    assert answer.out.startswith("#!/bin/bash\n#SBATCH")
    assert "--nproc=8" in answer.out
    assert not sbatch.exists()


def test_submit_hands_the_text_to_the_scheduler_and_returns_its_code(run, sbatch):
    answer = run("launch", "resnet", "--slurm", "--submit")
    assert answer.code == 7
    assert sbatch.read_text() == answer.out


def test_json_holds_the_same_text_and_the_words_of_each_node(run):
    command = ("launch", "resnet", "--torchrun", "--nodes", 2, "--hosts", "a,b", "--set", "x=1 2")
    answer = json.loads(run(*command, "--json").out)
    assert answer["text"] == run(*command).out
    assert [words[0] for words in answer["commands"]] == ["torchrun", "torchrun"]
    assert all(words[-1] == "--set=x=1 2" for words in answer["commands"])


def test_submit_of_a_node_runs_its_command(run, tmp_path, monkeypatch):
    (tmp_path / "laptime").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/words\n')
    (tmp_path / "laptime").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert run("launch", "resnet", "--nodes-only", "--nodes", 3, "--rendezvous", "h:1", "--node-rank", 2, "--submit").code == errors.FINE
    assert (tmp_path / "words").read_text().split()[-3:] == ["--nodes=3", "--rendezvous=h:1", "--node-rank=2"]


@pytest.mark.parametrize("words", [(), ("--slurm", "--hosts", "a"), ("--kubernetes",), ("--slurm", "--partition", "a b"),
                                   ("--nodes-only", "--node-rank", "4", "--submit")])
def test_what_cannot_be_launched_is_wrong_use_in_one_line(run, words):
    answer = run("launch", "resnet", *words)
    assert answer.code == errors.WRONG_USE
    assert answer.err.startswith("laptime: ")
    assert "bug" not in answer.err


def test_missing_scheduler_is_said(run, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    answer = run("launch", "resnet", "--slurm", "--submit")
    assert answer.code == errors.WRONG_USE
    assert "expected the program sbatch" in answer.err
