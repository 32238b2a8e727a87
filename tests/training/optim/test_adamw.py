"""AdamW against its formula in plain loops and against torch's own, and what a session needs of it."""

import pytest
import torch

from laptime.training.optim.adamw import AdamW


def parameters():
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(*shape, generator=generator, dtype=torch.float64)) for shape in ((3, 4), (5,))]


def stepped(weights, optimizer, rates):
    for step, rate in enumerate(rates):
        if hasattr(optimizer, "rate"):
            optimizer.rate.fill_(rate)
        for i, weight in enumerate(weights):
            weight.grad = torch.sin(weight.detach() * (i + 1) + step)
        optimizer.step()
    return [weight.detach().flatten().tolist() for weight in weights]


def test_steps_equal_a_loop_over_elements():
    b1, b2, epsilon, decay, rates = 0.8, 0.95, 1e-3, 0.1, [0.1, 0.05, 0.2, 0.0, 0.1]
    weights = parameters()
    found = stepped(weights, AdamW(weights, betas=(b1, b2), epsilon=epsilon, weight_decay=decay), rates)
    for i, (values, start) in enumerate(zip(found, parameters(), strict=True)):
        for value, first in zip(values, start.detach().flatten().tolist(), strict=True):
            w, m, v = first, 0.0, 0.0
            for t, rate in enumerate(rates, 1):
                g = torch.sin(torch.tensor(w * (i + 1) + t - 1, dtype=torch.float64)).item()
                m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
                w = w * (1 - rate * decay) - rate * (m / (1 - b1**t)) / ((v / (1 - b2**t)) ** 0.5 + epsilon)
            assert value == pytest.approx(w, rel=1e-10, abs=1e-12)


def test_steps_equal_torch_s_own():
    ours, theirs = parameters(), parameters()
    plain = torch.optim.AdamW(theirs, lr=0.02, betas=(0.9, 0.99), eps=1e-6, weight_decay=0.3, foreach=False)
    found = stepped(ours, AdamW(ours, betas=(0.9, 0.99), epsilon=1e-6, weight_decay=0.3), [0.02] * 6)
    for mine, their in zip(found, stepped(theirs, plain, [0.02] * 6), strict=True):
        assert mine == pytest.approx(their, rel=1e-12)


def test_groups_override_the_decay():
    one, other = parameters()
    optimizer = AdamW([{"params": [one]}, {"params": [other], "weight_decay": 0.0}], weight_decay=0.5)
    optimizer.rate.fill_(0.1)
    before = one.detach().clone(), other.detach().clone()
    for weight in (one, other):
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    assert torch.allclose(one.detach(), before[0] * 0.95)
    assert torch.equal(other.detach(), before[1])


def test_state_exists_before_the_first_step_and_all_groups_share_the_rate():
    first, second = torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(2))
    optimizer = AdamW([{"params": [first]}, {"params": [second]}])
    shapes = {name: tuple(tensor.shape) for name, tensor in optimizer.state[first].items()}
    assert shapes == {"step": (), "exp_avg": (3,), "exp_avg_sq": (3,)}
    assert all(group["lr"] is optimizer.rate for group in optimizer.param_groups)
