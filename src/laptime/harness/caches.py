"""Clearing the page cache of a data set, and proof of it.

The rules demand that a run starts from storage, not from memory. We advise the kernel to drop the files' pages, drop
all caches where that was not enough and is permitted, and then count with mincore what is still resident.
"""

import ctypes
import ctypes.util
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

RESIDENT_LIMIT = 0.01  # below this share of pages the cache counts as clear (design, section 5, step 4)
DROP_CACHES = Path("/proc/sys/vm/drop_caches")


@dataclass(frozen=True)
class CacheReport:
    """`resident`: share of the files' pages still in memory, None where nobody can tell; `cleared`: proven clear."""

    method: str
    resident: float | None
    cleared: bool


def clear(paths: Sequence[Path]) -> CacheReport:
    """Drop the pages of `paths` and measure what is left."""
    for path in paths:
        _advise(path)
    left, method = resident(paths), "fadvise"
    if (left is None or left >= RESIDENT_LIMIT) and _drop_all():
        left, method = resident(paths), "drop_caches"
    return CacheReport(method, left, left is not None and left < RESIDENT_LIMIT)


def resident(paths: Sequence[Path]) -> float | None:
    """Share of the pages of `paths` that are in memory; None where the system cannot tell."""
    counts = [_pages(path) for path in paths if path.stat().st_size]
    if not counts or any(count is None for count in counts):
        return 0.0 if not counts else None
    return sum(c[0] for c in counts if c) / sum(c[1] for c in counts if c)


def can_drop_all() -> bool:
    """Whether this process may drop the caches of the whole machine."""
    return os.access(DROP_CACHES, os.W_OK)


def _advise(path: Path) -> None:
    if not hasattr(os, "posix_fadvise"):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError:
        pass  # a file system without advice: the count below will tell
    finally:
        os.close(descriptor)


def _drop_all() -> bool:
    try:
        os.sync()
        DROP_CACHES.write_text("3\n")
    except OSError:
        return False
    return True


def _pages(path: Path) -> tuple[int, int] | None:
    """(resident pages, pages) of one file, None where mincore is missing."""
    libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
    if not hasattr(libc, "mincore"):
        return None
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    size = path.stat().st_size
    pages = -(-size // mmap.PAGESIZE)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
        if address in (None, ctypes.c_void_p(-1).value):
            return None
        flags = ctypes.create_string_buffer(pages)
        failed = libc.mincore(address, size, flags)
        libc.munmap(address, size)
    finally:
        os.close(descriptor)
    return None if failed else (sum(byte & 1 for byte in flags.raw), pages)
