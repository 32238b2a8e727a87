"""The mean of values over batches."""

import pytest
import torch

from laptime.training.distributed.world import World
from laptime.training.metrics.mean import Mean

ALONE = World(0, 1, torch.device("cpu"))


def test_mean_is_over_samples_not_over_batches():
    found = Mean(ALONE)
    found.add(torch.tensor([1.0, 2.0, 3.0]))
    found.add(torch.tensor([10.0]))
    assert found.result() == pytest.approx(4.0)


def test_mean_of_nothing_is_zero():
    assert Mean(ALONE).result() == 0.0


def test_result_can_be_asked_twice():
    found = Mean(ALONE)
    found.add(torch.tensor([0.5, 1.5]))
    assert found.result() == found.result() == 1.0
