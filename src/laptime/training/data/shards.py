"""The project's shard format: byte strings back to back in a few big files, and one index of where each is.

A data set part "train" is `train-00000.shard`, `train-00001.shard`, ... and `train.index.npy`, a structured array
(little-endian) with one row per sample: `shard`, `offset`, `length`, `label`, `height`, `width`. Files are written
under temporary names and renamed when whole; while a part is being made, each shard has its own rows in
`train-00000.rows.npy`, so that an interrupted reformat continues after its last whole shard.
"""

import mmap
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from laptime.errors import DataProblem
from laptime.training.data.store import Store

ROW = np.dtype([("shard", "<u4"), ("offset", "<u8"), ("length", "<u4"), ("label", "<i4"),
                ("height", "<u4"), ("width", "<u4")])
Rows = NDArray[np.void]


@dataclass(frozen=True)
class Sample:
    """One byte string and what the index keeps of it."""

    data: bytes
    label: int
    height: int
    width: int


def shard_name(part: str, number: int) -> str:
    return f"{part}-{number:05d}.shard"


def index_name(part: str) -> str:
    return f"{part}.index.npy"


def write_shard(root: Path, part: str, number: int, samples: Iterable[Sample]) -> int:
    """Write one shard and its rows, whole or not at all; returns the number of samples."""
    rows, offset, target = [], 0, root / shard_name(part, number)
    with _temporary(target).open("wb") as file:
        for sample in samples:
            file.write(sample.data)
            rows.append((number, offset, len(sample.data), sample.label, sample.height, sample.width))
            offset += len(sample.data)
        file.flush()
        os.fsync(file.fileno())
    _temporary(target).replace(target)
    _save(_rows_path(root, part, number), np.array(rows, ROW))
    return len(rows)


def finished_shard(root: Path, part: str, number: int, count: int) -> bool:
    """A whole shard of `count` samples is there, left by an interrupted reformat."""
    shard, rows = root / shard_name(part, number), _rows_path(root, part, number)
    if not (shard.is_file() and rows.is_file()):
        return False
    found = np.load(rows, allow_pickle=False)
    return len(found) == count and shard.stat().st_size == int(found["length"].sum())


def join_index(root: Path, part: str, shards: int) -> list[str]:
    """Make the index of a part from the rows of its shards; returns the names of all its files."""
    rows = [np.load(_rows_path(root, part, number), allow_pickle=False) for number in range(shards)]
    _save(root / index_name(part), np.concatenate(rows))
    return [index_name(part), *(shard_name(part, number) for number in range(shards))]


def forget_rows(root: Path) -> None:
    """Remove the rows of single shards, once every index is there."""
    for path in root.glob("*.rows.npy"):
        path.unlink()


def _save(path: Path, rows: Rows) -> None:
    with _temporary(path).open("wb") as file:
        np.save(file, rows, allow_pickle=False)
    _temporary(path).replace(path)


def _temporary(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _rows_path(root: Path, part: str, number: int) -> Path:
    return root / f"{part}-{number:05d}.rows.npy"


@dataclass
class Shards:
    """Read access to one part of a prepared data set, memory-mapped; safe to use from several threads.

    Opening it reads the index through the data door: it raises DataTouchedTooEarly until the clock runs.
    """

    store: Store
    part: str
    rows: Rows = field(init=False, repr=False)
    _maps: dict[int, mmap.mmap] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        path = self.store.data(index_name(self.part))
        try:
            self.rows = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataProblem(f"{path} is missing or damaged ({error})", hint=_AGAIN) from None
        if self.rows.dtype != ROW:
            raise DataProblem(f"{path} has rows of another format", hint=_AGAIN)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, sample: int) -> bytes:
        """The byte string of one sample. Raises DataProblem when its shard is missing or too short."""
        row = self.rows[sample]
        start, length = int(row["offset"]), int(row["length"])
        data = self._map(int(row["shard"]))[start:start + length]
        if len(data) != length:
            raise DataProblem(f"{self.where(sample)} lies beyond the end of its shard", hint=_AGAIN)
        return data

    def __iter__(self) -> Iterator[bytes]:
        return (self[sample] for sample in range(len(self)))

    def where(self, sample: int) -> str:
        """A sample as messages name it."""
        row = self.rows[sample]
        return f"sample {sample} (byte {int(row['offset'])} of {shard_name(self.part, int(row['shard']))})"

    def _map(self, number: int) -> mmap.mmap:
        if number not in self._maps:
            path = self.store.data(shard_name(self.part, number))
            try:
                with path.open("rb") as file:
                    self._maps.setdefault(number, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            except (OSError, ValueError) as error:
                raise DataProblem(f"{path} is missing or empty ({error})", hint=_AGAIN) from None
        return self._maps[number]


_AGAIN = "Make the data again: `laptime prepare --force`."
