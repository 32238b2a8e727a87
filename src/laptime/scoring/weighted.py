"""A weighted geometric mean of times over benchmarks, for a user who brings weights.

Process facts, section 5: no summary over benchmarks is endorsed, as no weights fit everybody; for private use the
weighted geometric mean is the one that does not depend on which system or unit the times are compared with.
"""

import math
from collections.abc import Mapping


def weighted_geometric_mean(values: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """exp of the weighted mean of the logarithms. ValueError where a weight has no positive value, or none is given."""
    total = math.fsum(weights.values())
    if not weights or not total > 0 or any(weight < 0 for weight in weights.values()):
        raise ValueError("expected weights of at least 0 with a positive sum")
    missing = [name for name, weight in weights.items() if weight and not values.get(name, 0) > 0]
    if missing:
        raise ValueError(f"no score for {', '.join(missing)}")
    return math.exp(math.fsum(weight * math.log(values[name]) for name, weight in weights.items() if weight) / total)
