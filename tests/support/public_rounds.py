"""Real public rounds for tests: whole trees from the archives beside the checkout, and what the official tools said."""

import csv
import gzip
import os
import tarfile
from pathlib import Path

import pytest

ROUNDS = Path(__file__).parents[3] / "shared" / "rounds"
EXPECTED = ROUNDS / "expected"


def whole_round(name):
    """The folder of a round, unpacked into a cache on first use; a skip that says why where it is not at hand."""
    archive = ROUNDS / f"{name}.tar.xz"
    if not archive.exists():
        pytest.skip(f"the public logs of {name} are not at hand ({archive.name})")
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "laptime" / "public-rounds"
    target = home / f"{name}-{archive.stat().st_size}-whole"
    if not target.exists():
        partial = target.with_name(f"{target.name}.{os.getpid()}")
        with tarfile.open(archive) as files:
            files.extractall(partial, (member for member in files if member.isfile()), filter="data")
        partial.rename(target)
    return target / next(path.name for path in target.iterdir())


def expected_rows(name):
    """The rows of a table of expected verdicts."""
    path = EXPECTED / name
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    csv.field_size_limit(1 << 30)
    return list(csv.DictReader(content.decode().splitlines()))
