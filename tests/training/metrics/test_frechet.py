"""The Fréchet distance against its plain formula with a general matrix root, and as a mergeable statistic."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from laptime.training.distributed.world import World
from laptime.training.metrics.frechet import FeatureMoments, Gaussian, frechet_distance

ALONE = World(0, 1, torch.device("cpu"))


def features(count, width, seed, shift=0.0):
    draw = np.random.default_rng(seed)
    return draw.normal(size=(count, width)) @ draw.normal(size=(width, width)) + shift


def moments(values, parts=1):
    made = FeatureMoments(ALONE, values.shape[1])
    for part in np.array_split(values, parts):
        made.add(torch.from_numpy(part))
    return made.result()


def plain(one, other):
    """The published formula, with scipy's root of the product."""
    root = sqrtm(np.cov(one, rowvar=False) @ np.cov(other, rowvar=False)).real
    traces = np.trace(np.cov(one, rowvar=False)) + np.trace(np.cov(other, rowvar=False)) - 2 * np.trace(root)
    return float(((one.mean(0) - other.mean(0)) ** 2).sum() + traces)


@pytest.mark.parametrize("width", [1, 5, 24])
def test_distance_equals_the_published_formula(width):
    one, other = features(200, max(width, 2), 1), features(150, max(width, 2), 2, shift=0.7)
    found = frechet_distance(moments(one), moments(other))
    assert found == pytest.approx(plain(one, other), rel=1e-9)


def test_distance_of_a_set_from_itself_is_zero():
    values = features(100, 6, 3)
    assert frechet_distance(moments(values), moments(values)) == pytest.approx(0.0, abs=1e-9)


def test_distance_does_not_depend_on_how_batches_are_cut():
    values = features(101, 4, 4)
    whole, parts = moments(values), moments(values, parts=7)
    assert torch.allclose(whole.covariance, parts.covariance, rtol=1e-12)
    assert torch.allclose(whole.mean, parts.mean, rtol=1e-12)


def test_covariance_is_the_unbiased_one():
    values = features(30, 4, 5)
    assert np.allclose(moments(values).covariance.numpy(), np.cov(values, rowvar=False), rtol=1e-10)


def test_distance_of_one_dimensional_normals_is_known():
    """Means 0 and 3, deviations 1 and 2: 9 + (2 - 1)^2."""
    one, other = (Gaussian(torch.tensor([m], dtype=torch.float64), torch.tensor([[v]], dtype=torch.float64))
                  for m, v in ((0.0, 1.0), (3.0, 4.0)))
    assert frechet_distance(one, other) == pytest.approx(10.0)


def test_singular_covariances_do_no_harm():
    """Fewer samples than features, as pictures of a small set have."""
    one, other = features(5, 12, 6), features(5, 12, 7)
    found = frechet_distance(moments(one), moments(other))
    assert math.isfinite(found)
    assert found > 0


def test_features_that_are_not_finite_are_infinitely_far():
    broken = features(10, 3, 8)
    broken[0, 0] = np.nan
    assert frechet_distance(moments(broken), moments(features(10, 3, 9))) == math.inf
