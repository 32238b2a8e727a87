"""Checkpoints of tensors as they are published on model hubs: safetensors files, one or many with an index.

A file: length of the header (u64), the header (JSON: name -> dtype, shape, [begin, end) in the data; and strings under
"__metadata__"), then the data, little-endian, back to back. A folder holds `model.safetensors`, or
`model.safetensors.index.json` whose "weight_map" says which file has which tensor. Nothing in a file is executed.
"""

import json
import math
import mmap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct

import torch

from laptime.errors import DataProblem

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
          "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
          "BOOL": torch.bool}
LENGTH = Struct("<Q")
MOST_HEADER_BYTES = 100_000_000  # as the format's own library allows
ALIGNMENT = 8  # of the data in files that we write
AGAIN = "Get this file again."


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies: begin and end are bytes of the file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass
class SafetensorsFile:
    """One file, memory-mapped: `entries` by name, tensors on request."""

    path: Path
    entries: Mapping[str, Entry] = field(init=False)
    _map: mmap.mmap | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Raises DataProblem for a file that is missing, cut off, or not of this format."""
        try:
            size = self.path.stat().st_size
            with self.path.open("rb") as file:
                head = file.read(LENGTH.size)
                length = LENGTH.unpack(head)[0] if len(head) == LENGTH.size else size
                if LENGTH.size + length > size or length > MOST_HEADER_BYTES:
                    raise DataProblem(f"expected a header within the {size} bytes of {self.path}, found none",
                                      hint=AGAIN)
                header = file.read(length)
        except OSError as error:
            raise DataProblem(f"cannot read {self.path}: {error.strerror}", hint=AGAIN) from None
        try:
            self.entries = dict(_entries(header, LENGTH.size + length, size))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise DataProblem(f"the header of {self.path} makes no sense: {error}", hint=AGAIN) from None

    def tensor(self, name: str) -> torch.Tensor:
        """A copy of one tensor. Raises DataProblem when the file has none of this name, or has become shorter."""
        entry = self.entries.get(name)
        if entry is None:
            raise DataProblem(f"expected a tensor '{name}' in {self.path}, found none", hint=AGAIN)
        data = bytearray(self._data()[entry.begin:entry.end])
        if len(data) != entry.end - entry.begin:
            raise DataProblem(f"tensor '{name}' lies beyond the end of {self.path}", hint=AGAIN)
        if not data:
            return torch.empty(entry.shape, dtype=entry.dtype)
        return torch.frombuffer(data, dtype=entry.dtype).view(entry.shape)

    def _data(self) -> mmap.mmap:
        if self._map is None:
            with self.path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._map


@dataclass(frozen=True)
class Checkpoint:
    """A folder's tensors: which file has which."""

    files: Mapping[str, SafetensorsFile]
    owners: Mapping[str, str]  # tensor -> file

    @classmethod
    def open(cls, folder: Path) -> "Checkpoint":
        """Raises DataProblem for missing or damaged files, and for an index that promises what its files lack."""
        single = folder / SINGLE
        if single.is_file():
            file = SafetensorsFile(single)
            return cls({SINGLE: file}, dict.fromkeys(file.entries, SINGLE))
        owners = _weight_map(folder / INDEX)
        files = {name: SafetensorsFile(folder / name) for name in sorted(set(owners.values()))}
        for tensor, name in owners.items():
            if tensor not in files[name].entries:
                raise DataProblem(f"expected a tensor '{tensor}' in {folder / name}, found none", hint=AGAIN)
        return cls(files, owners)

    @property
    def names(self) -> list[str]:
        """Files of the checkpoint, the index included."""
        return [*self.files, *([] if SINGLE in self.files else [INDEX])]

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of a tensor, None where there is none of this name."""
        owner = self.owners.get(name)
        return None if owner is None else self.files[owner].entries[name].shape

    def tensor(self, name: str) -> torch.Tensor:
        """A copy of one tensor. Raises DataProblem when there is none of this name."""
        if name not in self.owners:
            folder = next(iter(self.files.values())).path.parent
            raise DataProblem(f"expected a tensor '{name}' in {folder}, found none",
                              hint="Is this the checkpoint of another network?")
        return self.files[self.owners[name]].tensor(name)


def write_checkpoint(folder: Path, files: Sequence[Mapping[str, torch.Tensor]]) -> list[str]:
    """Write tensors as so many files, with an index where there are several; returns the names of all."""
    folder.mkdir(parents=True, exist_ok=True)
    if len(files) == 1:
        (folder / SINGLE).write_bytes(_encoded(files[0]))
        return [SINGLE]
    names = [f"model-{i:05d}-of-{len(files):05d}.safetensors" for i in range(1, len(files) + 1)]
    for name, tensors in zip(names, files, strict=True):
        (folder / name).write_bytes(_encoded(tensors))
    owners = {tensor: name for name, tensors in zip(names, files, strict=True) for tensor in tensors}
    total = sum(tensor.nbytes for tensors in files for tensor in tensors.values())
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": owners}) + "\n")
    return [*names, INDEX]


def _entries(header: bytes, start: int, size: int) -> Iterator[tuple[str, Entry]]:
    """Every tensor of a header whose data begin at byte `start` of `size`. Raises ValueError and its like."""
    content = json.loads(header, object_pairs_hook=_without_repeats)
    content.pop("__metadata__", None)
    at = 0
    for name, said in sorted(content.items(), key=lambda item: item[1]["data_offsets"]):
        dtype, shape, (begin, end) = DTYPES[said["dtype"]], said["shape"], said["data_offsets"]
        if not all(type(one) is int and one >= 0 for one in (*shape, begin, end)):
            raise ValueError(f"numbers of '{name}' are not whole")
        if begin != at or end - begin != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"'{name}' does not fill its place")
        yield name, Entry(dtype, tuple(shape), start + begin, start + end)
        at = end
    if start + at != size:
        raise ValueError(f"{start + at} bytes are described, {size} are there")


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice")
    return found


def _weight_map(path: Path) -> dict[str, str]:
    try:
        owners = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
    except OSError:
        raise DataProblem(f"expected {SINGLE} or {INDEX} in {path.parent}, found neither", hint=AGAIN) from None
    except (ValueError, KeyError, TypeError, RecursionError):
        owners = None
    if not isinstance(owners, dict) or not owners or not all(_plain(name) for name in owners.values()):
        raise DataProblem(f"expected a table 'weight_map' of file names in {path}, found other", hint=AGAIN)
    return owners


def _plain(name: object) -> bool:
    """A file of the same folder."""
    return isinstance(name, str) and name.endswith(".safetensors") and not set(name) & set("/\\")


def _encoded(tensors: Mapping[str, torch.Tensor]) -> bytes:
    names = {dtype: name for name, dtype in DTYPES.items()}
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    parts, at = [], 0
    for name, tensor in tensors.items():
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, at + len(data)]}
        parts.append(data)
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return LENGTH.pack(len(text)) + text + b"".join(parts)
