"""Epochs in global batches of similar length: sort, cut into equal buckets, shuffle each, shuffle the batches."""

import numpy as np
from numpy.typing import NDArray

from laptime.training.data.sampler import Indices
from laptime.training.seeds import Seeds


def bucketed_order(seeds: Seeds, epoch: int, lengths: NDArray[np.integer], *, buckets: int,
                   global_batch_size: int) -> Indices:
    """Samples of an epoch in whole global batches, (batches, global_batch_size); each at most once.

    Samples are sorted by length and split into `buckets` equal parts, each part is permuted, random samples are left
    out until whole batches remain, and the batches are shuffled. One bucket is a plain shuffle.
    """
    generator = seeds.numpy("shuffle", epoch)
    parts = np.array_split(np.argsort(lengths, kind="stable"), buckets)
    order = np.concatenate([generator.permutation(part) for part in parts])
    left_out = generator.choice(len(order), len(order) % global_batch_size, replace=False)
    batches = np.delete(order, left_out).reshape(-1, global_batch_size)
    shuffled: Indices = batches[generator.permutation(len(batches))]
    return shuffled
