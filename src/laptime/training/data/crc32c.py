"""CRC-32C (Castagnoli), the checksum of TensorFlow's files, and its masked form in which they store it."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

POLYNOMIAL = 0x82F63B78  # reflected (RFC 3720, appendix B.4)
MASK = 0xA282EAD8  # TensorFlow, lib/hash/crc32c.h
BLOCK = 4096  # bytes taken at once: the checksum is linear, so every position has a table of its own


@cache
def _tables() -> NDArray[np.uint32]:
    """[k, b]: what byte b contributes when k bytes follow it in a block."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(POLYNOMIAL), table >> 1)
    rows = np.empty((BLOCK, 256), np.uint32)
    rows[0] = table
    for k in range(1, BLOCK):
        rows[k] = (rows[k - 1] >> 8) ^ table[rows[k - 1] & 0xFF]
    return rows


def crc32c(data: bytes) -> int:
    """The checksum of `data`."""
    rows, crc = _tables(), 0xFFFFFFFF
    content = np.frombuffer(data, np.uint8)
    for start in range(0, len(content), BLOCK):
        block = content[start:start + BLOCK].copy()
        head = np.frombuffer(crc.to_bytes(4, "little"), np.uint8)[:len(block)]
        block[:len(head)] ^= head
        shifted = crc >> (8 * len(block)) if len(block) < 4 else 0  # bytes of the state that no data has met
        crc = int(np.bitwise_xor.reduce(rows[np.arange(len(block) - 1, -1, -1), block])) ^ shifted
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    """The checksum as files hold it."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + MASK) & 0xFFFFFFFF
