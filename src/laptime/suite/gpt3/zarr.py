"""Arrays in directories of chunk files (zarr, version 2), as the starting checkpoint is published.

`.zarray` (JSON) says shape, chunk shape, dtype and compression; the chunk with grid position (2, 0, 1) is the file
`2.0.1` (or `2/0/1`): its elements in row-major order, those beyond the array's edge included. Read here: float32 and
bfloat16, plain, zlib and gzip. Not read: Blosc, Zstandard and LZ4, filters, column-major order, and chunks that are
left out because they hold the fill value only.
"""

import gzip
import json
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from laptime.errors import DataProblem

METADATA = ".zarray"
AGAIN = "Get the checkpoint again."
UNPACK: Mapping[str, Callable[[bytes], bytes]] = {"": bytes, "zlib": zlib.decompress, "gzip": gzip.decompress}
FLOAT, HALF = "<f4", "bfloat16"
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Zarr:
    """One array in `folder`. `kind`: FLOAT or HALF; `packed`: "", "zlib" or "gzip"."""

    folder: Path
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    kind: str
    packed: str
    separator: str

    @classmethod
    def open(cls, folder: Path) -> "Zarr":
        """Raises DataProblem where there is no such array, or one that is not read here."""
        path = folder / METADATA
        try:
            content = json.loads(path.read_text())
            shape, chunks = (tuple(int(n) for n in content[name]) for name in ("shape", "chunks"))
            packed = str((content["compressor"] or {}).get("id", "unnamed")) if content["compressor"] else ""
            found = cls(folder, shape, chunks, str(content["dtype"]), packed, content.get("dimension_separator", "."))
            plain = content["zarr_format"] == 2 and content["order"] == "C" and not content.get("filters")
        except OSError as error:
            raise DataProblem(f"cannot read {path}: {error.strerror}", hint=AGAIN) from None
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise DataProblem(f"expected the description of a zarr array in {path}, found other ({error!r})",
                              hint=AGAIN) from None
        if not plain or found.kind not in (FLOAT, HALF) or packed not in UNPACK or found.separator not in (".", "/"):
            raise DataProblem(f"expected a row-major zarr 2 array of {FLOAT} or {HALF}, plain, zlib or gzip, in "
                              f"{path}, found dtype {found.kind}, compression '{packed}'",
                              hint="Write it again as one of these.")
        if len(shape) != len(chunks) or not shape or min((*shape, *chunks)) < 1:
            raise DataProblem(f"expected a shape and chunks of as many positive sizes in {path}, found {shape} and "
                              f"{chunks}", hint=AGAIN)
        return found

    def read(self, *first: int) -> Array:
        """The part with these first indices: nothing is the whole array, (5,) what lies at 5 on axis 0."""
        wanted = [slice(at, at + 1) for at in first] + [slice(0, size) for size in self.shape[len(first):]]
        found = np.empty([part.stop - part.start for part in wanted], np.float32)
        for place in product(*(range(part.start // size, -(-part.stop // size))
                               for part, size in zip(wanted, self.chunks, strict=True))):
            chunk = self._chunk(place)
            source, target = zip(*(_overlap(part, at * size, size)
                                   for part, at, size in zip(wanted, place, self.chunks, strict=True)), strict=True)
            found[target] = chunk[source]
        return found.reshape(self.shape[len(first):])

    def files(self) -> Iterator[Path]:
        """Every file of the array. Raises DataProblem for one that is missing or, where nothing is packed, cut off."""
        yield self.folder / METADATA
        expected = math.prod(self.chunks) * self._bytes
        for place in product(*(range(-(-size // chunk)) for size, chunk in zip(self.shape, self.chunks, strict=True))):
            path = self._path(place)
            size = path.stat().st_size if path.is_file() else -1
            if size < 0 or (not self.packed and size != expected):
                raise DataProblem(f"expected {path}" + (f" of {expected} bytes" if not self.packed else "")
                                  + (f", found {size} bytes" if size >= 0 else ", found no such file"), hint=AGAIN)
            yield path

    @property
    def _bytes(self) -> int:
        return 4 if self.kind == FLOAT else 2

    def _path(self, place: tuple[int, ...]) -> Path:
        return self.folder / self.separator.join(map(str, place))

    def _chunk(self, place: tuple[int, ...]) -> Array:
        path = self._path(place)
        try:
            content = UNPACK[self.packed](path.read_bytes())
        except (OSError, EOFError, zlib.error) as error:
            raise DataProblem(f"cannot read {path}: {error}", hint=AGAIN) from None
        if len(content) != math.prod(self.chunks) * self._bytes:
            raise DataProblem(f"expected {math.prod(self.chunks) * self._bytes} bytes of numbers in {path}, "
                              f"found {len(content)}", hint=AGAIN)
        if self.kind == HALF:  # the upper half of a float32
            return (np.frombuffer(content, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(self.chunks)
        return np.frombuffer(content, "<f4").astype(np.float32, copy=False).reshape(self.chunks)


def write(folder: Path, array: Array, chunks: tuple[int, ...]) -> None:
    """Write a float32 array in plain chunks."""
    folder.mkdir(parents=True)
    for place in product(*(range(-(-size // chunk)) for size, chunk in zip(array.shape, chunks, strict=True))):
        whole = np.zeros(chunks, FLOAT)
        part = array[tuple(slice(at * size, (at + 1) * size) for at, size in zip(place, chunks, strict=True))]
        whole[tuple(slice(0, size) for size in part.shape)] = part
        (folder / ".".join(map(str, place))).write_bytes(whole.tobytes())
    content = {"zarr_format": 2, "shape": array.shape, "chunks": chunks, "dtype": FLOAT, "compressor": None,
               "fill_value": None, "filters": None, "order": "C"}
    (folder / METADATA).write_text(json.dumps(content))


def _overlap(wanted: slice, start: int, size: int) -> tuple[slice, slice]:
    """Where a chunk's part of `wanted` lies in the chunk, and in what is wanted."""
    low, high = max(wanted.start, start), min(wanted.stop, start + size)
    return slice(low - start, high - start), slice(low - wanted.start, high - wanted.start)
