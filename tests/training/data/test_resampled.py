"""The stream over shards drawn with replacement."""

from collections import Counter
from itertools import islice

import numpy as np

from laptime.training.data.resampled import Resampled
from laptime.training.seeds import Seeds


def stream(counts, buffer, seed=1):
    return Resampled(counts, buffer, Seeds(seed).numpy("stream", 1))


def test_batches_have_the_asked_size_and_only_samples_that_exist():
    found = list(islice(stream([5, 3, 8], 4).batches(6), 50))
    assert {len(batch) for batch in found} == {6}
    assert set(np.concatenate(found).tolist()) == set(range(16))


def test_same_generator_gives_the_same_stream_and_another_seed_another():
    first, again, other = (next(stream([50, 50], 10, seed).batches(64)).tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_batch_size_does_not_change_the_stream():
    small = np.concatenate(list(islice(stream([50, 50], 10).batches(8), 8)))
    assert small.tolist() == next(stream([50, 50], 10).batches(64)).tolist()


def test_buffer_of_one_keeps_shards_whole():
    """Then the order of a shard stays, one sample late."""
    found = next(stream([4, 4, 4], 1).batches(40)).tolist()
    shards = [found[i:i + 4] for i in range(0, 40, 4)]
    assert all(shard == list(range(shard[0], shard[0] + 4)) and shard[0] % 4 == 0 for shard in shards)


def test_shards_come_equally_often():
    found = Counter((np.concatenate(list(islice(stream([10] * 4, 20).batches(100), 200))) // 10).tolist())
    assert all(abs(count - 5000) < 700 for count in found.values())
