"""The focal loss against its formula, and its gradient against differences."""

import math

import pytest
import torch

from laptime.training.nn.focal import focal_loss


def by_formula(scores, labels, weights, alpha, gamma):
    total = 0.0
    for row, label, weight in zip(scores.tolist(), labels.tolist(), weights.tolist(), strict=True):
        for c, x in enumerate(row):
            p = 1 / (1 + math.exp(-x))
            p_t, a = (p, alpha) if c == label else (1 - p, 1 - alpha)
            total -= weight * a * (1 - p_t) ** gamma * math.log(p_t)
    return total


@pytest.fixture
def sample():
    generator = torch.Generator().manual_seed(4)
    scores = 3 * torch.randn(12, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(-1, 5, (12,), generator=generator)
    return scores, labels, torch.rand(12, generator=generator, dtype=torch.float64).round(decimals=1)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.6, 0.5)])
def test_value_is_the_formula_s(sample, alpha, gamma):
    assert focal_loss(*sample, alpha=alpha, gamma=gamma).item() == pytest.approx(by_formula(*sample, alpha, gamma), rel=1e-12)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.6, 1.5)])
def test_gradient_is_that_of_differences(sample, alpha, gamma):
    scores, labels, weights = sample
    scores = scores.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: focal_loss(x, labels, weights, alpha=alpha, gamma=gamma), (scores,))


def test_gamma_zero_is_weighted_cross_entropy(sample):
    scores, labels, weights = sample
    targets = torch.nn.functional.one_hot(labels.clamp(min=0), 5) * (labels >= 0).unsqueeze(-1)
    plain = torch.nn.functional.binary_cross_entropy_with_logits(scores, targets.double(), reduction="none")
    expected = (plain.sum(1) * weights).sum() / 2
    assert focal_loss(scores, labels, weights, alpha=0.5, gamma=0.0).item() == pytest.approx(expected.item(), rel=1e-12)


def test_large_scores_stay_finite():
    scores = torch.tensor([[200.0, -200.0]], requires_grad=True)
    loss = focal_loss(scores, torch.tensor([1]), torch.ones(1), alpha=0.25, gamma=2.0)
    loss.backward()
    assert loss.item() == pytest.approx(200 * 0.75 + 200 * 0.25)
    assert scores.grad.isfinite().all()


def test_half_precision_scores_are_summed_in_float32(sample):
    scores, labels, weights = sample
    half = scores.bfloat16().requires_grad_()
    loss = focal_loss(half, labels, weights.float(), alpha=0.25, gamma=2.0)
    loss.backward()
    assert loss.dtype == torch.float32
    assert half.grad.dtype == torch.bfloat16
    assert loss.item() == pytest.approx(focal_loss(half.detach().double(), labels, weights, alpha=0.25, gamma=2.0).item(), rel=1e-5)
