"""What only the edges may do, found in the source; the import contracts are checked by `lint-imports`."""

import ast
from pathlib import Path

import pytest

import laptime

SOURCE = Path(laptime.__file__).parent
ENVIRONMENT = {"cli", "launch", "bench", "harness", "training/distributed"}  # may read environment variables
CLOCKS = {"harness", "bench"}  # may read wall clocks
PRINTING = {"cli", "bench"}
UNITS = sorted(path for path in SOURCE.rglob("*.py") if not path.name.startswith("test_"))


def calls(path: Path) -> set[str]:
    """Dotted names used in a file, such as "os.environ"."""
    return {ast.unparse(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute | ast.Name)}


def outside(allowed: set[str]) -> list[Path]:
    return [path for path in UNITS if not any((SOURCE / room) in path.parents for room in allowed)]


def label(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


@pytest.mark.parametrize("path", outside(ENVIRONMENT), ids=label)
def test_environment_variables_are_read_at_the_edges(path):
    assert not {"os.environ", "os.getenv", "environ", "getenv"} & calls(path)


@pytest.mark.parametrize("path", outside(CLOCKS), ids=label)
def test_wall_clocks_are_read_by_the_harness(path):
    assert not {"time.time", "time.time_ns", "datetime.now", "datetime.datetime.now"} & calls(path)


@pytest.mark.parametrize("path", outside(PRINTING), ids=label)
def test_only_commands_print(path):
    assert "print" not in calls(path)


@pytest.mark.parametrize("path", UNITS, ids=label)
def test_every_module_says_what_it_knows(path):
    code = path.read_text()
    assert not code.strip() or ast.get_docstring(ast.parse(code)), "a module docstring says what the file knows"


def test_no_folder_is_a_grab_bag():
    names = {path.stem for path in SOURCE.rglob("*")} & {"utils", "util", "helpers", "common", "core", "misc"} - {"common"}
    assert not names
