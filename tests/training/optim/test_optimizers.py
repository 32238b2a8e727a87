"""Our optimizers against their formulas written as plain float64 loops, one number at a time."""

import math

import pytest
import torch

from laptime.training.optim.lars import LARS, trust_ratios
from laptime.training.optim.momentum import Momentum
from laptime.training.optim.schedules import Applied, Polynomial
from laptime.training.optim.sgd import SGD

RATES = [0.0, 0.3, 0.7, 0.2, 0.1]


def made(values, device="cpu"):
    return [torch.nn.Parameter(torch.tensor(v, dtype=torch.float64, device=device)) for v in values]


def gradients(seed, shapes):
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes] for _ in RATES]


def run(optimizer: Momentum, parameters, all_gradients, rates):
    for rate, grads in zip(rates, all_gradients, strict=True):
        for parameter, gradient in zip(parameters, grads, strict=True):
            parameter.grad = gradient.clone()
        optimizer.rate.fill_(rate)
        optimizer.step()


def plain_loop(start, all_gradients, rates, *, momentum, form, direction):
    """The update of one tensor, elementwise, on Python floats."""
    w, v = list(start), [0.0] * len(start)
    for rate, g in zip(rates, all_gradients, strict=True):
        d = direction(w, g)
        for i in range(len(w)):
            if form == "inside":
                v[i] = momentum * v[i] - rate * d[i]
                w[i] = w[i] + v[i]
            else:
                v[i] = momentum * v[i] + d[i]
                w[i] = w[i] - rate * v[i]
    return w


def decay(wd):
    return lambda w, g: [gi + wd * wi for wi, gi in zip(w, g, strict=True)]


def lars_direction(wd, eta, epsilon):
    def direction(w, g):
        w_norm, g_norm = math.sqrt(sum(x * x for x in w)), math.sqrt(sum(x * x for x in g))
        trust = eta * w_norm / (g_norm + wd * w_norm + epsilon) if w_norm > 0 and g_norm > 0 else 1.0
        return [trust * d for d in decay(wd)(w, g)]
    return direction


@pytest.mark.parametrize("form", ["inside", "outside"])
def test_sgd_equals_the_formula(form):
    start = [[0.5, -1.0, 2.0], [1.5, 0.25]]
    parameters, grads = made(start), gradients(1, [3, 2])
    groups = [{"params": [parameters[0]]}, {"params": [parameters[1]], "weight_decay": 0.0}]
    run(SGD(groups, momentum=0.9, weight_decay=0.01, form=form), parameters, grads, RATES)
    for i, wd in enumerate((0.01, 0.0)):
        expected = plain_loop(start[i], [g[i].tolist() for g in grads], RATES, momentum=0.9, form=form, direction=decay(wd))
        assert parameters[i].tolist() == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("form", ["inside", "outside"])
@pytest.mark.parametrize("epsilon", [0.0, 0.5])
def test_lars_equals_the_formula_and_skips_what_it_is_told(form, epsilon):
    start = [[0.5, -1.0, 2.0], [1.5, 0.25]]
    parameters, grads = made(start), gradients(2, [3, 2])
    groups = [{"params": [parameters[0]]}, {"params": [parameters[1]], "weight_decay": 0.0, "adapt": False}]
    run(LARS(groups, momentum=0.9, weight_decay=0.02, eta=0.05, epsilon=epsilon, form=form), parameters, grads, RATES)
    for i, direction in enumerate((lars_direction(0.02, 0.05, epsilon), decay(0.0))):
        expected = plain_loop(start[i], [g[i].tolist() for g in grads], RATES, momentum=0.9, form=form, direction=direction)
        assert parameters[i].tolist() == pytest.approx(expected, rel=1e-13)


def test_sgd_outside_equals_torch():
    ours, theirs = made([[1.0, 2.0]])[0], made([[1.0, 2.0]])[0]
    grads = gradients(3, [2])
    run(SGD([ours], momentum=0.9, weight_decay=0.01, form="outside"), [ours], grads, RATES)
    other = torch.optim.SGD([theirs], lr=1.0, momentum=0.9, weight_decay=0.01)
    for rate, (gradient,) in zip(RATES, grads, strict=True):
        theirs.grad = gradient
        other.param_groups[0]["lr"] = rate
        other.step()
    assert torch.allclose(ours, theirs, rtol=1e-13, atol=0)


@pytest.mark.parametrize("kind", [SGD, LARS])
def test_momentum_forms_agree_at_a_constant_rate_and_differ_at_a_changing_one(kind):
    def result(form, rates):
        parameters = made([[1.0, 2.0, -0.5]])
        run(kind(parameters, momentum=0.9, weight_decay=0.01, form=form), parameters, gradients(4, [3]), rates)
        return parameters[0].detach()

    constant = [0.1] * len(RATES)
    assert torch.allclose(result("inside", constant), result("outside", constant), rtol=1e-12, atol=0)
    assert not torch.allclose(result("inside", RATES), result("outside", RATES), rtol=1e-4)


@pytest.mark.parametrize(("weight", "gradient"), [([0.0, 0.0], [1.0, 2.0]), ([1.0, 2.0], [0.0, 0.0])])
def test_trust_ratio_is_one_when_a_norm_is_zero(weight, gradient):
    tensors = [torch.tensor(weight)], [torch.tensor(gradient)]
    assert trust_ratios(*tensors, weight_decay=0.1, eta=0.001, epsilon=0.0).tolist() == [1.0]


def test_velocities_exist_before_the_first_step():
    parameters = made([[1.0, 2.0]])
    optimizer = LARS(parameters)
    assert torch.equal(optimizer.state[parameters[0]]["velocity"], torch.zeros(2, dtype=torch.float64))


def test_parameters_without_gradient_stay():
    parameters = made([[1.0], [2.0]])
    parameters[0].grad = torch.ones(1, dtype=torch.float64)
    SGD(parameters, learning_rate=0.5).step()
    assert [p.item() for p in parameters] == [0.5, 2.0]


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch's own compiler
@pytest.mark.parametrize("kind", [SGD, LARS])
def test_compiled_update_equals_eager_and_a_new_rate_does_not_recompile(kind):
    def result(compiled):
        parameters = made([[1.0, 2.0], [3.0, -4.0]])
        optimizer = kind(parameters, momentum=0.9, weight_decay=0.01, compiled=compiled)
        schedule = Applied(Polynomial(1.0, 0.0001, 2.0, 2, 4), optimizer)
        for step, grads in enumerate(gradients(5, [2, 2])):
            for parameter, gradient in zip(parameters, grads, strict=True):
                parameter.grad = gradient
            schedule.apply(step)
            optimizer.step()
        return torch.cat([p.detach() for p in parameters])

    eager = result(False)
    torch._dynamo.reset()
    with torch._dynamo.config.patch(error_on_recompile=True):
        assert torch.allclose(result(True), eager, rtol=1e-12)


def test_rate_is_written_in_place():
    optimizer = SGD(made([[1.0]]))
    rate = optimizer.rate
    Applied(Polynomial(2.0, 0.0001, 2.0, 4, 10), optimizer).apply(2)
    assert optimizer.rate is rate
    assert rate.item() == 1.0
    assert optimizer.param_groups[0]["lr"] is rate
