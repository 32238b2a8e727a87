"""TFRecord files of `tf.train.Example`: reading and writing, without TensorFlow.

A record is its length (8 bytes, little-endian), a checksum of that, the bytes, a checksum of those. An Example is a
protocol buffer: a table from names to lists of bytes, 4-byte floats or whole numbers (tensorflow/core/example).
"""

import io
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from laptime.errors import DataProblem
from laptime.training.data.crc32c import masked
from laptime.training.data.protobuf import fields, message, packed_varints, varint

LONGEST = 1 << 30  # bytes of a record: a larger length is damage
AGAIN = "Download or make this file again."
BYTES_LIST, FLOAT_LIST, INT64_LIST = 1, 2, 3

Values = NDArray[np.int64] | NDArray[np.float32] | list[bytes]


def records(path: Path, *, compressed: bool = False) -> Iterator[bytes]:
    """The records of a file (`compressed`: of a zlib stream), checksums verified.

    Raises DataProblem that names the file and the record.
    """
    try:
        file: IO[bytes] = _inflated(path) if compressed else path.open("rb")
    except OSError as error:
        raise DataProblem(f"cannot read {path}: {error.strerror}", hint=AGAIN) from None
    with file:
        count = 0
        while head := file.read(12):
            where = f"record {count} of {path}"
            if len(head) < 12:
                raise DataProblem(f"{where} is cut short", hint=AGAIN)
            size, check = struct.unpack("<QI", head)
            if masked(head[:8]) != check or size > LONGEST:
                raise DataProblem(f"{where} begins with a damaged length", hint=AGAIN)
            body = file.read(size + 4)
            if len(body) < size + 4:
                raise DataProblem(f"{where} is cut short: expected {size + 4} bytes, found {len(body)}", hint=AGAIN)
            if masked(body[:size]) != int.from_bytes(body[size:], "little"):
                raise DataProblem(f"{where} has another checksum than it says", hint=AGAIN)
            yield body[:size]
            count += 1


def write_records(path: Path, contents: Iterable[bytes], *, compressed: bool = False) -> int:
    """Write a file; returns the number of records."""
    count, packer = 0, zlib.compressobj()
    with path.open("wb") as file:
        for content in contents:
            head = struct.pack("<Q", len(content))
            record = head + struct.pack("<I", masked(head)) + content + struct.pack("<I", masked(content))
            file.write(packer.compress(record) if compressed else record)
            count += 1
        file.write(packer.flush() if compressed else b"")
    return count


def _inflated(path: Path) -> io.BytesIO:
    """The content of a zlib stream of at most `LONGEST` bytes. Raises DataProblem for any other file."""
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(path.read_bytes(), LONGEST)
    except zlib.error as error:
        raise DataProblem(f"{path} is no whole zlib stream: {error}", hint=AGAIN) from None
    if not stream.eof:
        raise DataProblem(f"{path} is no whole zlib stream, or holds more than {LONGEST} bytes", hint=AGAIN)
    return io.BytesIO(content)


def parse(data: bytes) -> dict[str, Values]:
    """The features of an Example by name. Raises ValueError for bytes that are none."""
    found: dict[str, Values] = {}
    for features in _messages(data, 1):
        for entry in _messages(features, 1):
            parts = dict(fields(entry))
            name, feature = parts.get(1), parts.get(2)
            if not isinstance(name, bytes) or not isinstance(feature, bytes):
                raise ValueError("a feature without name or value")
            found[name.decode("utf-8")] = _values(feature)
    return found


def example(features: Mapping[str, Values]) -> bytes:
    """An Example, names in alphabetical order."""
    return message(1, b"".join(message(1, message(1, name.encode()) + message(2, _feature(features[name])))
                               for name in sorted(features)))


def _messages(data: bytes, wanted: int) -> Iterator[bytes]:
    for number, value in fields(data):
        if number == wanted:
            if not isinstance(value, bytes):
                raise ValueError(f"field {number} is not a message")
            yield value


def _values(feature: bytes) -> Values:
    for kind, content in fields(feature):
        if not isinstance(content, bytes):
            break
        lists = [value for number, value in fields(content) if number == 1]
        if kind == BYTES_LIST:
            return [value for value in lists if isinstance(value, bytes)]
        if kind == FLOAT_LIST:
            return np.frombuffer(b"".join(value for value in lists if isinstance(value, bytes)), "<f4")
        if kind == INT64_LIST:
            parts = [packed_varints(value) if isinstance(value, bytes) else np.array([value], np.int64)
                     for value in lists]
            return np.concatenate([np.zeros(0, np.int64), *parts])
    raise ValueError("a feature of an unknown kind")


def _feature(values: Values) -> bytes:
    if isinstance(values, list):
        return message(BYTES_LIST, b"".join(message(1, value) for value in values))
    if values.dtype == np.float32:
        return message(FLOAT_LIST, message(1, values.astype("<f4").tobytes()))
    return message(INT64_LIST, message(1, b"".join([varint(value & 2**64 - 1) for value in values.tolist()])))
