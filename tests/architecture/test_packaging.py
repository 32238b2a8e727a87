"""What the wheel holds, what the base install needs, and that local checks are the same everywhere."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest
import setuptools

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONSTRAINTS = (ROOT / "constraints.txt").read_text()
HOOKS = (ROOT / ".pre-commit-config.yaml").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def test_base_install_needs_no_torch():
    names = {re.split(r"[<>=]", one)[0] for one in PROJECT["project"]["dependencies"]}
    assert names == {"orjson", "click", "rich"}


def test_constraints_pin_every_package_exactly_once():
    lines = [line for line in CONSTRAINTS.splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    names = [line.split("==")[0].lower().replace("_", "-") for line in lines]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("extra", ["train", "plot", "power", "dev"])
def test_constraints_cover_the_packages_that_extras_name(extra):
    named = {re.split(r"[<>=\[]", one)[0].lower() for one in PROJECT["project"]["optional-dependencies"][extra]} - {"laptime"}
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in CONSTRAINTS.splitlines() if "==" in line}
    assert named <= pinned


def test_wheel_carries_rule_data():
    tools = PROJECT["tool"]["setuptools"]
    assert {"*.toml", "*.csv", "*.json"} <= set(tools["package-data"]["*"])
    assert tools["packages"]["find"] == {"where": ["src"]}


def test_wheel_carries_every_data_file_of_the_package():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["*"]
    data = [path for path in (ROOT / "src" / "laptime").rglob("*")
            if path.is_file() and path.suffix not in (".py", ".pyc") and path.name != "py.typed"]
    assert len(data) > 100
    assert [str(path) for path in data if not any(path.match(pattern) for pattern in patterns)] == []


def test_wheel_leaves_tests_beside_benchmarks_out(tmp_path, monkeypatch):
    said: dict[str, dict[str, type[setuptools.Command]]] = {}
    monkeypatch.setattr(setuptools, "setup", lambda **told: said.update(told))
    runpy.run_path(str(ROOT / "setup.py"))
    builder = said["cmdclass"]["build_py"](setuptools.Distribution({"script_name": "setup.py"}))
    for name in ("__init__.py", "model.py", "test_model.py"):
        (tmp_path / name).write_text("")
    assert sorted(module for _, module, _ in builder.find_package_modules("any", str(tmp_path))) == ["__init__", "model"]


def test_no_file_names_a_package_index():
    for text in (MAKEFILE, CONSTRAINTS, (ROOT / "pyproject.toml").read_text(), (ROOT / ".ci/run").read_text()):
        assert not re.search(r"https?://|index-url|find-links", text)


def test_hooks_are_the_steps_of_make_check_and_before_a_push_what_ci_runs():
    steps = re.search(r"^check: (.+)$", MAKEFILE, re.M)
    assert steps
    for stage, wanted in (("pre-commit", steps[1].split()), ("pre-push", ["test"])):
        assert re.findall(rf"entry: make (\w+),.*stages: \[{stage}\]", HOOKS) == wanted


def test_continuous_integration_runs_make_test():
    script = ROOT / ".ci/run"
    assert script.read_text().rstrip().endswith("exec make test")
    assert script.stat().st_mode & 0o111
