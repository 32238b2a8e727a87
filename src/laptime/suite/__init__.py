"""The benchmarks: one folder each. This file only walks folders; the folder is the registration."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from laptime.config import SuitePath, nearest
from laptime.errors import UnknownName

HERE = Path(__file__).parent
BUILT_IN = SuitePath()
RUNNABLE = ("benchmark", "config")  # modules without which a benchmark is only judged


def folders(suite: SuitePath = BUILT_IN) -> dict[str, Path]:
    """Every benchmark folder by name: those of the package, then those of `suite.extra`."""
    found: dict[str, Path] = {}
    for root in (HERE, suite.extra):
        if root is not None and root.is_dir():
            found |= {rules.parent.name: rules.parent for rules in sorted(root.glob("*/rules.toml"))}
    return found


def load(name: str, part: str, suite: SuitePath = BUILT_IN) -> ModuleType:
    """Module `part` ("benchmark" or "config") of benchmark `name`.

    Raises UnknownName when there is no such folder, or when it holds rules only.
    """
    known = folders(suite)
    if name not in known:
        raise UnknownName(f"unknown benchmark '{name}'.{nearest(name, known)}", hint="See `laptime list`.")
    if not (known[name] / f"{part}.py").is_file():
        lacks = "implementation to run: it has rules to judge by" if part in RUNNABLE else f"module '{part}'"
        raise UnknownName(f"benchmark '{name}' has no {lacks}", hint="See the column 'status' of `laptime list`.")
    if known[name].parent == HERE:
        return importlib.import_module(f"{__name__}.{name}.{part}")
    return _outside(known[name], part)


def _outside(folder: Path, part: str) -> ModuleType:
    """Import a benchmark folder that lies outside the package, under its own name."""
    if str(folder.parent) not in sys.path:
        sys.path.insert(0, str(folder.parent))
    return importlib.import_module(f"{folder.name}.{part}")
