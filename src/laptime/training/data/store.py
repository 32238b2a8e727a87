"""The three doors to a data set: metadata and weights are open, data only while the clock runs.

Design decision 4: data cannot be touched early. A `Store` pickled into a worker process keeps its lock.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from laptime.config import Json
from laptime.errors import DataProblem, DataTouchedTooEarly

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class FileEntry:
    """One file of a data set: size in bytes and BLAKE2b-128 checksum of its content."""

    size: int
    checksum: str
    kind: str = "data"  # "data" or "weights"


@dataclass(frozen=True)
class Manifest:
    """What is known of a data set without reading it. `facts`: counts, sizes, vocabulary sizes, class names.

    `content_hash`: of the decoded content, equal on every machine; `generator`: name and version of what made it.
    """

    name: str
    generator: str
    content_hash: str
    facts: Mapping[str, Json]
    files: Mapping[str, FileEntry]

    def count(self, name: str) -> int:
        """An integer fact. Raises DataProblem when it is missing."""
        value = self.facts.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise DataProblem(f"expected a whole number '{name}' in the manifest of '{self.name}', found {value!r}",
                              hint="Make the data again with `laptime prepare`.")
        return value

    def save(self, root: Path) -> None:
        files = {name: [entry.size, entry.checksum, entry.kind] for name, entry in sorted(self.files.items())}
        text = json.dumps({"name": self.name, "generator": self.generator, "content_hash": self.content_hash,
                           "facts": self.facts, "files": files}, indent=1)
        (root / MANIFEST).write_text(text + "\n")

    @classmethod
    def load(cls, root: Path) -> "Manifest":
        """The manifest of the data set in folder `root`. Raises DataProblem when there is none or it is damaged."""
        path = root / MANIFEST
        try:
            content = json.loads(path.read_text())
            files = {_inside(name): FileEntry(int(size), str(checksum), str(kind))
                     for name, (size, checksum, kind) in content["files"].items()}
            if not isinstance(content["facts"], dict):
                raise TypeError("facts are not a table")
            return cls(content["name"], content["generator"], content["content_hash"], content["facts"], files)
        except FileNotFoundError:
            raise DataProblem(f"no prepared data at {root} (expected {MANIFEST} there)",
                              hint="Make it with `laptime prepare`.") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataProblem(f"{path} is damaged: {error!r}",
                              hint="Make the data again: `laptime prepare --force`.") from None


@dataclass
class Store:
    """Access to one prepared data set under `root`."""

    root: Path
    metadata: Manifest
    _locked: bool = field(default=True, repr=False)

    @classmethod
    def open(cls, root: Path) -> "Store":
        """The store of the data set in folder `root`, locked. Raises DataProblem."""
        return cls(root, Manifest.load(root))

    def weights(self, name: str) -> Path:
        """A start checkpoint, backbone or frozen network. Open from the start."""
        return self._file(name, "weights")

    def data(self, name: str) -> Path:
        """A data file. Raises DataTouchedTooEarly until the clock runs."""
        if self._locked:
            raise DataTouchedTooEarly(f"data file '{name}' was asked for before the clock ran",
                                      hint="Read data in train() only; build() and warm_up() use synthetic batches.")
        return self._file(name, "data")

    def unlock(self) -> None:
        """Called once, by the harness, right after run_start."""
        self._locked = False

    def paths(self) -> list[Path]:
        """Every file, for cache clearing. Does not open any."""
        return [self.root / name for name in self.metadata.files]

    def _file(self, name: str, kind: str) -> Path:
        entry = self.metadata.files.get(name)
        if entry is None or entry.kind != kind:
            raise DataProblem(f"the manifest of '{self.metadata.name}' lists no {kind} file '{name}'",
                              hint="Make the data again: `laptime prepare --force`.")
        return self.root / name


def _inside(name: str) -> str:
    """`name`, a relative path that stays in its folder. Raises ValueError."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"file name '{name}' leaves the folder")
    return name


def checksum(path: Path) -> str:
    """BLAKE2b-128 of a file's content."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def entries(root: Path, names: Iterable[str], kind: str = "data") -> dict[str, FileEntry]:
    """Manifest entries of files under `root`."""
    return {name: FileEntry((root / name).stat().st_size, checksum(root / name), kind) for name in names}


def problems(root: Path, manifest: Manifest, *, full: bool) -> Iterator[str]:
    """What is wrong with the files of a data set: missing, wrong size, or (full) wrong checksum."""
    for name, entry in manifest.files.items():
        path = root / name
        if not path.is_file():
            yield f"{path} is missing"
        elif path.stat().st_size != entry.size:
            yield f"{path} has {path.stat().st_size} bytes, expected {entry.size}"
        elif full and checksum(path) != entry.checksum:
            yield f"{path} has checksum {checksum(path)}, expected {entry.checksum}"
