"""Which runs of a set make the score: all, the first that converge, or a window of consecutive runs.

Timing facts, section 6: of more runs than asked, every window of consecutive runs in order of launch is scored and the
one with the median score counts, so that more runs cannot be used to pick the best. Invalid windows count as infinite.
"""

import math
from collections.abc import Sequence

from laptime.scoring.olympic import olympic_mean


def set_score(values: Sequence[float], drop: int, max_failures: int) -> float:
    """Olympic mean of a set of runs (inf: did not converge); inf where too many failed or too few were made."""
    if len(values) <= 2 * drop or sum(map(math.isinf, values)) > max_failures:
        return math.inf
    return olympic_mean(values, drop)


def first_converged(values: Sequence[float], wanted: int) -> tuple[int, ...]:
    """Places of the first `wanted` finite values, in the given order; fewer where there are fewer."""
    return tuple(place for place, value in enumerate(values) if math.isfinite(value))[:wanted]


def median_window(values: Sequence[float], launched: Sequence[float], *, size: int, drop: int,
                  max_failures: int) -> tuple[int, ...]:
    """Places of the window of `size` consecutive runs, by `launched`, whose score is the median of all windows.

    Of an even number of windows the slower of the two in the middle counts: the rules do not say, and it is the choice
    that nobody gains by. ValueError for fewer runs than `size`.
    """
    if len(values) < size:
        raise ValueError(f"expected at least {size} runs for a window, found {len(values)}")
    order = sorted(range(len(values)), key=lambda place: (launched[place], place))
    windows = [tuple(order[first: first + size]) for first in range(len(order) - size + 1)]
    scored = sorted(windows, key=lambda window: set_score([values[place] for place in window], drop, max_failures))
    return tuple(sorted(scored[len(scored) // 2]))
