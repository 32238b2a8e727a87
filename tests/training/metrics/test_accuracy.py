"""Top-1: counted by hand, with padding, merged over parts."""

import pytest
import torch

from laptime.training.distributed.world import World
from laptime.training.metrics.accuracy import TopOne

ALONE = World(0, 1, torch.device("cpu"))


def scores_for(guesses, classes=4):
    return torch.nn.functional.one_hot(torch.tensor(guesses), classes).float()


def test_accuracy_counts_correct_samples():
    top_one = TopOne(ALONE)
    top_one.add(scores_for([0, 1, 2, 3]), torch.tensor([0, 1, 0, 0]), torch.ones(4, dtype=torch.bool))
    assert top_one.result() == 0.5


def test_padding_does_not_count_even_when_it_would_be_right():
    top_one = TopOne(ALONE)
    top_one.add(scores_for([0, 1, 0]), torch.tensor([0, 2, 0]), torch.tensor([True, True, False]))
    assert top_one.result() == 0.5


def test_parts_add_up_to_the_whole():
    whole, parts = TopOne(ALONE), TopOne(ALONE)
    scores, labels, mask = scores_for([0, 1, 2]), torch.tensor([0, 0, 2]), torch.ones(3, dtype=torch.bool)
    whole.add(scores, labels, mask)
    parts.add(scores[:1], labels[:1], mask[:1])
    parts.add(scores[1:], labels[1:], mask[1:])
    assert parts.result() == whole.result() == pytest.approx(2 / 3)


def test_scores_that_are_nan_are_wrong():
    top_one = TopOne(ALONE)
    top_one.add(torch.full((2, 4), torch.nan), torch.tensor([0, 1]), torch.ones(2, dtype=torch.bool))
    assert top_one.result() == 0.0


def test_result_of_nothing_is_zero_and_can_be_asked_twice():
    top_one = TopOne(ALONE)
    assert top_one.result() == 0.0
    top_one.add(scores_for([1]), torch.tensor([1]), torch.tensor([True]))
    assert [top_one.result(), top_one.result()] == [1.0, 1.0]
