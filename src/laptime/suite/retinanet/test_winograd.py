"""3x3 convolutions by minimal filtering equal the direct ones, in values and in every gradient."""

from dataclasses import replace
from itertools import chain

import pytest
import torch
from torch.nn import functional as F

from laptime.suite.retinanet import winograd
from laptime.suite.retinanet.config import ModelConfig, full
from laptime.suite.retinanet.model import RetinaNet, initialise
from laptime.training.seeds import Seeds

SIDES = ((6, 8), (5, 7), (3, 4), (1, 1))  # even, odd, and what has fewer pixels than a tile


def inputs(channels, out, dtype, sides=SIDES, seed=1):
    generator = Seeds(seed).torch("inputs")

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()

    return [draw(2, channels, h, w) for h, w in sides], draw(out, channels, 3, 3), draw(out)


def direct(maps, weight, bias, relu):
    made = [F.conv2d(one, weight, bias, padding=1) for one in maps]
    return [F.relu(one) for one in made] if relu else made


def gradients(made, leaves):
    upstream = [torch.linspace(-1, 1, one.numel(), dtype=one.dtype).view(one.shape) for one in made]
    return torch.autograd.grad(made, leaves, upstream)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("block", [3, 7, 100])
def test_values_and_gradients_equal_the_direct_ones(monkeypatch, relu, block):
    monkeypatch.setattr(winograd, "BLOCK", block)  # 7 channels: in parts, exactly, at once
    maps, weight, bias = inputs(5, 7, torch.float64)
    found, expected = winograd.convolved(maps, weight, bias, relu=relu), direct(maps, weight, bias, relu)
    leaves = [weight, bias, *maps]
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-12)
        assert one.is_contiguous(memory_format=torch.channels_last) or one.shape[2] % 2 or one.shape[3] % 2
    for one, other in zip(gradients(found, leaves), gradients(expected, leaves), strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-11)


def test_float32_rounds_in_the_last_digits_only():
    maps, weight, bias = inputs(256, 16, torch.float32, sides=((12, 12),))
    (exact,) = direct([one.double() for one in maps], weight.double(), bias.double(), False)
    (found,) = winograd.convolved(maps, weight, bias, relu=False)
    assert (found - exact).norm() < 1e-6 * exact.norm()


def test_transposes_are_transposes():
    """<A x, y> = <x, A' y> of each of the three pairs."""
    maps, weight, _ = inputs(3, 2, torch.float64)
    rows = [one.detach().permute(0, 2, 3, 1) for one in maps]
    generator = Seeds(2).torch("parts")

    def like(made):
        return torch.randn(made.shape, generator=generator, dtype=torch.float64)

    made = winograd.tiles(rows)
    parts = like(made)
    back = winograd.tiles_transposed(parts, [one.shape for one in rows])
    assert (made * parts).sum().item() == pytest.approx(sum((a * b).sum().item() for a, b in zip(rows, back, strict=True)))
    made = winograd.filter_tiles(weight.detach())
    parts = like(made)
    assert (made * parts).sum().item() == pytest.approx((weight * winograd.filter_tiles_transposed(parts)).sum().item())
    even = [torch.ones(2, 4, 6, 3, dtype=torch.float64)]
    made = winograd.untiled_transposed(even)
    parts = like(made)
    assert (made * parts).sum().item() == pytest.approx(sum(one.sum().item() for one in untiled(parts, even)))


def untiled(parts, maps):
    made = [torch.empty_like(one) for one in maps]
    winograd.untiled(parts, made)
    return made


@pytest.mark.parametrize(("channels", "out", "expected"), [(256, 2376, True), (256, 256, True), (256, 36, False), (32, 32, False)])
def test_wide_convolutions_take_this_way(channels, out, expected):
    conv = torch.nn.Conv2d(channels, out, 3, padding=1, device="meta")
    assert winograd.pays(torch.empty(1, device="cpu"), conv) is expected
    assert not winograd.pays(torch.empty(1, device="meta"), conv)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not winograd.pays(torch.empty(1), conv)


def test_the_network_takes_this_way_at_full_width_and_gives_the_same(monkeypatch):
    config = replace(full().model, blocks=(1, 1, 1, 1), stem=8, groups=2, group_width=2, classes=15)
    assert ModelConfig().channels == config.channels == 256
    model = RetinaNet(config)
    initialise(model, Seeds(1).torch("init"))
    model.double()
    images = torch.randn(1, 3, 72, 72, generator=Seeds(3).torch("images"), dtype=torch.float64)
    calls = []
    original = winograd.convolved
    monkeypatch.setattr(winograd, "convolved", lambda maps, *rest, **kw: calls.append(len(maps)) or original(maps, *rest, **kw))
    found = model(images)
    assert calls == [1, 1, 1, *[5] * 9]  # three of the pyramid; two towers of four, the classes' last one
    monkeypatch.setattr(winograd, "pays", lambda *_: False)
    for one, other in zip(chain(*found), chain(*model(images)), strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-13)
