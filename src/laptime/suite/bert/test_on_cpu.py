"""The CPU's own attention and GELU against the plain formulas: values, gradients, and what is dropped."""

import math

import pytest
import torch
from torch.nn import functional as F

from laptime.suite.bert import on_cpu
from laptime.training.data.packing import Packing
from laptime.training.nn.keyed_dropout import KeyedAttentionDropout, constants

LENGTHS = (3, 3, 7, 150, 150)  # the factors of a group fill more than one piece
HEADS, WIDTH = 2, 5


def plain(qkv, keys, dropout):
    """Each sequence alone, each head alone."""
    rows = []
    for part, own in zip(qkv.split(LENGTHS), keys.split(LENGTHS), strict=True):
        q, k, v = part.view(len(part), 3, HEADS, WIDTH).permute(1, 2, 0, 3)
        weights = (q @ k.mT / math.sqrt(WIDTH)).softmax(-1)
        rows.append((dropout(weights[None], own[None])[0] @ v).transpose(0, 1).reshape(len(part), -1))
    return torch.cat(rows)


@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_attention_and_its_gradient_are_those_of_the_formulas(probability):
    generator = torch.Generator().manual_seed(3)
    tokens = sum(LENGTHS)
    qkv = torch.randn(tokens, 3 * HEADS * WIDTH, dtype=torch.float64, generator=generator)
    above = torch.randn(tokens, HEADS * WIDTH, dtype=torch.float64, generator=generator)
    keys = torch.randint(-2**31, 2**31 - 1, (tokens,), dtype=torch.int32, generator=generator)
    dropout = KeyedAttentionDropout(HEADS, max(LENGTHS), probability, "test").train()
    found, expected = qkv.clone().requires_grad_(), qkv.clone().requires_grad_()
    y = on_cpu.attention(found, Packing(LENGTHS).groups, HEADS, on_cpu.Dropout(keys, dropout.columns, probability))
    other = plain(expected, keys, dropout)
    torch.testing.assert_close(y, other, rtol=1e-12, atol=1e-12)
    y.backward(above)
    other.backward(above)
    torch.testing.assert_close(found.grad, expected.grad, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)  # the input stays as it was


def test_what_is_dropped_is_what_the_module_drops():
    keys = torch.arange(sum(LENGTHS), dtype=torch.int32)
    columns = constants("test", HEADS, 1, 200)
    dropout = KeyedAttentionDropout(HEADS, 200, 0.1, "test").train()
    groups = Packing(LENGTHS).groups
    made = on_cpu.Dropout(keys, columns, 0.1).of(groups, torch.float32)
    for group, found, own in zip(groups, made, keys.split([group.tokens for group in groups]), strict=True):
        ones = torch.ones(group.count, HEADS, group.length, group.length)
        assert torch.equal(found.view(ones.shape), dropout(ones, own.view(group.count, group.length)))


@pytest.mark.parametrize("shape", [(3, 7), (2, on_cpu.PIECE), (1, on_cpu.PIECE + 5)])
def test_gelu_and_its_gradient_are_torchs(shape):
    generator = torch.Generator().manual_seed(4)
    x = 3 * torch.randn(shape, dtype=torch.float64, generator=generator)
    above = torch.randn(shape, dtype=torch.float64, generator=generator)
    for value, slope in ((x, above), (x.T, above.T)):
        found, expected = value.clone().requires_grad_(), value.clone().requires_grad_()
        y, other = on_cpu.gelu(found), F.gelu(expected, approximate="tanh")
        torch.testing.assert_close(y, other, rtol=1e-12, atol=1e-13)
        y.backward(slope)
        other.backward(slope)
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-11, atol=1e-12)


def test_gelu_far_from_zero_is_the_input_or_nothing():
    x = torch.tensor([-1e4, -30.0, 30.0, 1e4], requires_grad=True)
    y = on_cpu.gelu(x)
    y.sum().backward()
    assert y.tolist() == [0, 0, 30, 1e4]
    assert x.grad.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(("dtype", "suits"), [(torch.float32, True), (torch.float64, True), (torch.bfloat16, False)])
def test_only_what_vector_units_compute_is_taken(dtype, suits):
    assert on_cpu.suits(torch.zeros(1, dtype=dtype)) is suits
    assert not on_cpu.suits(torch.zeros(1, dtype=dtype, device="meta"))
