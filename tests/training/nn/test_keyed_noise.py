"""Noise by keys: normal, independent between samples, places and elements, and the same however a batch is cut."""

import math

import numpy as np
import pytest
import torch

from laptime.training.data.sampler import scrambled
from laptime.training.nn.keyed_noise import KeyedNoise, hashed


def keys(count):
    return torch.from_numpy((scrambled(np.arange(count, dtype=np.uint64)) >> np.uint64(32)).astype(np.uint32).view(np.int32))


@pytest.fixture(scope="module")
def noise():
    return KeyedNoise("test", 4, 8, 8)(keys(2000), torch.float64)


def test_noise_has_the_moments_of_a_normal_distribution(noise):
    values, count = noise.flatten(), noise.numel()
    assert abs(values.mean()) < 5 / math.sqrt(count)
    assert values.var().item() == pytest.approx(1.0, abs=5 * math.sqrt(2 / count))
    assert values.pow(3).mean().item() == pytest.approx(0.0, abs=5 * math.sqrt(15 / count))
    assert values.pow(4).mean().item() == pytest.approx(3.0, abs=5 * math.sqrt(96 / count))


def test_noise_has_the_quantiles_of_a_normal_distribution(noise):
    ordered = noise.flatten().sort().values
    for share in (0.001, 0.1, 0.5, 0.9, 0.999):
        expected = math.sqrt(2) * torch.erfinv(torch.tensor(2 * share - 1, dtype=torch.float64)).item()
        assert ordered[int(share * len(ordered))].item() == pytest.approx(expected, abs=0.05)


def test_elements_and_samples_are_uncorrelated(noise):
    flat = noise.flatten(1)
    by_element = (flat.T @ flat / len(flat)).fill_diagonal_(0)
    assert by_element.abs().max() < 6 / math.sqrt(len(flat))
    by_sample = (flat[:200] @ flat[:200].T / flat.shape[1]).fill_diagonal_(0)
    assert by_sample.abs().max() < 6 / math.sqrt(flat.shape[1])


def test_noise_of_two_places_is_uncorrelated(noise):
    other = KeyedNoise("other", 4, 8, 8)(keys(2000), torch.float64)
    assert abs((noise * other).mean()) < 5 / math.sqrt(noise.numel())


def test_noise_does_not_depend_on_how_a_batch_is_cut():
    draw, all_keys = KeyedNoise("test", 3, 2), keys(10)
    parts = torch.cat([draw(all_keys[:3], torch.float32), draw(all_keys[3:], torch.float32)])
    assert torch.equal(draw(all_keys, torch.float32), parts)


def test_hash_is_a_bijection_on_a_range():
    assert len(torch.unique(hashed(torch.arange(-50000, 50000, dtype=torch.int32)))) == 100000


def test_noise_is_finite_and_of_the_asked_type():
    found = KeyedNoise("test", 64)(keys(1000), torch.bfloat16)
    assert found.dtype == torch.bfloat16
    assert found.isfinite().all()
