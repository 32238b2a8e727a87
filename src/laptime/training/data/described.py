"""Is a data set the one that a configuration describes? Asked before a run, from its manifest alone."""

from collections.abc import Iterable
from typing import NamedTuple

from laptime.config import Json
from laptime.errors import DataProblem
from laptime.training.data.store import Manifest

GENERATED = "-generated"  # end of the name of a data set that was drawn
REMAKE = "Make the data for this configuration with `laptime prepare --force`."


class Count(NamedTuple):
    """What a setting expects, and what the manifest says."""

    setting: str
    expected: float
    found: Json


def check_described(manifest: Manifest, counts: Iterable[Count], recipe: str) -> None:
    """Raises DataProblem where a count differs, or where generated data were made by another recipe."""
    for setting, expected, found in counts:
        if expected != found:
            raise DataProblem(f"expected {setting}={expected} by the configuration, found {found} in '{manifest.name}'",
                              hint=REMAKE)
    if manifest.name.endswith(GENERATED) and manifest.generator != recipe:
        raise DataProblem(f"expected data made by '{recipe}', found '{manifest.generator}'", hint=REMAKE)
