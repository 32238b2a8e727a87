"""Samples in tar files, as the webdataset convention lays them out: members `KEY.EXTENSION` of one key stand together.

Read with the standard library; nothing is extracted to a path.
"""

import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from laptime.errors import DataProblem

AGAIN = "Download this file again."


@dataclass(frozen=True)
class TarSample:
    """`parts`: content by extension, such as "txt"."""

    key: str
    parts: Mapping[str, bytes]


def tar_samples(path: Path) -> Iterator[TarSample]:
    """The samples of one file in order. Raises DataProblem for what is missing, cut off or no tar file."""
    key, parts = "", dict[str, bytes]()
    for name, content in _members(path):
        found, _, extension = name.rpartition("/")[2].partition(".")
        if key and found != key:
            yield TarSample(key, parts)
            parts = {}
        key, parts = found, parts | {extension: content}
    if key:
        yield TarSample(key, parts)


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        _check_end(path)
        with tarfile.open(path, "r:") as file:
            for member in file:
                if member.isfile():
                    content = file.extractfile(member)
                    assert content is not None  # a regular file
                    yield member.name, content.read()
    except FileNotFoundError:
        raise DataProblem(f"expected samples at {path}, found no such file", hint="Download it.") from None
    except (OSError, tarfile.TarError, EOFError) as error:
        raise DataProblem(f"expected a tar file of samples at {path}, found a damaged one ({error})",
                          hint=AGAIN) from None


def _check_end(path: Path) -> None:
    """A tar file ends in two blocks of zeros; one that was cut off between members would read as a shorter one."""
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - 2 * tarfile.BLOCKSIZE))
        if size % tarfile.BLOCKSIZE or file.read() != bytes(2 * tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it has no end mark")


def write_tar(path: Path, samples: Iterable[TarSample]) -> int:
    """Write samples in this layout, the same bytes every time; returns their number."""
    count = 0
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as file:
        for sample in samples:
            for extension, content in sample.parts.items():
                member = tarfile.TarInfo(f"{sample.key}.{extension}")
                member.size = len(content)
                file.addfile(member, io.BytesIO(content))
            count += 1
    return count
