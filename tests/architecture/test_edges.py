"""What only the edges may do, found in the source; the import contracts are checked by `lint-imports`."""

import ast
from functools import cache
from pathlib import Path

import laptime

SOURCE = Path(laptime.__file__).parent
ENVIRONMENT = {"cli", "launch", "bench", "harness", "training/distributed"}  # may read environment variables
CLOCKS = {"harness", "bench"}  # may read wall clocks
PRINTING = {"cli", "bench"}


def units() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if not path.name.startswith("test_"))


@cache
def names(path: Path) -> set[str]:
    """Dotted names used in a file, such as "os.environ"."""
    return {ast.unparse(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute | ast.Name)}


def users(forbidden: set[str], *, allowed: set[str]) -> list[str]:
    """Files outside the allowed rooms that use a forbidden name."""
    outside = [path for path in units() if not any((SOURCE / room) in path.parents for room in allowed)]
    return [path.relative_to(SOURCE).as_posix() for path in outside if forbidden & names(path)]


def test_environment_variables_are_read_at_the_edges():
    assert not users({"os.environ", "os.getenv", "environ", "getenv"}, allowed=ENVIRONMENT)


def test_wall_clocks_are_read_by_the_harness():
    assert not users({"time.time", "time.time_ns", "datetime.now", "datetime.datetime.now"}, allowed=CLOCKS)


def test_only_commands_print():
    assert not users({"print"}, allowed=PRINTING)


def test_search_for_users_finds_what_is_there():
    assert "cli/main.py" in users({"print"}, allowed=set())
    assert "harness/clock.py" in users({"time.time_ns"}, allowed=set())


def test_every_module_says_what_it_knows():
    codes = {path: path.read_text() for path in units()}
    assert not [path for path, code in codes.items() if code.strip() and not ast.get_docstring(ast.parse(code))]


def test_no_module_is_a_grab_bag():
    assert not {path.stem for path in SOURCE.rglob("*.py")} & {"utils", "util", "helpers", "common", "core", "misc"}
