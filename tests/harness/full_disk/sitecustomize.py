"""On the path of a worker: its log goes to a device without room, as on a full disk."""

from pathlib import Path

_open = Path.open


def _full(self, mode="r", *args, **kwargs):
    if self.name.startswith("running_"):
        return _open(Path("/dev/full"), "wb", *args, **kwargs)
    return _open(self, mode, *args, **kwargs)


Path.open = _full
