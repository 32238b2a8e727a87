"""The software around a run, for its record: interpreter, packages, version control, command line, chosen variables.

Reads no environment variable itself: what the record may tell of them is passed in.
"""

import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from laptime.config import Json
from laptime.system.sources import Runner, output


def environment_record(*, command: Sequence[str] = (), variables: Mapping[str, str] | None = None,
                       folder: Path | None = None) -> dict[str, Json]:
    """Plain data, ready for JSON. `folder`: whose git state is told (default: where this package lies)."""
    return {
        "command": list(command),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "packages": dict(packages()),
        "git": dict(git_state(folder or Path(__file__).parent)),
        "variables": dict(sorted((variables or {}).items())),
    }


def packages() -> dict[str, str]:
    """Installed distributions and their versions, by name."""
    found = {str(one.metadata["Name"]): one.version for one in metadata.distributions() if one.metadata["Name"]}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def git_state(folder: Path, run: Runner = output) -> dict[str, str | bool]:
    """{"commit": ..., "dirty": ...} of the checkout around `folder`; empty where there is none."""
    commit = run(["git", "-C", str(folder), "rev-parse", "HEAD"])
    if not commit:
        return {}
    return {"commit": commit, "dirty": bool(run(["git", "-C", str(folder), "status", "--porcelain"]))}
