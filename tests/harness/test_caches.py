"""Clearing the page cache and the proof of it."""

import mmap
import os
import tempfile
from pathlib import Path

import pytest

from laptime.harness.caches import RESIDENT_LIMIT, clear, resident


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "data.bin"
    path.write_bytes(b"x" * (1 << 20))
    return path


def test_resident_counts_pages_just_read(file):
    file.read_bytes()
    share = resident([file])
    if share is None:
        pytest.skip("mincore is missing on this system")
    assert share > 0.9


def test_clear_says_cleared_only_when_pages_are_gone(file):
    file.read_bytes()
    report = clear([file])
    assert report.cleared == (report.resident is not None and report.resident < RESIDENT_LIMIT)
    assert report.resident == resident([file])


@pytest.fixture
def real_file(tmp_path):
    """64 pages on a file system that keeps them apart from the file; skips where memory is all there is."""
    for folder in (tmp_path, Path(__file__).parent):
        with tempfile.NamedTemporaryFile(dir=folder, prefix="pages-", suffix=".tmp") as file:
            file.write(os.urandom(64 * mmap.PAGESIZE))
            file.flush()
            path = Path(file.name)
            if _pages_can_go(path):
                path.read_bytes()
                yield path
                return
    pytest.skip("no folder here lies on a file system that drops pages on advice (tmpfs, or mincore or fadvise missing)")


def _pages_can_go(path):
    """Whether the kernel drops pages here, asked without the code under test."""
    if not hasattr(os, "posix_fadvise") or resident([path]) is None:
        return False
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return resident([path]) < RESIDENT_LIMIT


def test_clear_makes_pages_go(real_file):
    assert resident([real_file]) == 1.0
    report = clear([real_file])
    assert (report.cleared, report.method) == (True, "fadvise")
    assert resident([real_file]) < RESIDENT_LIMIT


def test_clear_of_no_files_is_clear():
    assert clear([]).cleared


def test_empty_files_have_no_pages(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert resident([tmp_path / "empty"]) == 0.0
