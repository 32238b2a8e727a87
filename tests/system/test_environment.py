"""The record of the software around a run."""

import json
import subprocess
from pathlib import Path

import pytest

from laptime.system.environment import environment_record, git_state, packages
from laptime.system.sources import output


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git repository with one commit."""
    if not output(["git", "--version"]):
        pytest.skip("git is not installed")
    settings = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    (tmp_path / "file").write_text("1")
    for words in (["init", "-q"], ["add", "."], [*settings, "commit", "-q", "--no-verify", "-m", "one"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    return tmp_path


def test_git_state_of_a_clean_checkout(checkout):
    state = git_state(checkout)
    assert len(str(state["commit"])) == 40
    assert state["dirty"] is False


def test_git_state_of_a_changed_checkout_is_dirty(checkout):
    (checkout / "file").write_text("2")
    assert git_state(checkout)["dirty"] is True


def test_git_state_without_git_is_empty(tmp_path):
    assert git_state(tmp_path, lambda command: "") == {}


def test_packages_lists_this_one_and_click():
    found = packages()
    assert found["laptime"]
    assert found["click"]


def test_record_is_plain_data_with_what_was_passed_in():
    record = environment_record(command=["laptime", "run"], variables={"B": "2", "A": "1"})
    assert json.loads(json.dumps(record)) == record
    assert record["command"] == ["laptime", "run"]
    assert list(record["variables"]) == ["A", "B"]  # type: ignore[arg-type, call-overload]
