"""Judging measured: rows of a small round, of an archive of it, and what is said where something is missing."""

import tarfile

import pytest
from good_logs import good_records, kinds, write_log

from laptime.bench import judging
from laptime.errors import UserError


@pytest.fixture(scope="module")
def round_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rounds") / "v4.0"
    kind = next(kind for kind in kinds("v4.0") if kind.folder == "resnet" and kind.division == "closed")
    for box in range(3):
        for run in range(5):
            path = folder / f"acme/results/box{box}/resnet/result_{run}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_log(path, good_records(kind), "v4.0")
    return folder


def silent(_):
    pass


def by_what(rows):
    return {(row.what, row.unit): row for row in rows}


@pytest.mark.seconds
def test_a_round_is_measured_beside_the_official_checker(round_folder, monkeypatch):
    monkeypatch.setattr(judging, "SAMPLED", 1)
    monkeypatch.setattr(judging, "TURNS", 2)
    rows = by_what(judging.measure((round_folder,), quick=False, tell=silent))
    assert rows["check and score v4.0", "logs/s"].details["logs"] == 15
    assert rows["official compliance check of v4.0", "logs/s"].value > 0
    ours, theirs = (rows[what, "logs/s"].value for what in ("check and score v4.0", "official compliance check of v4.0"))
    assert rows["ours / official on v4.0", "x"].value == pytest.approx(ours / theirs, rel=0.5)
    assert 5 < rows["check and score v4.0, peak memory", "MiB"].value < 150
    assert rows["official summarizer on v4.0", "logs/s"].note == "15 logs of acme"


@pytest.mark.seconds
def test_an_archive_is_unpacked_and_a_missing_checker_is_told(round_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(judging, "find_spec", lambda _: None)
    with tarfile.open(tmp_path / "v4.0.tar.xz", "w:xz") as archive:
        archive.add(round_folder, "v4.0")
    rows = by_what(judging.measure((tmp_path / "v4.0.tar.xz",), quick=True, tell=silent))
    assert rows["check and score v4.0", "CPU s"].value > 0
    assert "not installed" in rows["official compliance check of v4.0", "logs/s"].note


def test_without_a_round_the_row_says_how_to_name_one():
    (row,) = judging.measure((), quick=True, tell=silent)
    assert (row.value, "--rounds" in row.note) == (None, True)


def test_what_is_no_round_is_refused(tmp_path):
    (tmp_path / "v4.0.tar").write_text("no archive")
    with pytest.raises(UserError, match="cannot unpack"):
        list(judging.measure((tmp_path / "v4.0.tar",), quick=True, tell=silent))
    with pytest.raises(UserError, match="named like its round"):
        list(judging.measure((tmp_path,), quick=True, tell=silent))
