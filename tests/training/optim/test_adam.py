"""Adam against its published algorithm, per element, and its state."""

import pytest
import torch

from laptime.training.optim.adam import Adam
from laptime.training.state import state_of


def parameters(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(*shape, generator=generator, dtype=dtype)) for shape in ((3, 4), (5,))]


def stepped(weights, optimizer, rates):
    for step, rate in enumerate(rates):
        optimizer.rate.fill_(rate)
        for i, weight in enumerate(weights):
            weight.grad = torch.sin(weight.detach() * (i + 1) + step)
        optimizer.step()
    return weights


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_steps_equal_a_loop_over_elements(decay):
    b1, b2, epsilon, rates = 0.8, 0.95, 1e-3, [0.1, 0.05, 0.2, 0.0, 0.1]
    found = parameters()
    stepped(found, Adam(found, betas=(b1, b2), epsilon=epsilon, weight_decay=decay), rates)
    for i, (weight, start) in enumerate(zip(found, parameters(), strict=True)):
        for value, first in zip(weight.flatten().tolist(), start.flatten().tolist(), strict=True):
            w, m, v = first, 0.0, 0.0
            for t, rate in enumerate(rates, 1):
                g = torch.sin(torch.tensor(w * (i + 1) + t - 1, dtype=torch.float64)).item() + decay * w
                m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
                w -= rate * (m / (1 - b1**t)) / ((v / (1 - b2**t)) ** 0.5 + epsilon)
            assert value == pytest.approx(w, rel=1e-10, abs=1e-12)


def test_steps_equal_torch_s_own():
    ours, theirs = parameters(), parameters()
    stepped(ours, Adam(ours), [1e-2] * 20)
    reference = torch.optim.Adam(theirs, lr=1e-2)
    for step in range(20):
        for i, weight in enumerate(theirs):
            weight.grad = torch.sin(weight.detach() * (i + 1) + step)
        reference.step()
    assert all(torch.allclose(a, b, rtol=1e-12, atol=1e-14) for a, b in zip(ours, theirs, strict=True))


def test_whole_state_is_there_before_the_first_step_and_restores():
    weights = parameters()
    optimizer = Adam(weights)
    module = torch.nn.ParameterList(weights)
    state = state_of(modules={"m": module}, optimizers={"o": optimizer})
    before, fingerprint = state.copy(), state.fingerprint()
    once = [w.detach().clone() for w in stepped(weights, optimizer, [0.1, 0.1])]
    state.restore(before)
    assert state.fingerprint() == fingerprint
    again = stepped(weights, optimizer, [0.1, 0.1])
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


def test_parameters_without_gradient_stay():
    weights = parameters()
    weights[0].grad = torch.ones_like(weights[0])
    before = weights[1].detach().clone()
    Adam(weights, learning_rate=0.1).step()
    assert torch.equal(weights[1], before)
