"""docs/results.md: every table, view and example is true."""

import re
import shlex
from pathlib import Path

import pytest
from stores import store_of

from laptime.cli.main import main, program
from laptime.results import store
from laptime.results.query import questions

PAGE = (Path(__file__).parents[2] / "docs" / "results.md").read_text()
COMMANDS = re.findall(r"^laptime (.*)$", PAGE, re.M)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return store_of(tmp_path_factory.mktemp("documents"))


def test_every_table_and_view_is_described(file):
    with store.reading(file) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")]
    assert [name for name in names if f"| `{name}` |" not in PAGE] == []


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("query")])
def test_question_works_as_typed(file, command, capsys):
    assert main([*shlex.split(command), "--store", str(file)]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("command", [command for command in COMMANDS if not command.startswith("query")])
def test_other_examples_are_commands_as_they_are(command):
    name, *arguments = shlex.split(command)
    found = program.get_command(None, name)
    assert found.make_context(name, arguments)


def test_every_question_can_be_read_about():
    assert all(question.text.endswith((".", "bound.")) and question.sql for question in questions().values())
