"""Since which round the results of a benchmark may be compared with those of a round.

Messaging guidelines (process facts, section 6): only results of the same benchmark version are compared. Two rounds
have the same version when target, model and the start of the clock are the same (notes on the compatibility table,
rounds notes, row 16: it follows what it says of v0.6 and v0.7).
"""

import re
from collections.abc import Mapping, Sequence

from laptime.config import SuitePath
from laptime.rules.load import identities, load_round, round_names
from laptime.rules.model import BenchmarkRules, Interval, Round

BUILT_IN = SuitePath()
_Version = tuple[object, ...]
_SIZE = re.compile(r"\b[\d.]+ ?[GT]B\b")
_PERCENT = 100  # some rounds write a target in points, others as a share


def comparable_since(round_: Round, folder: str, suite: SuitePath = BUILT_IN) -> str:
    """The first round of the unbroken line of rounds with the same version of a benchmark that ends with `round_`."""
    since = round_.name
    version = _version(round_, round_.benchmarks[folder])
    for name in reversed(_earlier(round_, folder, suite)):
        other = load_round(name, suite)
        if folder not in other.benchmarks or _version(other, other.benchmarks[folder]) != version:
            break
        since = name
    return since


def _earlier(round_: Round, folder: str, suite: SuitePath) -> Sequence[str]:
    """The official rounds before an official round in which the benchmark appears."""
    if round_.kind != "official":
        return ()
    names = round_names()
    held = next((one.rounds for one in identities(suite) if one.folder == folder), ())
    return [name for name in held if names.index(name) < names.index(round_.name)]


def _version(round_: Round, rules: BenchmarkRules) -> _Version:
    return round_.clock, rules.model, _dataset(rules.dataset), tuple(sorted(_scaled(rules.target).items()))


def _dataset(text: str) -> str:
    """Name of a data set without its size, which was written differently for the same files."""
    return _SIZE.sub("", text)


def _scaled(target: Mapping[str, Interval]) -> dict[str, tuple[float | None, float | None]]:
    return {metric: (_share(range_.low), _share(range_.high)) for metric, range_ in target.items()}


def _share(bound: float | None) -> float | None:
    """A bound in points as a share."""
    return bound if bound is None or bound <= 1 else round(bound / _PERCENT, 12)
