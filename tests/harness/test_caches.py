"""Clearing the page cache and the proof of it."""

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


def test_clear_of_no_files_is_clear():
    assert clear([]).cleared


def test_empty_files_have_no_pages(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert resident([tmp_path / "empty"]) == 0.0
