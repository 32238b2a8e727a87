"""One set at a time in a folder: a lock that the system drops when its holder dies, however that happens."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from laptime.errors import UserError

LOCK_FILE = "set.lock"
NO_LOCKS_HERE = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS}  # some network folders


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold `folder` during the block; the file that stands for it is gone afterwards.

    Raises UserError when somebody else holds it, OSError when the file cannot be made.
    """
    path = folder / LOCK_FILE
    descriptor = _locked(path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # still locked, so it is nobody else's
        os.close(descriptor)


def _locked(path: Path) -> int:
    """A descriptor of the locked file. One that its holder removed in between is no lock: then again."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(descriptor, path)
            if _is(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"another laptime run works in this folder: {path.parent}",
                        hint="Wait until it has ended, or choose another --out.") from None
    except OSError as problem:
        if problem.errno not in NO_LOCKS_HERE:
            raise


def _is(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
