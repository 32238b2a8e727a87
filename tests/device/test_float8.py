"""Float8 on a device that has it (compute capability 8.9 or more): the CPU's results, no waiting, and the time it saves.

`pytest tests/device -m gpu` prints the figures.
"""

import statistics
import sys

import pytest
import torch
from torch.nn import functional as F

from laptime.training.nn.float8 import BACKWARD, FORWARD, Linear, narrow, product, scale, switch
from laptime.training.speed import FLOAT8_CAPABILITY

ABLE = torch.cuda.is_available() and torch.cuda.get_device_capability() >= FLOAT8_CAPABILITY
pytestmark = [
    pytest.mark.gpu, pytest.mark.skipif(not ABLE, reason="needs CUDA with products of float8"),
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),  # torch's own compiler
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")]  # likewise
CUDA = "cuda"
HIDDEN, WIDE, ROWS = 4096, 14336, 8192  # the feed-forward part of Llama 3.1 8B, one sample of 8192 tokens
LEAST_SPEED_UP = 1.15  # of three products that take at most half the time, and conversions that take their share


class Feed(torch.nn.Module):
    """SwiGLU."""

    def __init__(self):
        super().__init__()
        self.gate, self.up = (Linear(HIDDEN, WIDE, bias=False) for _ in range(2))
        self.down = Linear(WIDE, HIDDEN, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


def drawn(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def results(x, weight, g, device):
    x, weight = (one.detach().to(device).requires_grad_() for one in (x, weight))
    y = product(x, weight)
    y.backward(g.to(y))
    return [one.detach().cpu().double() for one in (y, x.grad, weight.grad)]


@pytest.mark.parametrize("dtype", [FORWARD, BACKWARD])
def test_numbers_are_rounded_as_on_the_cpu(dtype):
    x = drawn(1 << 16, seed=1) * torch.exp2(-drawn(1 << 16, seed=2).abs() * 12)
    here, there = scale(x, dtype), scale(x.to(CUDA), dtype)
    assert here == there.cpu()
    assert torch.equal(narrow(x, here, dtype).float(), narrow(x.to(CUDA), there, dtype).cpu().float())


@pytest.mark.parametrize("rows", [256, 77])
def test_results_are_those_of_the_cpu(rows):
    """Sums in another order, and the forward product's with fewer bits: some results round to the other neighbour."""
    tensors = drawn(rows, 512, seed=1), drawn(384, 512, seed=2), drawn(rows, 384, seed=3)
    for here, there in zip(results(*tensors, "cpu"), results(*tensors, CUDA), strict=True):
        assert (here - there).norm() <= 2.0**-8 * here.norm()


@pytest.mark.parametrize("bad", [torch.inf, torch.nan])
def test_infinity_and_nan_are_not_hidden(bad):
    x = drawn(64, 64, seed=1)
    x[3, 5] = bad
    assert product(x.to(CUDA), drawn(32, 64, seed=2).to(CUDA)).isnan().all()


def step_of(narrow_products):
    """A compiled forward and backward pass of `Feed`."""
    model = Feed().to(CUDA)
    switch(model, on=narrow_products)
    x = torch.randn(ROWS, HIDDEN, device=CUDA, dtype=torch.bfloat16, requires_grad=True)

    @torch.compile
    def loss():
        with torch.autocast(CUDA, dtype=torch.bfloat16):
            return model(x).float().square().mean()

    def step():
        model.zero_grad(set_to_none=False)
        loss().backward()

    for _ in range(3):
        step()
    return step


def seconds(step, times=10):
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(times):
        step()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000 / times


def test_a_step_waits_for_nothing():
    step = step_of(narrow_products=True)
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_float8_takes_less_time_than_bfloat16(record_property, capsys):
    """Interleaved pairs on one device."""
    wide, narrowed = step_of(narrow_products=False), step_of(narrow_products=True)
    pairs = [(seconds(wide), seconds(narrowed)) for _ in range(9)]
    ratio = statistics.median(a / b for a, b in pairs)
    operations = 3 * 2 * 3 * ROWS * HIDDEN * WIDE  # three layers, each with three products
    rates = [operations / statistics.median(one) / 1e12 for one in zip(*pairs, strict=True)]
    said = f"bfloat16 {rates[0]:.0f}, float8 {rates[1]:.0f} TFLOP/s: {ratio:.2f} x, {torch.cuda.get_device_name()}"
    record_property("float8", said)
    with capsys.disabled():
        sys.stdout.write(f"\n{said}\n")
    assert ratio >= LEAST_SPEED_UP
