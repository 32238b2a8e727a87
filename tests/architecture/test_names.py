"""No shared code knows a benchmark or a round by name (style: whatever changes per round or benchmark is data)."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import laptime
from laptime.suite import folders

SOURCE = Path(laptime.__file__).parent
CITING = {SOURCE / "compliance" / "catalogue.py"}  # prose that cites the rules of rounds; nothing in it decides
ROUND = r"v\d+\.\d+|(?:mini|smoke|house)-\d+"
FORBIDDEN = re.compile(rf"(?<![\w.-])(?:{'|'.join([ROUND, *map(re.escape, folders())])})(?![\w-])")


def shared_files() -> list[Path]:
    return [path for path in sorted(SOURCE.rglob("*.py")) if SOURCE / "suite" not in path.parents and path not in CITING]


def names_in(code: str, *, examples_allowed: bool = False) -> Iterator[tuple[int, str]]:
    """(line, name) of every benchmark or round name in strings and identifiers.

    Left out: docstrings, and with `examples_allowed` the `epilog` of a command, whose example must work as typed.
    """
    tree = ast.parse(code)
    skipped = docstrings(tree) | (epilogs(tree) if examples_allowed else set())
    for node in ast.walk(tree):
        for text in [] if id(node) in skipped else words(node):
            yield from ((getattr(node, "lineno", 0), found) for found in FORBIDDEN.findall(text))


def words(node: ast.AST) -> list[str]:
    match node:
        case ast.Constant(value=str() as text):
            return [text]
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.keyword(arg=str() as name):
            return [name]
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.alias(name=name):
            return name.split(".")
        case ast.ImportFrom(module=str() as name):
            return name.split(".")
    return []


def docstrings(tree: ast.Module) -> set[int]:
    holders = [node for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
    return {id(node.body[0].value) for node in holders if node.body and isinstance(node.body[0], ast.Expr)
            and isinstance(node.body[0].value, ast.Constant)}


def epilogs(tree: ast.Module) -> set[int]:
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "epilog"}


def test_shared_code_names_no_benchmark_and_no_round():
    found = {path.relative_to(SOURCE).as_posix(): list(names_in(path.read_text(), examples_allowed=path.parent.name == "cli"))
             for path in shared_files()}
    assert not {path: names for path, names in found.items() if names}, "put it into rule data or into the benchmark's folder"


@pytest.mark.parametrize("code", ['x = "resnet"', "resnet = 1", "f(resnet=1)", "from laptime.suite.resnet import train", "a.resnet",
                                  'if name == "v4.0": pass', 'x = "laptime run resnet"', 'f"round {a} like mini-1"', "def resnet(): pass"])
def test_search_finds_a_name_wherever_it_hides(code):
    assert list(names_in(code))


@pytest.mark.parametrize("code", ['"""About resnet in v4.0."""', "x = 'resnets'", "# resnet", "x = 'v\\\\d+'", "x = 'pv4.0'"])
def test_search_leaves_prose_and_other_words_alone(code):
    assert not list(names_in(code))


def test_search_allows_examples_of_commands_only_where_asked():
    code = 'command(epilog="Example: laptime run resnet")'
    assert list(names_in(code))
    assert not list(names_in(code, examples_allowed=True))
