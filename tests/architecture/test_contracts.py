"""Import contracts spare the tests that the recipe for a benchmark names."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_contracts_spare_the_tests_that_the_recipe_names():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    spared = {name for one in contracts for line in one.get("ignore_imports", []) for name in re.findall(r"\.(test_\w+) ->", line)}
    row = next(line for line in (ROOT / "CONTRIBUTING.md").read_text().splitlines() if line.startswith("| `test_"))
    named = set(re.findall(r"`(test_\w+)(?:\.py)?`", row))
    assert named == spared
