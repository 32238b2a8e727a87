"""One id per feature turned into a bag of ids, as the published data were: the id itself, then fixed random ones.

Source: the suite's reference (torchrec_dlrm, multi_hot.py and materialize_synthetic_multihot_dataset.py). Feature
after feature, numpy's legacy generator with seed 0 draws a table of (ids, bag - 1) numbers below the number of ids;
that stream never changes, so the expansion is the same everywhere.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

SEED = 0  # of the reference

Ids = NDArray[np.int32]


def bag_tables(rows: Sequence[int], bags: Sequence[int]) -> Iterator[Ids]:
    """For each feature the bag of every id, (rows, bag) int32; column 0 is the id itself."""
    stream = np.random.RandomState(SEED)
    for ids, bag in zip(rows, bags, strict=True):
        others = stream.randint(0, ids, size=(ids, bag - 1), dtype=np.int64)
        yield np.concatenate([np.arange(ids, dtype=np.int32)[:, None], others.astype(np.int32)], axis=1)
