"""The C compiler that torch.compile needs. Free of torch, so that it can be asked before anything else is there."""

import shutil

NAMES = ("cc", "gcc", "clang", "cl")


def compiler() -> str | None:
    """Where a C compiler stands on the path, None: nowhere."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)
