"""The C compiler is looked for on the path, without torch."""

import subprocess
import sys

from laptime.training.compiler import compiler


def test_compiler_is_the_first_of_its_names_on_the_path(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compiler() is None
    for name in ("gcc", "clang"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    assert compiler() == str(tmp_path / "gcc")


def test_compiler_can_be_asked_without_torch():
    script = "import sys; from laptime.training.compiler import compiler; compiler(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
