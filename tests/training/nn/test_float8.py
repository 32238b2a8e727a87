"""Float8 products: against float64 within the formats' bounds, against an emulation exactly, at the ends of the range."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from laptime.config import Parallel, Speed
from laptime.errors import InvalidConfiguration
from laptime.training.distributed.layout import Layout, Split, check_speed
from laptime.training.nn.float8 import BACKWARD, FORWARD, Linear, narrow, product, scale, switch

M, K, N = 32, 64, 48
# Of a format with p digits after the first, e bits of exponent: a number is off by half its last digit, 2**-(p + 1) of
# itself, or by half the smallest number that the format has, seen from the tensor's largest number.
BOUNDS = {FORWARD: (2.0**-4, 2.0**-17), BACKWARD: (2.0**-3, 2.0**-31)}
SUM = 2.0**-8  # of a result: it is rounded to bfloat16
DIGITS = {FORWARD: (4, -9, 7), BACKWARD: (3, -16, 14)}  # all of them; exponent of the last subnormal one; of the largest


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def near_one(*shape, seed=0):
    """From 1/4 to 4, of both signs: their narrow products are added in float32 without rounding."""
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(2, shape, generator=generator) * 2 - 1
    return signs * torch.exp2(torch.rand(shape, generator=generator) * 3.9 - 1.95)


def emulated(x, dtype):
    """The number that stands for each of `x`, by the definition of the format, in float64."""
    digits, last, top = DIGITS[dtype]
    _, exponent = torch.frexp(x.abs().max().double())
    divisor = 2.0 ** (int(exponent) - 1 - top)
    scaled = x.double() / divisor
    quantum = torch.exp2((torch.frexp(scaled)[1] - digits).clamp_min(last).double())
    return (scaled / quantum).round() * quantum * divisor


def results(x, weight, g):
    """y and both gradients."""
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    y = product(x, weight)
    y.backward(g.to(y.dtype))
    return y.detach(), x.grad, weight.grad


def off(x, dtype):
    """The most that each number of `x` can be off."""
    relative, absolute = BOUNDS[dtype]
    return relative * x.abs() + absolute * x.abs().max()


def bound(a, b, a_off, b_off):
    """The most that the products summed in a b^T can be off together, and the result of rounding them."""
    sums = a.abs() @ b_off.T + a_off @ b.abs().T + a_off @ b_off.T
    return sums + SUM * ((a @ b.T).abs() + sums)


@pytest.mark.parametrize("size", [1.0, 1e-6, 3e4])
@pytest.mark.parametrize("rows", [M, 5])
def test_results_are_within_the_bounds_of_the_formats(size, rows):
    x, weight, g = size * drawn(rows, K, seed=1), drawn(N, K, seed=2) / 8, (size * drawn(rows, N, seed=3)).bfloat16()
    found = results(x, weight, g)
    x, weight, g = x.double(), weight.double(), g.double()
    x_off, weight_off, g_off = off(x, FORWARD), off(weight, FORWARD), off(g, BACKWARD)
    exact = x @ weight.T, g @ weight, g.T @ x
    most = bound(x, weight, x_off, weight_off), bound(g, weight.T, g_off, weight_off.T), bound(g.T, x.T, g_off.T, x_off.T)
    for one, value, limit in zip(found, exact, most, strict=True):
        share = (one.double() - value).abs() / limit
        assert share.max() <= 1.0
        assert share.max() > 0.02  # eight bits were at work, and the bound can be missed


@pytest.mark.parametrize("rows", [M, 7])
def test_results_are_those_of_numbers_rounded_and_multiplied_in_float64(rows):
    x, weight, g = 3.7 * near_one(rows, K, seed=1), near_one(N, K, seed=2) / 1000, near_one(rows, N, seed=3).bfloat16()
    y, of_x, of_weight = results(x, weight, g)
    x, weight, g = emulated(x, FORWARD), emulated(weight, FORWARD), emulated(g, BACKWARD)
    assert torch.equal(y, (x @ weight.T).bfloat16())
    assert torch.equal(of_x, (g @ weight).bfloat16().float())
    assert torch.equal(of_weight, (g.T @ x).float())


@pytest.mark.parametrize("dtype", [FORWARD, BACKWARD])
@pytest.mark.parametrize("size", [1.0, 2.0**-90, 1e30, 0.9999])
def test_numbers_are_rounded_as_the_format_says(dtype, size):
    """Sixty binades, so that the smallest become 0."""
    x = size * drawn(4096, seed=4) * torch.exp2(-torch.rand(4096, generator=torch.Generator().manual_seed(5)) * 60).float()
    divisor = scale(x, dtype)
    assert torch.equal(narrow(x, divisor, dtype).double() * divisor.double(), emulated(x, dtype))


def test_results_do_not_depend_on_the_neighbours():
    """What makes accumulation and layout harmless: a number's digits are its own."""
    x, weight = near_one(M, K, seed=1), near_one(N, K, seed=2)
    large = torch.cat([x, 200.0 * near_one(16, K, seed=3)])
    assert torch.equal(product(large, weight)[:M], product(x, weight))
    assert torch.equal(product(x, torch.cat([weight, 200.0 * weight]))[:, :N], product(x, weight))


