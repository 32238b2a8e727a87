"""The counting model: by hand on a short text, probabilities that add up, and contexts that were never seen."""

import pytest

from laptime.training.metrics.ngrams import Ngrams


def model(text, order, vocabulary=3):
    found = Ngrams(order, vocabulary)
    found.learn(text)
    return found


def test_one_token_is_mixed_with_all_alike():
    assert model([0, 0, 1], 1).probability([0], 0) == pytest.approx((2 + 2 / 3) / (3 + 2))


def test_orders_are_mixed_from_the_lowest_up():
    single = (1 + 2 / 3) / (3 + 2)  # of token 1
    assert model([0, 0, 1], 2).probability([0, 1], 1) == pytest.approx((1 + 2 * single) / (2 + 2))


@pytest.mark.parametrize("before", [[], [0], [2], [1, 0], [2, 2, 2]])
def test_probabilities_of_all_tokens_add_up_to_one(before):
    found = model([0, 1, 0, 0, 1, 2, 0, 1], 3)
    assert sum(found.probability([*before, token], len(before)) for token in range(3)) == pytest.approx(1)


def test_context_never_seen_counts_as_the_shorter_one():
    found = model([0, 1, 0, 0, 1], 3)
    assert found.probability([2, 0, 1], 2) == found.probability([0, 1], 1)
    assert found.probability([0, 1], 1) != found.probability([1], 0)


def test_base_takes_the_place_of_all_alike():
    assert model([], 2).probability([1], 0, 0.25) == 0.25
    assert model([], 2).probability([1], 0) == pytest.approx(1 / 3)


def test_probabilities_of_counts_are_those_of_witten_and_bell_and_add_up():
    """After 1 came 2 twice and 3 once: (count + kinds x shorter) / (total + kinds)."""
    counts, seen = Ngrams(2, 5), [1, 2, 1, 2, 1, 3]
    for end in range(len(seen)):
        counts.add(seen, end)
    alone = [(seen.count(one) + 3 / 5) / (6 + 3) for one in range(5)]
    after = [({2: 2, 3: 1}.get(one, 0) + 2 * alone[one]) / (3 + 2) for one in range(5)]
    assert [counts.probability([1, one], 1) for one in range(5)] == pytest.approx(after)
    assert sum(after) == pytest.approx(1.0)
    assert counts.probability([4, 2], 1) == pytest.approx(alone[2])
