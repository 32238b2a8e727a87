"""Set-up by make on machines where something is missing: one clear line, nothing left behind."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("sh", "make", "grep", "rm", "touch")

pytestmark = pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason="needs make and a shell")


def set_up(folder: Path, *, version: str, new_enough: bool, venv_works: bool) -> subprocess.CompletedProcess[str]:
    """`make` up to the interpreter of the environment, where the only Python is a script that behaves as told."""
    tools = folder / "bin"
    tools.mkdir()
    for name in TOOLS:
        (tools / name).symlink_to(shutil.which(name) or name)
    python = tools / "python3"
    python.write_text(f"""#!/bin/sh
case "$1 $2" in
  "--version ") echo "Python {version}" ;;
  "-c "*) exit {int(not new_enough)} ;;
  "-m venv") [ {int(venv_works)} = 1 ] || exit 1; d=$3/bin; PATH=/usr/bin:/bin mkdir -p "$d"; : > "$d/python" ;;
esac
""")
    python.chmod(0o755)
    for name in ("Makefile", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    return subprocess.run(["make", ".venv/bin/python"], cwd=folder, env={"PATH": str(tools)}, capture_output=True, text=True, check=False)


def told(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if not line.startswith("make")]


def test_old_python_is_refused_in_one_line(tmp_path):
    done = set_up(tmp_path, version="3.9.2", new_enough=False, venv_works=True)
    assert done.returncode != 0
    assert told(done) == ["laptime: expected Python 3.11 or newer, found Python 3.9.2; name one with 'make PYTHON=/path/to/python3'"]


def test_python_without_venv_is_explained_in_one_line(tmp_path):
    done = set_up(tmp_path, version="3.12.1", new_enough=True, venv_works=False)
    assert done.returncode != 0
    assert len(told(done)) == 1
    assert "python3-venv" in told(done)[0]
    assert not (tmp_path / ".venv").exists()


def test_environment_is_made_once(tmp_path):
    assert set_up(tmp_path, version="3.12.1", new_enough=True, venv_works=True).returncode == 0
    assert (tmp_path / ".venv" / "bin" / "python").exists()
    again = subprocess.run(["make", "-q", ".venv/bin/python"], cwd=tmp_path, env={"PATH": str(tmp_path / "bin")}, check=False)
    assert again.returncode == 0