def test_zero_makes_zero():
    y, of_x, of_weight = results(torch.zeros(M, K), drawn(N, K), torch.zeros(M, N))
    assert not any(one.any() for one in (y, of_x, of_weight))
    assert not product(drawn(M, K), torch.zeros(N, K)).any()


@pytest.mark.parametrize(("x_size", "weight_size"), [(1e30, 1e-25), (1e-32, 1e20), (2.0**120, 2.0**-120)])
def test_huge_and_tiny_numbers_are_brought_into_range(x_size, weight_size):
    x, weight = near_one(M, K, seed=1), near_one(N, K, seed=2)
    exact = (x_size * x).double() @ (weight_size * weight).double().T
    found = product(x_size * x, weight_size * weight)
    assert found.isfinite().all()
    assert (found.double() - exact).norm() <= 0.05 * exact.norm()


@pytest.mark.parametrize("bad", [torch.inf, -torch.inf, torch.nan])
def test_infinity_and_nan_are_not_hidden(bad):
    for which in range(3):
        tensors = [drawn(M, K), drawn(N, K), drawn(M, N)]
        tensors[which][3, 5] = bad
        y, of_x, of_weight = results(*tensors)
        assert y.isnan().all() == (which < 2)
        assert of_x.isnan().all() == (which > 0)
        assert of_weight.isnan().all() == (which != 1)


def test_nan_of_cuda_s_form_is_not_hidden():
    x = drawn(M, K)
    x[0, 0] = torch.tensor(0x7FFFFFFF, dtype=torch.int32).view(torch.float32)
    assert product(x, drawn(N, K)).isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_gradients_have_the_dtypes_of_what_they_belong_to(dtype):
    x, weight = drawn(2, 3, K).to(dtype).requires_grad_(), drawn(N, K).to(dtype).requires_grad_()
    y = product(x, weight)
    assert (y.shape, y.dtype) == ((2, 3, N), torch.bfloat16)
    y.sum().backward()
    assert (x.grad.shape, x.grad.dtype, weight.grad.dtype) == (x.shape, dtype, dtype)


@pytest.mark.parametrize("rows", [16, 5])
def test_products_are_asked_for_in_the_form_that_cuda_takes(rows, monkeypatch):
    """Its conditions, which the CPU does not have: both operands along the sum in memory, sizes divisible by 16, 0-D
    float32 scales. What comes in may lie in memory in any way."""
    multiply, count = torch._scaled_mm, []

    def strict(a, b, a_scale, b_scale, **more):
        assert a.stride() == (a.shape[1], 1)
        assert b.stride() == (1, b.shape[0])
        assert not any(size % 16 for size in (a.shape[1], *b.shape))
        assert all(one.shape == () and one.dtype == torch.float32 for one in (a_scale, b_scale))
        assert {a.dtype, b.dtype} != {BACKWARD}  # there is no product of two e5m2
        count.append(more)
        return multiply(a, b, a_scale, b_scale, **more)

    monkeypatch.setattr(torch, "_scaled_mm", strict)
    x, weight, g = drawn(K, rows).T, drawn(K, N).T, drawn(N, rows).T.bfloat16()
    results(x, weight, g)
    x = x.clone().requires_grad_()
    product(x, weight).sum().backward()  # a gradient without strides
    assert [one["use_fast_accum"] for one in count] == [True, False, False, True, False]


