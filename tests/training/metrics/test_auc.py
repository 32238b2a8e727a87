"""Area under the ROC curve: exact with ties, over batches and ranks, against scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from laptime.training.distributed.world import World
from laptime.training.metrics.auc import ROCAUC, area

ALONE = World(0, 1, torch.device("cpu"))
roc_auc_score = pytest.importorskip("sklearn.metrics", reason="dev extra not installed").roc_auc_score


@pytest.mark.parametrize("levels", [3, 50, 10**9])
def test_area_equals_scikit_learn(levels):
    rng = np.random.default_rng(levels)
    truth = rng.random(2000) < 0.1
    scores = (np.floor((rng.random(2000) + 0.3 * truth) * levels) / levels).astype(np.float32)
    assert area(torch.from_numpy(scores), torch.from_numpy(truth)) == pytest.approx(roc_auc_score(truth, scores), abs=1e-14)


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=12))
def test_area_is_the_share_of_pairs_in_order(pairs):
    scores, truth = torch.tensor([float(s) for s, _ in pairs]), torch.tensor([t for _, t in pairs], dtype=torch.bool)
    won = [1.0 if a > b else 0.5 if a == b else 0.0 for a, p in pairs for b, q in pairs if p and not q]
    assert area(scores, truth) == pytest.approx(sum(won) / len(won) if won else 0.5, abs=1e-15)


def test_batches_and_padding_do_not_change_the_area():
    scores, labels = torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0.0, 0.0, 1.0, 1.0])
    ranking = ROCAUC(ALONE)
    ranking.add(scores[:3], labels[:3], torch.ones(3, dtype=torch.bool))
    ranking.add(torch.tensor([0.8, 9.0, -9.0]), torch.tensor([1.0, 0.0, 1.0]), torch.tensor([True, False, False]))
    assert ranking.result() == 0.75
    assert ranking.result() == area(scores, labels > 0)


def test_score_that_is_no_number_loses_every_pair():
    ranking = ROCAUC(ALONE)
    ranking.add(torch.tensor([torch.nan, 1.0, 0.0, torch.nan]), torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.ones(4, dtype=torch.bool))
    assert ranking.result() == 0.25


def test_nothing_added_is_chance():
    assert ROCAUC(ALONE).result() == 0.5


def test_many_samples_count_in_whole_numbers():
    """A tie of 200,000 with 200,000: more pairs than a float32 can count."""
    assert area(torch.zeros(400_000), torch.arange(400_000) % 2 == 0) == 0.5
