"""Bucketed epochs: every sample at most once, whole batches, similar lengths together."""

import numpy as np
import pytest

from laptime.training.data.buckets import bucketed_order
from laptime.training.seeds import Seeds

LENGTHS = np.random.Generator(np.random.Philox(1)).integers(1, 10_000, 103)


def order(buckets, epoch=1, seed=1):
    return bucketed_order(Seeds(seed), epoch, LENGTHS, buckets=buckets, global_batch_size=10)


@pytest.mark.parametrize("buckets", [1, 3, 6])
def test_epoch_has_whole_batches_of_different_samples(buckets):
    found = order(buckets)
    assert found.shape == (10, 10)
    assert len(set(found.reshape(-1).tolist())) == 100


def test_samples_left_out_differ_between_epochs():
    left = [set(range(103)) - set(order(2, epoch).reshape(-1).tolist()) for epoch in range(1, 9)]
    assert all(len(one) == 3 for one in left)
    assert len(set().union(*left)) > 10


def test_batches_of_buckets_hold_similar_lengths_in_random_order():
    spread = {buckets: np.ptp(LENGTHS[order(buckets)], axis=1).mean() for buckets in (1, 10)}
    assert spread[10] < 0.4 * spread[1]
    means = LENGTHS[order(10)].mean(1)
    assert (np.diff(means) < 0).any()
    assert (np.diff(means) > 0).any()


def test_order_depends_on_seed_and_epoch_only():
    assert np.array_equal(order(3), order(3))
    assert not np.array_equal(order(3), order(3, epoch=2))
    assert not np.array_equal(order(3), order(3, seed=2))
