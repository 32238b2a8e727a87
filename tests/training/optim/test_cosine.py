"""The warmed cosine at its corners and against torch's own."""

import pytest
import torch

from laptime.training.optim.cosine import WarmedCosine


def test_corners():
    schedule = WarmedCosine(base=1.0, end=0.1, warmup_steps=10, decay_steps=110)
    assert [schedule.value(step) for step in (0, 5, 10, 60, 110, 500)] == pytest.approx([0.0, 0.5, 1.0, 0.55, 0.1, 0.1])


def test_start_moves_the_whole_curve():
    whole, rest = WarmedCosine(2.0, 0.2, 7, 100), WarmedCosine(2.0, 0.2, 7, 100, start=40)
    assert [rest.value(step) for step in range(80)] == [whole.value(step + 40) for step in range(80)]


def test_without_warm_up_it_begins_at_the_base_rate():
    assert WarmedCosine(1.0, 0.0, 0, 4).value(0) == 1.0


def test_decay_equals_torch_s_own():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50, eta_min=0.1)
    ours = WarmedCosine(1.0, 0.1, 0, 50)
    for step in range(50):
        assert ours.value(step) == pytest.approx(theirs.get_last_lr()[0], rel=1e-10)
        optimizer.step()
        theirs.step()
