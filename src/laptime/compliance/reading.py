"""Small files of others as bytes: bounded, never through a link, never from a pipe or a device."""

import os
import stat
from pathlib import Path

LARGEST_BYTES = 1 << 20  # descriptions and parameter files are some kilobytes


def content(path: Path, largest: int = LARGEST_BYTES) -> bytes:
    """The file's bytes. ValueError says in words what is there instead of a file of at most `largest` bytes."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise ValueError("a link" if path.is_symlink() else "something else than a file")
        with path.open("rb") as file:
            found = file.read(largest + 1)
    except FileNotFoundError:
        raise ValueError("no file") from None
    except OSError as problem:
        raise ValueError(f"a file that cannot be read ({problem.strerror})") from None
    if len(found) > largest:
        raise ValueError(f"more than {largest} bytes")
    return found


def text(path: Path, largest: int = LARGEST_BYTES) -> str:
    """The file's text; signs that are not UTF-8 are replaced. ValueError as `content`."""
    return content(path, largest).decode(errors="replace")


def holds_files(folder: Path) -> bool:
    """Whether there is any file at or below `folder`; False also where it is a link or cannot be read."""
    return not folder.is_symlink() and any(names for _, _, names in os.walk(folder))
