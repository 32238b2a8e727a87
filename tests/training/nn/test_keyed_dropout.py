"""Dropout by keys: right share, right scale, a function of keys and place, independent enough."""

import numpy as np
import pytest
import torch

from laptime.training.nn.keyed_dropout import KeyedAttentionDropout, KeyedDropout, constants, dropped, factors


def keys(count, seed=1):
    draw = np.random.Generator(np.random.Philox(seed))
    return torch.from_numpy(draw.integers(-2**31, 2**31, count).astype(np.int32))


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_share_and_scale(probability):
    layer = KeyedDropout(256, probability, "here")
    y = layer(torch.ones(2000, 256), keys(2000))
    assert (y == 0).float().mean().item() == pytest.approx(probability, abs=0.003)
    assert y.mean().item() == pytest.approx(1.0, abs=0.02)
    assert y.unique().tolist() == pytest.approx([0.0, 1 / (1 - probability)])


def test_neighbouring_rows_and_columns_are_dropped_independently():
    kept = KeyedDropout(256, 0.5, "here")(torch.ones(2000, 256), torch.arange(2000, dtype=torch.int32)) > 0
    for shift in ((1, 0), (0, 1), (7, 3)):
        agree = (kept == kept.roll(shift, (0, 1))).float().mean().item()
        assert agree == pytest.approx(0.5, abs=0.01), shift


def test_places_differ_and_repeat():
    x, row = torch.ones(50, 64), keys(50)
    one, same, other = (KeyedDropout(64, 0.5, place)(x, row) for place in ("1o", "1o", "1f"))
    assert torch.equal(one, same)
    assert 0.4 < (one == other).float().mean().item() < 0.6


def test_rows_are_dropped_by_their_own_key_only():
    layer, row = KeyedDropout(32, 0.5, "here"), keys(10)
    whole = layer(torch.ones(10, 32), row)
    assert torch.equal(layer(torch.ones(3, 32), row[4:7]), whole[4:7])


def test_attention_weights_are_dropped_by_the_query_s_key():
    layer, row = KeyedAttentionDropout(2, 16, 0.5, "0a"), keys(24).view(3, 8)
    y = layer(torch.ones(3, 2, 8, 8), row)
    assert y.shape == (3, 2, 8, 8)
    assert torch.equal(layer(torch.ones(1, 2, 8, 8), row[1:2]), y[1:2])
    assert not torch.equal(y[:, 0], y[:, 1])
    assert (y == 0).float().mean().item() == pytest.approx(0.5, abs=0.1)


def test_nothing_is_dropped_in_evaluation_or_at_probability_zero():
    x = torch.randn(5, 8)
    assert KeyedDropout(8, 0.5, "here").eval()(x, keys(5)) is x
    assert KeyedDropout(8, 0.0, "here")(x, keys(5)) is x
    assert KeyedAttentionDropout(1, 8, 0.5, "here").eval()(x, keys(5)) is x


def test_gradient_flows_through_what_is_kept():
    x = torch.ones(4, 16, requires_grad=True)
    y = dropped(x, keys(64).view(4, 16).clone(), 0.25)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_constants_are_the_same_everywhere():
    assert constants("embed", 3).tolist() == [1005601769, 1671420858, -1760258837]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_factors_are_the_hash_compared_with_the_probability(dtype):
    """In Python's whole numbers, where nothing overflows; arithmetic shift as in two's complement."""
    def wrapped(number):
        return (number + 2**31) % 2**32 - 2**31

    bits = keys(500)
    expected = []
    for number in bits.tolist():
        mixed = wrapped(number * 0x7FEB352D)
        mixed = wrapped((mixed ^ (mixed >> 15)) * 0x1B56C4E9)
        expected.append(0.0 if (mixed + 2**31) < int(0.1 * 2**32) else 1 / 0.9)
    assert torch.equal(factors(bits.clone(), 0.1, dtype), torch.tensor(expected, dtype=dtype))
