"""Word error rate against the textbook recursion."""

import random

import pytest
import torch

from laptime.training.distributed.world import World
from laptime.training.metrics.word_errors import WordErrors, edit_distances

ALONE = World(0, 1, torch.device("cpu"))


def plain(one, other):
    """Wagner & Fischer 1974, cell by cell."""
    table = {(i, 0): i for i in range(len(one) + 1)} | {(0, j): j for j in range(len(other) + 1)}
    for i, a in enumerate(one, 1):
        for j, b in enumerate(other, 1):
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (a != b))
    return table[len(one), len(other)]


def test_distances_equal_the_plain_recursion():
    draw = random.Random(3)
    texts = [[draw.choice("abcd") for _ in range(draw.randint(0, 9))] for _ in range(200)]
    found = edit_distances(texts[:100], texts[100:])
    assert found.tolist() == [plain(*pair) for pair in zip(texts[:100], texts[100:], strict=True)]


@pytest.mark.parametrize(("said", "meant", "rate"), [
    ("one two three", "one two three", 0.0), ("one three", "one two three", 1 / 3), ("", "one two", 1.0),
    ("one one one one", "one", 3.0), ("two one", "one two", 1.0)])
def test_rate_of_one_text(said, meant, rate):
    errors = WordErrors(ALONE)
    errors.add([said], [meant])
    assert errors.result() == pytest.approx(rate)


def test_rate_is_over_all_words_not_the_mean_of_rates():
    errors = WordErrors(ALONE)
    errors.add(["a"], ["b"])
    errors.add(["a b c"], ["a b c"])
    assert errors.result() == pytest.approx(1 / 4)


def test_rate_of_nothing_is_zero():
    assert WordErrors(ALONE).result() == 0.0
