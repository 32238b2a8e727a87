"""scaling.json: the factor that a submission carries beside its logs (facts on reference points, section 7).

The file may be anybody's: whatever it holds leads to a finding, never to an exception.
"""

import json
import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from laptime.compliance.finding import Finding, shown
from laptime.compliance.run import catalogued
from laptime.layout import ResultFolder
from laptime.scoring.rcp import RcpDecision

NAME = "scaling.json"
LARGEST_BYTES = 65536
SAME_FACTOR = 1e-6  # relative


def published_factor(found: ResultFolder) -> tuple[float | None, tuple[Finding, ...]]:
    """The factor in the scaling file beside the logs (None: no such file, or not to be used), and what is wrong."""
    path = found.path / NAME
    if not os.path.lexists(path):
        return None, ()
    try:
        return _factor(_content(path)), ()
    except ValueError as problem:
        return None, (catalogued("scaling-file", f"expected a number scaling_factor of at least 1, found {problem}",
                                 path, severity="warning"),)


def check_factor(found: ResultFolder, factor: float | None, decision: RcpDecision) -> Iterator[Finding]:
    """The published factor is the one that the convergence check gives."""
    if factor is None or not decision.passed or decision.minimum_mean is None:
        return
    if not math.isclose(factor, decision.factor, rel_tol=SAME_FACTOR):
        yield catalogued("scaling-differs", f"the file says factor {factor:.10g}, the convergence check gives "
                                            f"{decision.factor:.10g}; the file counts", found.path / NAME,
                         severity="note")


def _content(path: Path) -> bytes:
    """The file's bytes. ValueError says what is there instead."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise ValueError("a link" if path.is_symlink() else "something else than a file")
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except OSError as problem:
        raise ValueError(f"a file that cannot be read ({problem.strerror})") from None
    if len(content) > LARGEST_BYTES:
        raise ValueError(f"more than {LARGEST_BYTES} bytes")
    return content


def _factor(content: bytes) -> float:
    """The factor. ValueError says what is there instead."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError("text that is not JSON") from None
    if not isinstance(data, dict) or "scaling_factor" not in data:
        raise ValueError("none")
    value = data["scaling_factor"]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(shown(value))
    try:
        factor = float(value)
    except OverflowError:  # an integer beyond any float
        raise ValueError(shown(value)) from None
    if not 1 <= factor < math.inf:
        raise ValueError(shown(value))
    return factor
