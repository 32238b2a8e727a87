"""Tar files of samples: what is written is read, and what is damaged is named."""

import pytest

from laptime.errors import DataProblem
from laptime.training.data.tar_shards import TarSample, tar_samples, write_tar

SAMPLES = [TarSample(f"{i:05d}", {"npy": bytes([i]) * 700, "txt": f"caption {i}".encode(), "json": b"{}"}) for i in range(4)]


@pytest.fixture
def path(tmp_path):
    write_tar(tmp_path / "00000.tar", SAMPLES)
    return tmp_path / "00000.tar"


def test_samples_are_read_as_they_were_written(path):
    assert list(tar_samples(path)) == SAMPLES


def test_same_samples_make_the_same_bytes(path, tmp_path):
    assert write_tar(tmp_path / "again.tar", SAMPLES) == 4
    assert (tmp_path / "again.tar").read_bytes() == path.read_bytes()


def test_tar_program_s_files_are_read(tmp_path):
    import subprocess

    for sample in SAMPLES[:2]:
        for extension, content in sample.parts.items():
            (tmp_path / f"{sample.key}.{extension}").write_bytes(content)
    names = [f"{s.key}.{e}" for s in SAMPLES[:2] for e in s.parts]
    subprocess.run(["tar", "-cf", "made.tar", *names], cwd=tmp_path, check=True)
    assert list(tar_samples(tmp_path / "made.tar")) == SAMPLES[:2]


@pytest.mark.parametrize("kept", [100, 512, 1700, 4096])
def test_file_that_was_cut_off_is_refused(path, kept):
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataProblem, match=r"00000\.tar, found a damaged one"):
        list(tar_samples(path))


def test_file_that_is_no_tar_is_refused(path):
    path.write_bytes(b"no tar file at all".ljust(512) + bytes(1024))
    with pytest.raises(DataProblem, match="found a damaged one"):
        list(tar_samples(path))


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DataProblem, match=r"gone\.tar, found no such file"):
        list(tar_samples(tmp_path / "gone.tar"))
