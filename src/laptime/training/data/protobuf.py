"""Just enough of the protocol buffer wire format to read and write TensorFlow's records and checkpoints.

A message is a sequence of fields; a field is a varint of (number << 3 | kind) and a value: kind 0 a varint, 1 eight
bytes, 2 a length and as many bytes, 5 four bytes.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

VARINT, EIGHT, BYTES, FOUR = 0, 1, 2, 5
SMALL = [bytes([value]) for value in range(0x80)]


def varint(value: int) -> bytes:
    """A non-negative number."""
    if value < 0x80:
        return SMALL[value]
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """(number, where it ends). Raises ValueError where the data ends first."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a number is cut short")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def message(number: int, content: bytes) -> bytes:
    """A field that holds bytes: a text, packed numbers or another message."""
    return varint(number << 3 | BYTES) + varint(len(content)) + content


def number(number: int, value: int) -> bytes:
    """A field that holds a number."""
    return varint(number << 3 | VARINT) + varint(value)


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of every field; 4 and 8 byte values as bytes. Raises ValueError for anything else."""
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        kind = tag & 7
        if kind == VARINT:
            value, at = read_varint(data, at)
            yield tag >> 3, value
            continue
        if kind not in (EIGHT, BYTES, FOUR):
            raise ValueError(f"a field of kind {kind}")
        size, at = read_varint(data, at) if kind == BYTES else (8 if kind == EIGHT else 4, at)
        if at + size > len(data):
            raise ValueError("a field is cut short")
        yield tag >> 3, data[at:at + size]
        at += size


def packed_varints(data: bytes) -> NDArray[np.int64]:
    """All numbers of a packed field, at once."""
    raw = np.frombuffer(data, np.uint8)
    if not len(raw):
        return np.zeros(0, np.int64)
    ends = np.flatnonzero(raw < 0x80)
    if not len(ends) or ends[-1] != len(raw) - 1:
        raise ValueError("a number is cut short")
    starts = np.concatenate([[0], ends[:-1] + 1])
    shift = 7 * (np.arange(len(raw)) - np.repeat(starts, ends - starts + 1))
    if shift.max() > 63:
        raise ValueError("a number of more than 64 bits")
    parts = (raw & 0x7F).astype(np.uint64) << shift.astype(np.uint64)
    return np.bitwise_or.reduceat(parts, starts).view(np.int64)
