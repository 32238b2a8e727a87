"""The network behind FID: names, sizes, and features equal to those of another implementation.

`inception_features.npz` holds what torch-fidelity 0.4.0 (its `FeatureExtractorInceptionV3`, in float64) says of two
pictures with the weights of `seeded` here: before the network the pictures were resized by plain loops (two points per
axis, centres at halves, no smoothing) and scaled to [-1, 1]; features are the outputs of its last average, rounded to
single precision. Nothing of that package is part of this one.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from laptime.suite.stable_diffusion.inception import Inception, average
from laptime.training.seeds import Seeds

SEED = 299
EXPECTED = Path(__file__).with_name("inception_features.npz")
SIZES = ((48, 80), (340, 310))  # both ways from 299


def seeded(state):
    """Weights for every name: uniform numbers whose variance keeps that of the activations, norms away from 1 and 0."""
    made = {}
    for name, tensor in state.items():
        draw = Seeds(SEED).numpy(name).random(tuple(tensor.shape))
        if tensor.dim() > 1:
            values = (draw - 0.5) * np.sqrt(24.0 / np.prod(tensor.shape[1:]))
        elif name.endswith(("running_var", "weight")):
            values = 0.5 + draw
        else:
            values = 0.4 * (draw - 0.5)
        counter = name.endswith("num_batches_tracked")
        made[name] = torch.zeros_like(tensor) if counter else torch.from_numpy(values.astype(np.float32))
    return made


@pytest.fixture(scope="module")
def network():
    made = Inception().eval().requires_grad_(False)
    made.load_state_dict(seeded(made.state_dict()))
    return made


def case(height, width):
    """(a picture of this size, its expected features)"""
    with np.load(EXPECTED) as content:
        expected = content[f"{height}x{width}"].astype(np.float64)
    return torch.from_numpy(Seeds(SEED).numpy("picture", height, width).random((1, 3, height, width))), expected


@pytest.mark.seconds
@pytest.mark.parametrize("size", SIZES)
def test_features_equal_those_of_another_implementation(network, size):
    picture, expected = case(*size)
    found = network.double()(picture)[0].numpy()
    assert found.shape == expected.shape == (2048,)
    assert np.abs(found - expected).max() <= 1e-7 * expected.max()
    assert (expected > 0).mean() > 0.8  # most features say something


@pytest.mark.seconds
def test_features_in_single_precision_are_those_in_double(network):
    picture, expected = case(*SIZES[0])
    found = network.float()(picture.float())[0].numpy()
    assert np.abs(found - expected).max() <= 1e-5 * expected.max()


@pytest.mark.seconds
def test_features_tell_a_maximum_from_an_average_in_the_last_block(network):
    """The comparison above would fail for the network's better known twin."""
    picture, expected = case(*SIZES[0])
    network.Mixed_7c.maximum = False
    found = network.double()(picture)[0].numpy()
    network.Mixed_7c.maximum = True
    assert np.abs(found - expected).max() > 0.01 * expected.max()


def test_averages_do_not_count_padding():
    assert torch.equal(average(torch.ones(1, 1, 4, 4)), torch.ones(1, 1, 4, 4))


def test_names_are_those_of_the_published_file():
    with torch.device("meta"):
        names = set(Inception().state_dict())
    assert {"Conv2d_1a_3x3.conv.weight", "Mixed_5b.branch5x5_2.bn.running_var", "Mixed_6c.branch7x7dbl_5.conv.weight",
            "Mixed_7a.branch7x7x3_4.bn.bias", "Mixed_7c.branch3x3dbl_3b.conv.weight", "fc.bias"} <= names
    assert len([name for name in names if name.endswith("conv.weight")]) == 94
