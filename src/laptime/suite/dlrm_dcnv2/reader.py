"""Days of clicks as they are published, memory-mapped: read where they lie, never whole.

Of day i, n samples:
  day_<i>_dense.npy              float32 (n, 13), logarithms of the counts
  day_<i>_labels.npy             int32 (n, 1), 0 or 1
  day_<i>_sparse_multi_hot.npz   an uncompressed zip of 0.npy, 1.npy, ...: one int32 (n, bag) per feature
"""

import mmap
import struct
import zipfile
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from laptime.errors import DataProblem
from laptime.suite.dlrm_dcnv2.config import ModelConfig

LOCAL_HEADER = struct.Struct("<26xHH")  # of a zip member: bytes before its name; lengths of name and extra field
AGAIN = "Copy this file again, or make the data again: `laptime prepare --force`."

Array = NDArray[np.number]


@dataclass(frozen=True)
class Kind:
    """What an array must be: (n, columns) of a little-endian type."""

    dtype: str
    columns: int


def dense_name(day: int) -> str:
    return f"day_{day}_dense.npy"


def labels_name(day: int) -> str:
    return f"day_{day}_labels.npy"


def sparse_name(day: int) -> str:
    return f"day_{day}_sparse_multi_hot.npz"


def mapped(path: Path, dtype: str, columns: int) -> Array:
    """The array (n, columns) of an .npy file, memory-mapped. Raises DataProblem for any other file."""
    try:
        with path.open("rb") as file:
            return _map(file, 0, Kind(dtype, columns), str(path))
    except (OSError, ValueError, EOFError) as error:
        raise DataProblem(f"{path} is missing or damaged ({_reason(error)})", hint=AGAIN) from None


def mapped_members(path: Path, dtype: str, columns: Sequence[int]) -> list[Array]:
    """The arrays 0.npy, 1.npy, ... (n, columns[k]) of an uncompressed .npz file, memory-mapped. Raises DataProblem."""
    try:
        with path.open("rb") as file:
            with zipfile.ZipFile(file) as archive:
                places = [_place(archive, f"{k}.npy") for k in range(len(columns))]
            return [_map(file, place, Kind(dtype, width), f"{path}, {k}.npy")
                    for k, (place, width) in enumerate(zip(places, columns, strict=True))]
    except (OSError, ValueError, EOFError, KeyError, struct.error, zipfile.BadZipFile) as error:
        raise DataProblem(f"{path} is missing or damaged ({_reason(error)})", hint=AGAIN) from None


def _place(archive: zipfile.ZipFile, name: str) -> int:
    """Where the bytes of a stored member begin."""
    found = archive.getinfo(name)
    if found.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    assert archive.fp is not None
    archive.fp.seek(found.header_offset)
    name_bytes, extra_bytes = LOCAL_HEADER.unpack(archive.fp.read(LOCAL_HEADER.size))
    return int(found.header_offset + LOCAL_HEADER.size + name_bytes + extra_bytes)


def _map(file: BinaryIO, place: int, kind: Kind, where: str) -> Array:
    """The array of the .npy file that begins at byte `place` of an open file. Raises ValueError."""
    file.seek(place)
    version = npy.read_magic(file)
    header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, found = header(file)
    if found != np.dtype(kind.dtype) or fortran or len(shape) != 2 or shape[1] != kind.columns:
        raise ValueError(f"expected {np.dtype(kind.dtype)} of (n, {kind.columns}) in {where}, found {found} of {shape}")
    begin, count = file.tell(), shape[0] * kind.columns
    if not count:
        return np.empty(shape, kind.dtype)
    content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if len(content) < begin + count * found.itemsize:
        raise ValueError(f"{where} is cut short: expected {count * found.itemsize} bytes of values, "
                         f"found {max(0, len(content) - begin)}")
    return np.frombuffer(content, kind.dtype, count, begin).reshape(shape)


def _reason(error: BaseException) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


@dataclass(frozen=True)
class Day:
    """One day's arrays: dense (n, F) float32, labels (n, 1) int32, bags[k] (n, bag of feature k) int32."""

    dense: Array
    labels: Array
    bags: Sequence[Array]

    def __len__(self) -> int:
        return len(self.labels)


def open_day(place: Callable[[str], Path], day: int, model: ModelConfig) -> Day:
    """The arrays of one day; `place` says where a file of some name is. Raises DataProblem."""
    dense = mapped(place(dense_name(day)), "<f4", model.dense_features)
    labels = mapped(place(labels_name(day)), "<i4", 1)
    bags = mapped_members(place(sparse_name(day)), "<i4", model.bags)
    for name, array in ((dense_name(day), dense), *((sparse_name(day), array) for array in bags)):
        if len(array) != len(labels):
            raise DataProblem(f"expected {len(labels)} samples in {place(name)} as in {labels_name(day)}, "
                              f"found {len(array)}", hint=AGAIN)
    return Day(dense, labels, bags)


class Clicks:
    """The first `count` samples of consecutive days, by position."""

    def __init__(self, days: Sequence[Day], count: int) -> None:
        self.days, self.count = days, count
        self._ends = list(accumulate(len(day) for day in days))
        if not self._ends or self._ends[-1] < count:
            raise DataProblem(f"expected {count} samples, found {self._ends[-1] if self._ends else 0}", hint=AGAIN)

    def pieces(self, start: int, stop: int) -> Iterator[tuple[Day, slice, slice]]:
        """The days that hold samples start..stop-1: each with where in it they are, and where in the result."""
        at = start
        while at < stop:
            number = bisect_right(self._ends, at)
            begin = self._ends[number] - len(self.days[number])
            upto = min(stop, self._ends[number])
            yield self.days[number], slice(at - begin, upto - begin), slice(at - start, upto - start)
            at = upto

    def dense(self, start: int, stop: int) -> NDArray[np.float32]:
        """(stop - start, F)"""
        found = np.empty((stop - start, self.days[0].dense.shape[1]), np.float32)
        for day, there, here in self.pieces(start, stop):
            found[here] = day.dense[there]
        return found

    def labels(self, start: int, stop: int) -> NDArray[np.float32]:
        """(stop - start): 0.0 or 1.0"""
        found = np.empty(stop - start, np.float32)
        for day, there, here in self.pieces(start, stop):
            found[here] = day.labels[there, 0]
        return found

    def flat(self, start: int, stop: int, tables: Sequence[int], starts: Sequence[int]) -> NDArray[np.int64]:
        """Ids of these features, table after table, plus where the table starts: (stop - start, their bags)."""
        widths = [self.days[0].bags[k].shape[1] for k in tables]
        found = np.empty((stop - start, sum(widths)), np.int64)
        for day, there, here in self.pieces(start, stop):
            column = 0
            for k, first, width in zip(tables, starts, widths, strict=True):
                np.add(day.bags[k][there], first, out=found[here, column:column + width])
                column += width
        return found
