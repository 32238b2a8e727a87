"""Packed sequences: bounds, positions, groups of equal length."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from laptime.training.data.packing import Group, Packing, by_length

LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=12)


def test_bounds_positions_and_groups_of_a_small_packing():
    packing = Packing((2, 2, 3))
    assert packing.bounds.tolist() == [0, 2, 4, 7]
    assert packing.positions.tolist() == [0, 1, 0, 1, 0, 1, 2]
    assert packing.groups == (Group(2, 2), Group(1, 3))
    assert packing.tokens == 7


@given(LENGTHS)
def test_groups_cover_every_token_in_order(lengths):
    packing = Packing(tuple(lengths))
    assert [group.length for group in packing.groups for _ in range(group.count)] == lengths
    assert sum(group.tokens for group in packing.groups) == packing.tokens == packing.bounds[-1]
    assert all(one.length != other.length for one, other in zip(packing.groups, packing.groups[1:], strict=False))


@given(LENGTHS)
def test_sorted_sequences_make_one_group_per_length(lengths):
    order = by_length(np.array(lengths))
    ordered = tuple(lengths[i] for i in order)
    assert len(Packing(ordered).groups) == len(set(lengths))
    assert sorted(order.tolist()) == list(range(len(lengths)))
