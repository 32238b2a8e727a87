"""LAMB, clipping and the warmed decay against their formulas written as plain float64 loops."""

import math

import pytest
import torch

from laptime.training.optim.clip import NormClip
from laptime.training.optim.lamb import LAMB, ratios
from laptime.training.optim.schedules import Applied
from laptime.training.optim.warmed_decay import WarmedDecay

RATES = [0.0, 0.3, 0.7, 0.2]
SHAPES = [(3,), (2, 2), (4,)]


def made(seed=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)) for shape in SHAPES]


def gradients(seed=2):
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES] for _ in RATES]


def plain_loop(w, all_gradients, *, beta1, beta2, epsilon, decay, adapt):
    """The update of one tensor on Python floats."""
    m, v = [0.0] * len(w), [0.0] * len(w)
    for t, (rate, g) in enumerate(zip(RATES, all_gradients, strict=True), 1):
        m = [beta1 * a + (1 - beta1) * b for a, b in zip(m, g, strict=True)]
        v = [beta2 * a + (1 - beta2) * b * b for a, b in zip(v, g, strict=True)]
        u = [(a / (1 - beta1**t)) / (math.sqrt(b / (1 - beta2**t)) + epsilon) + decay * x
             for a, b, x in zip(m, v, w, strict=True)]
        norms = (math.sqrt(sum(x * x for x in w)), math.sqrt(sum(x * x for x in u)))
        ratio = norms[0] / norms[1] if adapt and min(norms) > 0 else 1.0
        w = [x - rate * ratio * d for x, d in zip(w, u, strict=True)]
    return w


@pytest.mark.parametrize("adapt", [True, False])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_lamb_equals_its_formula(adapt, decay):
    settings = {"beta1": 0.8, "beta2": 0.9, "epsilon": 1e-6}
    parameters, all_gradients = made(), gradients()
    expected = [plain_loop(p.detach().flatten().tolist(), [step[i].flatten().tolist() for step in all_gradients],
                           decay=decay, adapt=adapt, **settings) for i, p in enumerate(parameters)]
    optimizer = LAMB([{"params": parameters, "adapt": adapt}], weight_decay=decay, **settings)
    for rate, grads in zip(RATES, all_gradients, strict=True):
        for parameter, gradient in zip(parameters, grads, strict=True):
            parameter.grad = gradient.clone()
        optimizer.rate.fill_(rate)
        optimizer.step()
    for parameter, numbers in zip(parameters, expected, strict=True):
        assert parameter.detach().flatten().tolist() == pytest.approx(numbers, rel=1e-12)


def test_ratio_is_one_where_a_norm_is_zero():
    weights = [torch.tensor([3.0, 4.0]), torch.zeros(2), torch.tensor([1.0, 0.0])]
    directions = [torch.tensor([0.0, 2.0]), torch.ones(2), torch.zeros(2)]
    assert ratios(weights, directions).tolist() == [2.5, 1.0, 1.0]


def test_parameters_without_gradient_stay():
    parameters = made()
    optimizer = LAMB(parameters, learning_rate=0.1)
    parameters[0].grad = torch.ones_like(parameters[0])
    before = [p.detach().clone() for p in parameters]
    optimizer.step()
    assert [torch.equal(p, b) for p, b in zip(parameters, before, strict=True)] == [False, True, True]


def test_state_is_there_from_the_start_and_counts_updates():
    parameters = made(dtype=torch.float32)
    optimizer = LAMB(parameters)
    assert all(set(optimizer.state[p]) == {"mean", "square"} for p in parameters)
    assert optimizer.updates.item() == 0
    parameters[0].grad = torch.ones_like(parameters[0])
    optimizer.step()
    assert optimizer.param_groups[0]["updates"].item() == 1


@pytest.mark.parametrize(("limit", "scale"), [(1.0, 0.2), (5.0, 1.0), (50.0, 1.0)])
def test_clip_scales_the_whole_gradient_to_its_limit(limit, scale):
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(3)]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0]), torch.tensor([-4.0])
    NormClip(parameters, limit)()
    assert [parameters[0].grad.item(), parameters[1].grad.item()] == pytest.approx([3.0 * scale, -4.0 * scale])
    assert parameters[2].grad is None


@pytest.mark.parametrize(("warmup", "start", "step", "expected"), [
    (0, 0, 0, 1.0), (0, 0, 300, 0.5), (0, 0, 600, 0.0), (0, 0, 900, 0.0),
    (100, 0, 0, 0.0), (100, 0, 50, 0.5), (100, 0, 99, 0.99), (100, 0, 100, 500 / 600),
    (287, -76, 0, 76 / 287), (287, -76, 210, 286 / 287), (287, -76, 211, 389 / 600),
    (100, -700, 0, 1.0)])
def test_rate_decays_from_step_0_beside_a_warm_up_that_began_before(warmup, start, step, expected):
    schedule = WarmedDecay(2.0, 1.0, 600, warmup, start)
    assert schedule.value(step) == pytest.approx(2.0 * expected, rel=1e-12)


def test_power_shapes_the_decay():
    assert WarmedDecay(1.0, 2.0, 10, 0, 0).value(5) == pytest.approx(0.25)


def test_applied_schedule_writes_the_rate_in_place():
    optimizer = LAMB(made())
    rate = optimizer.rate
    Applied(WarmedDecay(0.5, 1.0, 10, 0, 0), optimizer).apply(5)
    assert rate.item() == pytest.approx(0.25)
    assert optimizer.param_groups[0]["lr"] is rate


def test_update_in_pieces_is_bit_for_bit_the_whole_one(monkeypatch):
    def moved():
        parameters = made(dtype=torch.float32)
        optimizer = LAMB(parameters, weight_decay=0.1)
        for rate, grads in zip(RATES, gradients(), strict=True):
            for parameter, gradient in zip(parameters, grads, strict=True):
                parameter.grad = gradient.float()
            optimizer.rate.fill_(rate)
            optimizer.step()
        return parameters, optimizer

    whole, plain = moved()
    monkeypatch.setattr("laptime.training.optim.lamb.PIECE", 3)
    pieces, cut = moved()
    assert (plain._update, cut._update) == (plain.update, cut.update_in_pieces)
    assert all(torch.equal(one, other) for one, other in zip(whole, pieces, strict=True))
