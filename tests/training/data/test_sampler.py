import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laptime.errors import InvalidConfiguration
from laptime.training.data.sampler import Draws, Spread, epoch_order, rank_slice, scrambled
from laptime.training.seeds import Seeds

layouts = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 5))  # ranks, accumulation, micro-batch


def test_scrambled_is_splitmix64():
    # first outputs of splitmix64 seeded with 0 and 1, computed with unbounded integers
    def plain(x):
        mask = (1 << 64) - 1
        z = (x + 0x9E3779B97F4A7C15) & mask
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    values = [0, 1, 2**63, 2**64 - 1]
    assert scrambled(np.array(values, np.uint64)).tolist() == [plain(v) for v in values]
    assert plain(0) == 0xE220A8397B1DCDAF  # the published first output of seed 0


def test_draws_depend_on_key_sample_and_draw_only():
    draws = Draws.of(Seeds(3), "augment", 5)
    together = draws.uniform(np.arange(100), 7)
    assert together[42] == draws.uniform(np.array([42]), 7)[0]
    for other in (Draws.of(Seeds(4), "augment", 5), Draws.of(Seeds(3), "augment", 6)):
        assert not np.any(other.uniform(np.arange(100), 7) == together)
    assert not np.any(draws.uniform(np.arange(100), 8) == together)


def test_draws_are_uniform_and_uncorrelated_between_draws():
    draws = Draws(99)
    values = np.stack([draws.uniform(np.arange(20000), draw) for draw in range(4)])
    assert values.min() >= 0
    assert values.max() < 1
    assert np.abs(values.mean(1) - 0.5).max() < 0.01
    assert np.abs(np.histogram(values, 10, (0, 1))[0] / values.size - 0.1).max() < 0.005
    assert np.abs(np.corrcoef(values) - np.eye(4)).max() < 0.03


def test_below_stays_below_its_bound():
    bound = np.array([0, 1, 2, 3, 1000] * 200)
    drawn = Draws(1).below(np.arange(len(bound)), 0, bound)
    assert np.all((drawn >= 0) & (drawn <= np.maximum(bound - 1, 0)))
    assert set(drawn[bound == 3]) == {0, 1, 2}


@given(layouts, st.integers(0, 70), st.integers(1, 3))
def test_every_layout_sees_the_same_samples_in_the_same_step(layout, count, epoch):
    ranks, accumulation, micro = layout
    batch = ranks * accumulation * micro
    order = epoch_order(Seeds(11), epoch, count)
    single = [step[0] for step in Spread(batch, 1, 0, 1).steps(order)]
    spread = [list(Spread(batch, ranks, rank, accumulation).steps(order)) for rank in range(ranks)]
    assert all(len(steps) == len(single) == count // batch for steps in spread)
    for number, expected in enumerate(single):
        seen = np.concatenate([spread[rank][number][part] for part in range(accumulation) for rank in range(ranks)])
        assert seen.tolist() == expected.tolist()
    everything = np.concatenate([*single, np.zeros(0, np.int64)])
    assert len(set(everything.tolist())) == len(everything) == count // batch * batch


def test_epoch_order_is_a_permutation_that_changes_with_seed_and_epoch():
    one = epoch_order(Seeds(1), 1, 500)
    assert sorted(one.tolist()) == list(range(500))
    assert one.tolist() == epoch_order(Seeds(1), 1, 500).tolist()
    assert one.tolist() != epoch_order(Seeds(1), 2, 500).tolist()
    assert one.tolist() != epoch_order(Seeds(2), 1, 500).tolist()


@given(st.integers(0, 50), st.integers(1, 7))
def test_rank_slices_cover_everything_once(count, ranks):
    parts = [rank_slice(count, ranks, rank) for rank in range(ranks)]
    assert np.concatenate(parts).tolist() == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(("batch", "ranks", "accumulation"), [(6, 4, 1), (6, 1, 4), (0, 1, 1), (4, 1, 0)])
def test_spread_refuses_a_batch_that_does_not_divide(batch, ranks, accumulation):
    with pytest.raises(InvalidConfiguration, match=f"found {batch}"):
        Spread(batch, ranks, 0, accumulation)
