"""TensorFlow checkpoints of the "bundle" format (`NAME.index` and `NAME.data-00000-of-00001`), without TensorFlow.

The index is a sorted string table as LevelDB defines it (tensorflow/core/lib/io/table_format.txt): blocks of entries
whose keys share prefixes, an index block, and a footer of 48 bytes. A key is a tensor's name; its value says dtype,
shape, where the bytes lie and their checksum (tensorflow/core/protobuf/tensor_bundle.proto). Blocks are uncompressed,
as TensorFlow writes them.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from laptime.errors import DataProblem
from laptime.training.data.crc32c import masked
from laptime.training.data.protobuf import fields, message, number, read_varint, varint

MAGIC = 0xDB4775248B80FB57  # the last eight bytes of an index
FOOTER = 48
TRAILER = 5  # of a block: kind of compression, checksum
FLOAT = 1  # DT_FLOAT
AGAIN = "Download the checkpoint again."


@dataclass(frozen=True)
class Entry:
    """Where a float32 tensor lies in the data file."""

    shape: tuple[int, ...]
    offset: int
    size: int
    checksum: int


def index_path(prefix: Path) -> Path:
    return prefix.with_name(f"{prefix.name}.index")


def data_path(prefix: Path) -> Path:
    return prefix.with_name(f"{prefix.name}.data-00000-of-00001")


class Checkpoint:
    """The float32 tensors of a checkpoint called `prefix`. Raises DataProblem."""

    def __init__(self, prefix: Path) -> None:
        self.index, self.data = index_path(prefix), data_path(prefix)
        try:
            self.entries = dict(_entries(self.index.read_bytes()))
            self._bytes = np.memmap(self.data, np.uint8, "r")
        except OSError as error:
            raise DataProblem(f"cannot read the checkpoint {prefix}: {error.strerror} ({error.filename})",
                              hint=AGAIN) from None
        except ValueError as error:
            raise DataProblem(f"{self.index} is damaged, or {self.data.name} empty: {error}", hint=AGAIN) from None

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        """A tensor, its checksum verified."""
        entry = self.entries.get(name)
        if entry is None:
            raise DataProblem(f"expected a float32 tensor '{name}' in {self.index}, found none", hint=AGAIN)
        content = self._bytes[entry.offset:entry.offset + entry.size].tobytes()
        if len(content) != entry.size or entry.size != 4 * int(np.prod(entry.shape, dtype=np.int64)):
            raise DataProblem(f"expected {entry.size} bytes of tensor '{name}' at {entry.offset} of {self.data}, "
                              f"found {len(content)}", hint=AGAIN)
        if masked(content) != entry.checksum:
            raise DataProblem(f"tensor '{name}' in {self.data} has another checksum than the index says", hint=AGAIN)
        return np.frombuffer(content, "<f4").reshape(entry.shape)


def write(prefix: Path, tensors: Mapping[str, NDArray[np.float32]]) -> None:
    """A checkpoint of float32 tensors, in one data file and one index block."""
    entries, offset = {"": number(1, 1) + message(3, number(1, 1))}, 0
    with data_path(prefix).open("wb") as file:
        for name in sorted(tensors):
            content = tensors[name].astype("<f4").tobytes()
            file.write(content)
            entries[name] = _entry(tensors[name].shape, offset, content)
            offset += len(content)
    index_path(prefix).write_bytes(_table(entries))


def _entry(shape: tuple[int, ...], offset: int, content: bytes) -> bytes:
    sizes = b"".join(message(2, number(1, size)) for size in shape)
    return (number(1, FLOAT) + message(2, sizes) + number(4, offset) + number(5, len(content))
            + varint(6 << 3 | 5) + struct.pack("<I", masked(content)))


def _table(entries: Mapping[str, bytes]) -> bytes:
    """A table of one block, every key written out whole."""
    ordered = sorted((name.encode(), value) for name, value in entries.items())
    block = _closed(_block(ordered))
    handle = varint(0) + varint(len(block) - TRAILER)
    meta = _closed(_block([]))
    meta_handle = varint(len(block)) + varint(len(meta) - TRAILER)
    last = _closed(_block([(ordered[-1][0], handle)]))
    last_handle = varint(len(block) + len(meta)) + varint(len(last) - TRAILER)
    handles = (meta_handle + last_handle).ljust(FOOTER - 8, b"\0")
    return block + meta + last + handles + struct.pack("<Q", MAGIC)


def _block(entries: list[tuple[bytes, bytes]]) -> bytes:
    out, starts = b"", []
    for key, value in entries:
        starts.append(len(out))
        out += varint(0) + varint(len(key)) + varint(len(value)) + key + value
    starts = starts or [0]
    return out + struct.pack(f"<{len(starts)}I", *starts) + struct.pack("<I", len(starts))


def _closed(block: bytes) -> bytes:
    return block + b"\0" + struct.pack("<I", masked(block + b"\0"))


def _entries(table: bytes) -> Iterator[tuple[str, Entry]]:
    if len(table) < FOOTER or struct.unpack("<Q", table[-8:])[0] != MAGIC:
        raise ValueError("it does not end as an index does")
    footer = table[-FOOTER:]
    _, at = _handle(footer, 0)
    (start, size), _ = _handle(footer, at)
    for _, value in _pairs(_opened(table, start, size)):
        (start, size), _ = _handle(value, 0)
        for key, content in _pairs(_opened(table, start, size)):
            entry = _parsed(content) if key else None
            if entry is not None:
                yield key.decode("utf-8"), entry


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    start, at = read_varint(data, at)
    size, at = read_varint(data, at)
    return (start, size), at


def _opened(table: bytes, start: int, size: int) -> bytes:
    block, trailer = table[start:start + size], table[start + size:start + size + TRAILER]
    if len(trailer) < TRAILER or trailer[0] != 0:
        raise ValueError("a block is compressed or cut short")
    if masked(block + trailer[:1]) != struct.unpack("<I", trailer[1:])[0]:
        raise ValueError("a block has another checksum than it says")
    return block


def _pairs(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    (restarts,) = struct.unpack("<I", block[-4:])
    end, at, key = len(block) - 4 - 4 * restarts, 0, b""
    while at < end:
        shared, at = read_varint(block, at)
        fresh, at = read_varint(block, at)
        size, at = read_varint(block, at)
        key = key[:shared] + block[at:at + fresh]
        yield key, block[at + fresh:at + fresh + size]
        at += fresh + size


def _parsed(content: bytes) -> Entry | None:
    """An entry, None for one that is not a float32 tensor in one piece."""
    numbers, parts = dict[int, int](), dict[int, bytes]()
    for name, value in fields(content):
        if isinstance(value, int):
            numbers[name] = value
        else:
            parts[name] = value
    if numbers.get(1) != FLOAT or 6 not in parts:
        return None
    shape = tuple(_dimension(part) for n, part in fields(parts.get(2, b"")) if n == 2 and isinstance(part, bytes))
    return Entry(shape, numbers.get(4, 0), numbers.get(5, 0), int.from_bytes(parts[6], "little"))


def _dimension(part: bytes) -> int:
    return next((value for n, value in fields(part) if n == 1 and isinstance(value, int)), 0)
