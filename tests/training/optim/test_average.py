"""The moving average of weights against its formula."""

import torch

from laptime.training.optim.average import Average


def test_average_follows_the_weights_by_the_formula():
    model = torch.nn.Linear(2, 1).double()
    average = Average(model, 0.9)
    expected = model.weight.detach().clone()
    for step in range(1, 4):
        with torch.no_grad():
            model.weight.fill_(float(step))
        average.update()
        expected = 0.9 * expected + 0.1 * step
    assert torch.allclose(average.module.weight, expected, rtol=1e-14)


def test_average_starts_at_the_weights_and_stays_in_evaluation_mode_without_gradients():
    model = torch.nn.Linear(2, 1)
    average = Average(model, 0.5)
    assert torch.equal(average.module.weight, model.weight)
    assert average.module.weight is not model.weight
    assert not average.module.training
    assert not any(p.requires_grad for p in average.module.parameters())
    assert model.training
