"""Archives of results, unpacked safely: what the store reads of them, into a folder of their own, within bounds.

Archives are anybody's. A member that would lie outside the folder refuses the whole archive; links and devices are
never made. Files that are not read are made without content, in their size, so that the tree can be judged.
"""

import os
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Final

from laptime.errors import UserError
from laptime.rules.load import round_names

MOST_BYTES: Final = 64 * 2**30  # of all members, unpacked; the largest published round has 0.7 GiB of logs
MOST_MEMBERS: Final = 2_000_000
_MOST_EMPTY: Final = 200_000  # files without content
_LARGEST_EMPTY: Final = 2**26  # bytes; sparse, and above what any check allows
_LONGEST: Final = 1000  # characters of a member's name
_WANTED: Final = re.compile(r"result_.*\.txt|.*\.json|package_checker_params|(?:node|sw)_\d+\.txt")
_ARCHIVE: Final = re.compile(r"(.*)\.(?:tar(?:\.(?:gz|xz|bz2))?|tgz|txz|tbz2)", re.IGNORECASE)
_ROUND: Final = re.compile(r"(?:training_results_)?(v\d+\.\d+)(?![\d]).*", re.IGNORECASE)


def is_archive(path: Path) -> bool:
    """By its name."""
    return _ARCHIVE.fullmatch(path.name) is not None


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """A folder with what the store reads of the archive at `path`, gone afterwards. Raises UserError."""
    with TemporaryDirectory(prefix="laptime-ingest-") as place:
        inside = Path(place, "archive")
        inside.mkdir()
        try:
            _unpack(path, inside)
            yield _named(path, inside)
        except (tarfile.TarError, EOFError, OSError, ValueError) as problem:
            raise UserError(f"cannot unpack {path}: {getattr(problem, 'strerror', None) or problem}",
                            hint="Expected a tar archive (.tar, .tar.gz, .tar.xz, .tar.bz2) that is whole, and room "
                                 "in the folder for temporary files.") from None


def _unpack(path: Path, inside: Path) -> None:
    size = empty = 0
    with tarfile.open(path) as archive:
        for count, member in enumerate(archive, 1):
            size += member.size
            if size > MOST_BYTES or count > MOST_MEMBERS:
                raise UserError(f"expected an archive of at most {MOST_BYTES // 2**30} GiB and {MOST_MEMBERS} files, "
                                f"found more in {path}", hint="Unpack it yourself and give the folder.")
            _check(member, path)
            if member.isreg() and _WANTED.fullmatch(PurePosixPath(member.name).name):
                archive.extract(member, inside, set_attrs=False, filter="data")
            elif member.isreg() and empty < _MOST_EMPTY:
                empty += 1
                _without_content(inside / member.name, member.size)
            archive.members = []  # type: ignore[attr-defined]  # else it keeps a record of every one


def _without_content(path: Path, size: int) -> None:
    """A sparse file; none where the name cannot be one here."""
    with suppress(OSError, ValueError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            os.truncate(file.fileno(), min(size, _LARGEST_EMPTY))


def _check(member: tarfile.TarInfo, path: Path) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\0" in member.name or len(member.name) > _LONGEST:
        raise UserError(f"expected members that lie inside {path}, found '{member.name[:100]}'",
                        hint="Do not unpack this archive: it would write elsewhere.")


def _named(path: Path, inside: Path) -> Path:
    """The folder inside, under a name that tells the round where the archive's or its only folder's does."""
    names = [entry.name for entry in inside.iterdir()]
    top = inside / names[0] if len(names) == 1 and (inside / names[0]).is_dir() else None
    stem = _ARCHIVE.fullmatch(path.name)
    for folder, name in ((top, top.name if top else ""), (inside, stem[1] if stem else "")):
        match = _ROUND.fullmatch(name)
        if folder is not None and match and match[1].lower() in round_names():
            return folder.rename(inside.parent / match[1].lower())
    return inside
