"""Data before the clock: made once, verified every time, every damage named."""

import os
from dataclasses import replace

import pytest
from harness_runs import Quiet, request_of

from laptime.config import RunRequest
from laptime.errors import DataProblem
from laptime.harness import preparation
from laptime.harness.preflight import resolve
from laptime.harness.preparation import data_folder, prepare


@pytest.fixture
def request_(tmp_path):
    return request_of(tmp_path)


@pytest.fixture
def made(request_):
    """A folder with prepared data."""
    return prepare(request_, Quiet())


def refused(request, words):
    """The error of a preparation that must fail in one line."""
    with pytest.raises(DataProblem, match=words) as error:
        prepare(request, Quiet())
    assert "\n" not in str(error.value)
    return error.value


def test_data_are_made_where_they_are_missing_and_only_there(request_):
    listener = Quiet()
    root = prepare(request_, listener)
    assert root == data_folder(resolve(request_)) == request_.data / "standin" / "mini"
    assert listener.messages == [f"making the data in {root}: sixteen bytes (not timed)"]
    before = (root / "numbers.bin").stat().st_mtime_ns
    assert prepare(request_, listener) == root
    assert (len(listener.messages), (root / "numbers.bin").stat().st_mtime_ns) == (1, before)


def test_force_makes_the_data_again(request_, made):
    (made / "numbers.bin").write_bytes(b"junk")
    listener = Quiet()
    prepare(request_, listener, force=True)
    assert (made / "numbers.bin").read_bytes() == bytes(range(16))
    assert len(listener.messages) == 1


def test_source_is_reformatted(request_, tmp_path):
    listener = Quiet()
    prepare(request_, listener, source=tmp_path)
    assert listener.messages[0].startswith("reformatting the data in")


def test_flipped_byte_is_found_by_checksum(request_, made):
    data = bytearray((made / "numbers.bin").read_bytes())
    data[7] ^= 1
    (made / "numbers.bin").write_bytes(data)
    error = refused(request_, r"numbers\.bin has checksum \w+, expected \w+")
    assert "laptime prepare --force" in error.hint


def test_large_data_sets_are_verified_by_size_only(request_, made, monkeypatch):
    monkeypatch.setattr(preparation, "FULL_VERIFICATION_BYTES", 15)
    (made / "numbers.bin").write_bytes(bytes(16))
    assert prepare(request_, Quiet()) == made
    (made / "numbers.bin").write_bytes(bytes(15))
    refused(request_, r"numbers\.bin has 15 bytes, expected 16")


def test_truncated_file_is_found_by_size(request_, made):
    (made / "numbers.bin").write_bytes(bytes(range(9)))
    refused(request_, r"numbers\.bin has 9 bytes, expected 16")


def test_deleted_file_is_missing(request_, made):
    (made / "numbers.bin").unlink()
    refused(request_, r"numbers\.bin is missing")


def test_wrong_checksum_in_the_manifest_is_found(request_, made):
    text = (made / "manifest.json").read_text()
    digest = next(part for part in text.split('"') if len(part) == 32)
    (made / "manifest.json").write_text(text.replace(digest, "0" * 32))
    refused(request_, r"numbers\.bin has checksum \w+, expected 0{32}")


def test_several_problems_are_told_as_one_and_a_number(request_, made):
    text = (made / "manifest.json").read_text()
    (made / "manifest.json").write_text(text.replace('"files": {', '"files": {"a.bin": [1, "x", "data"], "b.bin": [1, "x", "data"],'))
    refused(request_, r"a\.bin is missing \(and 1 more\)")


DAMAGES = {"half": lambda text: text[:40], "facts missing": lambda text: text.replace("train_samples", "trained"), "empty": lambda text: ""}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_generated_data_with_a_damaged_manifest_are_made_again(request_, made, damage):
    sound = (made / "manifest.json").read_text()
    (made / "manifest.json").write_text(damage(sound))
    listener = Quiet()
    prepare(request_, listener)
    assert (made / "manifest.json").read_text() == sound
    assert len(listener.messages) == 1


def test_published_data_with_a_damaged_manifest_are_left_alone(tmp_path):
    request = RunRequest("resnet", round="v4.0", data=tmp_path)
    root = data_folder(resolve(request))
    root.mkdir(parents=True)
    (root / "manifest.json").write_text("{")
    refused(request, r"manifest\.json is damaged")
    assert (root / "manifest.json").read_text() == "{"


def test_data_that_cannot_be_generated_say_how_to_get_them(tmp_path):
    error = refused(RunRequest("resnet", round="v4.0", data=tmp_path / "d"), "no prepared ImageNet")
    assert "laptime prepare resnet --round v4.0 --source FOLDER" in error.hint
    assert not (tmp_path / "d").exists()


def test_published_data_cannot_be_made_from_an_empty_folder(tmp_path):
    (tmp_path / "source").mkdir()
    with pytest.raises(DataProblem) as error:
        prepare(RunRequest("resnet", round="v4.0", data=tmp_path / "d"), Quiet(), source=tmp_path / "source")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("place", ["data", "data/standin", "data/standin/mini"])
def test_file_in_the_way_of_the_folder_is_one_line(request_, tmp_path, place):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a file")
    error = refused(request_, "cannot make the data in")
    assert "--data" in error.hint
    assert path.read_text() == "a file"


def test_folder_in_the_way_of_a_file_is_one_line(request_, tmp_path):
    (tmp_path / "data" / "standin" / "mini" / "numbers.bin").mkdir(parents=True)
    refused(request_, r"cannot make the data in .*numbers\.bin")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_folder_without_permission_is_one_line(request_, tmp_path):
    (tmp_path / "data").mkdir(mode=0o500)
    refused(request_, "cannot make the data in")


def test_other_data_folder_is_independent(request_, made, tmp_path):
    other = prepare(replace(request_, data=tmp_path / "other"), Quiet())
    assert other != made
    assert (other / "manifest.json").read_bytes() == (made / "manifest.json").read_bytes()
