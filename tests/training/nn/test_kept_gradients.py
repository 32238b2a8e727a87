"""Kept gradient memory: torch's own values, one place for step after step, and never under a gradient that is in use."""

import pytest
import torch
from torch.nn import functional as F

from laptime.training.nn import kept_gradients
from laptime.training.nn.kept_gradients import Linear


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(kept_gradients, "KEPT_BYTES", 1)


def layer_and_input(dtype=torch.float64):
    generator = torch.Generator().manual_seed(3)
    layer, x = Linear(7, 5, dtype=dtype), torch.randn(4, 7, generator=generator, dtype=dtype)
    return layer, x.requires_grad_()


def plain(layer):
    """torch's own operation with the same weights."""
    return lambda x: F.linear(x, layer.weight, layer.bias)


def gradients(layer, x, of=None):
    found = torch.autograd.grad((of or layer)(x).square().sum(), [x, *layer.parameters()])
    return [one.clone() for one in found]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_are_those_of_torch(dtype):
    layer, x = layer_and_input(dtype)
    for _ in range(2):  # the second time in the memory of the first
        for mine, theirs in zip(gradients(layer, x), gradients(layer, x, plain(layer)), strict=True):
            assert torch.allclose(mine, theirs, rtol=1e-5 if dtype is torch.float32 else 1e-13)


def test_nothing_is_kept_by_a_torch_that_does_not_count_references(monkeypatch):
    monkeypatch.setattr(kept_gradients, "USES", None)
    layer, x = layer_and_input()
    gradients(layer, x)
    assert not hasattr(layer.weight, "gradient_memory")


def test_gradient_lies_where_that_of_the_step_before_was():
    layer, x = layer_and_input()
    places = set()
    for _ in range(3):
        layer(x).square().sum().backward()
        places.add(layer.weight.grad.data_ptr())
        layer.zero_grad(set_to_none=True)
    assert len(places) == 1


def test_gradients_of_two_batches_add_up():
    layer, x = layer_and_input()
    expected = gradients(layer, x)[1]
    for count in (1, 2, 3):
        layer(x).square().sum().backward()
        assert torch.allclose(layer.weight.grad, count * expected, rtol=1e-13)


def test_layer_used_twice_in_one_pass_gets_the_sum():
    layer = Linear(5, 5, dtype=torch.float64)
    x = torch.randn(4, 5, dtype=torch.float64)
    for _ in range(2):
        layer.zero_grad(set_to_none=True)
        layer(layer(x)).sum().backward()
        own = plain(layer)
        expected, = torch.autograd.grad(own(own(x)).sum(), [layer.weight])
        assert torch.allclose(layer.weight.grad, expected, rtol=1e-12)


def test_gradient_that_somebody_keeps_is_not_written_over():
    layer, x = layer_and_input()
    layer(x).sum().backward()
    kept, before = layer.weight.grad, layer.weight.grad.clone()
    row = kept[2]  # a view counts too
    del kept
    layer.zero_grad(set_to_none=True)
    layer(2 * x).sum().backward()
    assert torch.equal(row, before[2])
    assert not torch.equal(layer.weight.grad[2], before[2])


@pytest.mark.parametrize("form", ["autocast", "meta", "frozen", "small"])
def test_elsewhere_torch_s_own_operation_is_used(form, monkeypatch):
    layer, x = layer_and_input(torch.float32)
    if form == "meta":
        layer, x = layer.to("meta"), x.detach().to("meta")
    if form == "small":
        monkeypatch.setattr(kept_gradients, "KEPT_BYTES", 1 << 20)
    layer.weight.requires_grad_(form != "frozen")
    with torch.autocast("cpu", torch.bfloat16, enabled=form == "autocast"):
        found, expected = layer(x), F.linear(x, layer.weight, layer.bias)
    assert found.dtype == expected.dtype
    assert "Addmm" in type(found.grad_fn).__name__ or "ToCopy" in type(found.grad_fn).__name__
    found.float().sum().backward()
    assert not hasattr(layer.weight, "gradient_memory")
