"""Archives: unpacked within their folder and within bounds, or refused."""

import io
import tarfile
from pathlib import Path

import pytest
from stores import store_of, write_round

from laptime.errors import UserError
from laptime.results import archive, store
from laptime.results.archive import is_archive, unpacked
from laptime.results.ingest import ingest


def packed(path, members, mode="w"):
    """A tar file of (name, content or a TarInfo)."""
    with tarfile.open(path, mode) as file:
        for name, content in members:
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if not isinstance(content, tarfile.TarInfo):
                info.size = len(content)
            file.addfile(info, None if isinstance(content, tarfile.TarInfo) else io.BytesIO(content))
    return path


def special(name, kind, target="/etc/passwd"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return name, info


@pytest.mark.parametrize("name", ["training_results_v4.0.tar.gz", "v4.0.tar.xz", "v4.0.tar"])
@pytest.mark.parametrize("top", ["v4.0", "training_results_v4.0-main", "."])
def test_archive_gives_the_store_of_its_folder(tmp_path, name, top):
    folder = write_round(tmp_path)
    path = tmp_path / name
    with tarfile.open(path, f"w:{name.rpartition('.')[2]}" if "tar." in name else "w") as file:
        file.add(folder, top)
    fresh = tmp_path / "fresh.sqlite"
    ingest([path], fresh, processes=1)
    with store.reading(fresh) as one, store.reading(store_of(tmp_path, folder)) as other:
        assert store.content_hash(one) == store.content_hash(other)


@pytest.mark.parametrize("name", ["../result_0.txt", "/tmp/result_0.txt", "a/../../result_0.txt", "a/" * 600 + "result_0.txt"])
def test_member_that_leaves_the_folder_refuses_the_archive(tmp_path, name):
    path = packed(tmp_path / "a.tar", [("results/box/resnet/result_0.txt", b"x"), (name, b"x")])
    with pytest.raises(UserError, match="inside"), unpacked(path):
        pass


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_never_made(tmp_path, kind):
    path = packed(tmp_path / "a.tar", [special("results/box/resnet/result_0.txt", kind), ("results/box/resnet/result_1.txt", b"x")])
    with unpacked(path) as folder:
        assert [found.name for found in folder.rglob("*") if not found.is_dir()] == ["result_1.txt"]


def test_member_below_a_link_is_not_written_through_it(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    path = packed(tmp_path / "a.tar", [special("results", tarfile.SYMTYPE, str(outside)), ("results/result_0.txt", b"x")])
    with unpacked(path):
        assert not list(outside.iterdir())


def test_what_the_store_does_not_read_is_there_without_content(tmp_path):
    names = ["a/results/b/c/result_0.txt", "a/systems/b.json", "a/benchmarks/c/train.py", "a/results/b/c/power/result_0/node_0.txt"]
    with unpacked(packed(tmp_path / "x.tar", [(name, b"x" * 3) for name in names])) as folder:
        found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == {name: b"\0\0\0" if name.endswith(".py") else b"xxx" for name in names}


def test_files_without_content_are_few_and_not_large(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "_MOST_EMPTY", 2)
    monkeypatch.setattr(archive, "_LARGEST_EMPTY", 5)
    with unpacked(packed(tmp_path / "x.tar", [(f"a/{name}.py", b"x" * 9) for name in "bcde"])) as folder:
        assert sorted(path.stat().st_size for path in folder.rglob("*") if path.is_file()) == [5, 5]


def test_too_large_an_archive_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MOST_BYTES", 10)
    with pytest.raises(UserError, match="at most"), unpacked(packed(tmp_path / "a.tar", [("code.py", b"x" * 11)])):
        pass


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MOST_MEMBERS", 2)
    with pytest.raises(UserError, match="at most"), unpacked(packed(tmp_path / "a.tar", [(f"{n}.py", b"") for n in range(3)])):
        pass


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b\x08broken"])
def test_damaged_archive_is_an_error_of_one_line(tmp_path, content):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot unpack"), unpacked(path):
        pass


def test_nothing_is_left_of_an_archive(tmp_path):
    with unpacked(packed(tmp_path / "a.tar", [("result_0.txt", b"x")])) as folder:
        held = folder
    assert not held.parent.exists()


def test_errors_of_the_user_inside_pass_through(tmp_path):
    with pytest.raises(ZeroDivisionError), unpacked(packed(tmp_path / "a.tar", [("result_0.txt", b"x")])):
        raise ZeroDivisionError


@pytest.mark.parametrize(("name", "yes"), [("a.tar", True), ("a.tar.xz", True), ("a.TGZ", True), ("a.zip", False), ("tar", False)])
def test_archives_are_told_by_name(name, yes):
    assert is_archive(Path(name)) is yes