def test_frozen_weight_keeps_no_input():
    """As the base of an adapter: neither a gradient nor the memory for it."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one.shape) or one, lambda one: one):
        y = product(drawn(M, K).requires_grad_(), drawn(N, K))
    assert (M, K) not in kept
    y.sum().backward()


# --- layers and models ---

class Two(torch.nn.Module):
    """A layer of each kind."""

    def __init__(self):
        super().__init__()
        self.first, self.second = Linear(K, N), torch.nn.Linear(N, N)

    def forward(self, x):
        return self.second(F.gelu(self.first(x)))


def model_of(seed=1):
    torch.manual_seed(seed)
    return Two()


def loss_and_gradients(model, x, run):
    model.zero_grad(set_to_none=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = run(x).float().square().mean()
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}


def test_layer_has_weights_and_results_of_torch_s_until_it_is_switched():
    torch.manual_seed(3)
    ours = Linear(K, N)
    torch.manual_seed(3)
    theirs = torch.nn.Linear(K, N)
    x = drawn(M, K)
    assert torch.equal(ours(x), theirs(x))
    switch(ours, on=True)
    assert not torch.equal(ours(x).float(), theirs(x))
    assert torch.equal(ours(x), product(x, ours.weight) + ours.bias.bfloat16())
    switch(ours, on=False)
    assert torch.equal(ours(x), theirs(x))
    assert ours.state_dict().keys() == theirs.state_dict().keys()


def test_only_layers_that_can_are_switched():
    model = model_of()
    assert switch(model, on=True) == ["first"]
    assert model.first.float8
    with pytest.raises(InvalidConfiguration, match="layers that compute in float8, found none"):
        switch(model.second, on=True)
    switch(model.second, on=False)


def test_checkpointing_changes_nothing():
    model, x = model_of(), drawn(M, K).requires_grad_()
    switch(model, on=True)
    plain = loss_and_gradients(model, x, model)
    again = loss_and_gradients(model, x, partial(checkpoint, model, use_reentrant=False))
    assert torch.equal(plain[0], again[0])
    assert all(torch.equal(again[1][name], grad) for name, grad in plain[1].items())


@pytest.mark.seconds
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own compiler
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # likewise
def test_compiled_model_computes_the_same_in_one_graph():
    """Up to bfloat16: the compiler keeps a sum in float32 on its way from one operation to the next."""
    model, x = model_of(), drawn(M, K)
    switch(model, on=True)
    plain = loss_and_gradients(model, x, model)
    compiled = loss_and_gradients(model, x, torch.compile(model, fullgraph=True))
    assert compiled[0].item() == pytest.approx(plain[0].item(), rel=0.01)
    for name, grad in plain[1].items():
        assert (compiled[1][name] - grad).norm() <= 0.03 * grad.norm(), name


def test_training_follows_that_in_bfloat16():
    losses = {}
    for on in (False, True):
        model = model_of()
        switch(model, on=on)
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        x, wanted, found = drawn(64, K, seed=7), torch.tanh(drawn(64, N, seed=8)), []
        for _ in range(60):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = F.mse_loss(model(x).float(), wanted)
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        losses[on] = found
    assert losses[True][-1] < 0.3 * losses[True][0]
    assert losses[True][-1] == pytest.approx(losses[False][-1], rel=0.15)
    assert losses[True] != losses[False]


# --- refusals ---

@pytest.mark.parametrize(("inputs", "outputs"), [(24, 32), (32, 24), (8, 16)])
def test_sizes_that_cuda_cannot_multiply_are_refused_everywhere(inputs, outputs):
    with pytest.raises(InvalidConfiguration, match=f"divisible by 16 .* found {inputs} and {outputs}"):
        switch(torch.nn.Sequential(Linear(inputs, outputs)), on=True)


NARROW, HALVED = Speed(dtype="float8"), Parallel(tensor=2)
LAYOUT = Layout(splits=(Split("blocks.*.up", "columns"), Split("blocks.*.down", "rows")),
                float8={"blocks.*.up": (32, 96), "blocks.*.down": (96, 32)})


def test_layouts_are_checked_before_anything_starts():
    check_speed(NARROW, Parallel(), LAYOUT)
    check_speed(NARROW, HALVED, LAYOUT)
    for dtype in ("auto", "bfloat16", "float64"):
        check_speed(Speed(dtype=dtype), Parallel(tensor=4), Layout())
    with pytest.raises(InvalidConfiguration, match=r"float8 \(speed.dtype\), found one without"):
        check_speed(NARROW, Parallel(), Layout())


@pytest.mark.parametrize(("name", "inputs", "outputs"), [("up", 32, 24), ("down", 24, 32)])
def test_layouts_are_checked_as_they_are_cut(name, inputs, outputs):
    layer = f"blocks.*.{name}"
    layout = Layout(splits=LAYOUT.splits, float8={layer: LAYOUT.float8[layer]})
    with pytest.raises(InvalidConfiguration, match=f"found {inputs} and {outputs}"):
        check_speed(NARROW, Parallel(tensor=4), layout)
