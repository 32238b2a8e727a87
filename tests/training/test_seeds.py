"""Seeds by purpose: independent of each other, equal on every machine and in every process."""

import itertools

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from laptime.training.seeds import Seeds

PURPOSES = ["init", "shuffle", "augment", "dropout"]
GOLDEN = [1085637419451919539, 9068321097627586960, 4396028360602448417]


def test_numbers_never_change_from_one_version_to_the_next():
    # golden: a change of these makes every calibrated round and every logged seed mean something else
    assert [Seeds(0).number("init"), Seeds(7).number("shuffle", 1), Seeds(2**63 - 1).number("augment", 3, 4)] == GOLDEN


def test_numbers_differ_by_run_purpose_and_indices():
    keys = [(run, purpose, indices) for run in range(5) for purpose in PURPOSES
            for indices in [(), *itertools.product(range(4)), *itertools.product(range(4), repeat=2)]]
    assert len({Seeds(run).number(purpose, *indices) for run, purpose, indices in keys}) == len(keys)


@given(st.integers(0, 2**63 - 1), st.sampled_from(PURPOSES), st.lists(st.integers(0, 10**9), max_size=3))
def test_numbers_fit_into_63_bits(run, purpose, indices):
    assert 0 <= Seeds(run).number(purpose, *indices) < 2**63


def test_indices_are_not_run_together():
    assert Seeds(1).number("a", 12, 3) != Seeds(1).number("a", 1, 23)
    assert Seeds(1).number("a", 1) != Seeds(11).number("a")


def test_torch_generators_of_one_purpose_agree_and_those_of_two_do_not():
    seeds = Seeds(5)
    draws = [torch.rand(4, generator=seeds.torch(*key)).tolist() for key in [("init",), ("init",), ("shuffle",), ("init", 1)]]
    assert draws[0] == draws[1]
    assert len({tuple(draw) for draw in draws}) == 3


def test_numpy_generators_of_one_purpose_agree_and_those_of_two_do_not():
    seeds = Seeds(5)
    draws = [tuple(seeds.numpy(*key).random(4)) for key in [("init",), ("init",), ("shuffle",), ("init", 1)]]
    assert draws[0] == draws[1]
    assert len(set(draws)) == 3


def test_drawing_from_one_generator_leaves_the_others_and_the_global_ones_alone():
    before_torch, before_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    used = Seeds(5).torch("init")
    torch.rand(100, generator=used)
    assert torch.equal(Seeds(5).torch("init").get_state(), Seeds(5).torch("init").get_state())
    assert not torch.equal(used.get_state(), Seeds(5).torch("init").get_state())
    assert torch.equal(torch.get_rng_state(), before_torch)
    assert (np.random.get_state()[1] == before_numpy).all()  # noqa: NPY002
