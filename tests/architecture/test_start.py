"""The first screen: what commands import, measured in a fresh interpreter."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "numpy", "rich", "matplotlib", "laptime.training", "laptime.harness"}
PROGRAM = """
import json, resource, sys
from laptime.cli.main import main
code = main({arguments!r})
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([code, sorted(sys.modules), used.ru_utime]), file=sys.stderr)
"""
BUDGET_S = 0.3  # of user time (budgets: design of the first screen); loaded machines get twice that here


def started(*arguments: str) -> tuple[int, set[str], float]:
    """Exit code, imported modules and user seconds of a command line."""
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(arguments=list(arguments))], capture_output=True, text=True, check=True)
    code, modules, seconds = json.loads(done.stderr.splitlines()[-1])
    return code, set(modules), seconds


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["list", "--json"], ["show", "resnet"], ["rcp", "show", "resnet"],
                                       ["explain", "opt_name"], ["score", "--help"], ["run", "--help"], ["--version"]], ids=" ".join)
def test_command_starts_without_heavy_imports(arguments):
    code, modules, _ = started(*arguments)
    assert code == 0
    assert not modules & HEAVY


def test_check_starts_without_heavy_imports(tmp_path: Path):
    (tmp_path / "result_0.txt").write_text("nothing here\n")
    code, modules, _ = started("check", str(tmp_path / "result_0.txt"), "--round", "mini")
    assert code == 1
    assert not modules & HEAVY


@pytest.mark.parametrize("arguments", [["--help"], ["list"]], ids=" ".join)
def test_first_screen_keeps_its_budget(arguments):
    assert min(started(*arguments)[2] for _ in range(3)) <= 2 * BUDGET_S


def test_module_form_is_the_program():
    done = subprocess.run([sys.executable, "-m", "laptime", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("laptime")
