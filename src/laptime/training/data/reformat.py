"""A reformat of published files that may be interrupted: what it finished is kept when it starts again."""

import json
from pathlib import Path

from laptime.training.data.store import MANIFEST

PROGRESS = "reformat.json"  # fingerprint of the reformat in progress; its shards may be reused


def begin(root: Path, fingerprint: str) -> None:
    """Make `root` ready: keep the whole shards of an interrupted reformat of the same source, remove all other data."""
    root.mkdir(parents=True, exist_ok=True)
    (root / MANIFEST).unlink(missing_ok=True)
    if not _same(root / PROGRESS, fingerprint):
        for pattern in ("*.shard", "*.npy", "*.part"):
            for path in root.glob(pattern):
                path.unlink()
    (root / PROGRESS).write_text(json.dumps({"source": fingerprint}) + "\n")


def end(root: Path) -> None:
    """The manifest is written: nothing is left to go on with."""
    (root / PROGRESS).unlink()


def _same(path: Path, fingerprint: str) -> bool:
    try:
        return bool(json.loads(path.read_text()) == {"source": fingerprint})
    except (OSError, ValueError):
        return False
