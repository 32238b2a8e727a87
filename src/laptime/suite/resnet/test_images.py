"""Crops and resizes of ResNet against plain loops written from the fact sheet, and the crop's distribution."""

import math
from dataclasses import replace

import numpy as np
import pytest

from laptime.suite.resnet.config import full
from laptime.suite.resnet.images import (
    ATTEMPTS,
    DRAWS_PER_ATTEMPT,
    FLIP_DRAW,
    centre_axes,
    crop_axes,
    random_boxes,
    resample,
)
from laptime.training.data.sampler import Draws


def plain_box(uniform, width, height):
    """The crop of one image as the fact sheet tells it, in plain numbers; `uniform(draw)` in [0, 1)."""
    for attempt in range(100):
        u = [uniform(attempt * DRAWS_PER_ATTEMPT + k) for k in range(4)]
        r = 0.75 + (1.33 - 0.75) * u[0]
        low, high = round(math.sqrt(0.05 * width * height / r)), round(math.sqrt(1.0 * width * height / r))
        while round(high * r) > width or high > height:
            high -= 1
        h = high if low >= high else low + int(u[1] * (high - low + 1))
        w = round(h * r)
        if w * h < 0.05 * width * height:
            h += 1
            w = round(h * r)
        if w * h > width * height:
            h -= 1
            w = round(h * r)
        if not (0.05 * width * height <= w * h <= width * height and 0 < w <= width and 0 < h <= height):
            continue
        y = int(u[2] * (height - h)) if h < height else 0
        x = int(u[3] * (width - w)) if w < width else 0
        if w * h >= 0.1 * width * height:
            return y, x, h, w
    return 0, 0, height, width


def plain_resize(image, out_height, out_width):
    """TF1's bilinear resize in loops: corners not aligned, source = destination x scale."""
    height, width, _ = image.shape
    out = np.zeros((out_height, out_width, 3))
    for i in range(out_height):
        for j in range(out_width):
            y, x = i * height / out_height, j * width / out_width
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
            top = image[y0, x0] * (1 - (x - x0)) + image[y0, x1] * (x - x0)
            bottom = image[y1, x0] * (1 - (x - x0)) + image[y1, x1] * (x - x0)
            out[i, j] = top * (1 - (y - y0)) + bottom * (y - y0)
    return out


def random_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def test_random_boxes_are_the_reference_crop_one_by_one():
    rng = np.random.default_rng(5)
    heights, widths = rng.integers(8, 600, 400), rng.integers(8, 600, 400)
    samples, draws = np.arange(400) * 3, Draws(17)
    boxes = random_boxes(full().data, draws, samples, heights, widths)
    for i in range(400):
        uniform = lambda draw, i=i: float(draws.uniform(samples[i:i + 1], draw)[0])  # noqa: E731
        expected = plain_box(uniform, int(widths[i]), int(heights[i]))
        assert (boxes.y[i], boxes.x[i], boxes.height[i], boxes.width[i]) == expected
        assert boxes.flipped[i] == (uniform(FLIP_DRAW) < 0.5)


def test_a_box_that_can_never_cover_a_tenth_becomes_the_whole_image():
    heights, widths = np.array([10, 400]), np.array([400, 10])
    boxes = random_boxes(full().data, Draws(1), np.arange(2), heights, widths)
    assert (boxes.y.tolist(), boxes.x.tolist()) == ([0, 0], [0, 0])
    assert (boxes.height.tolist(), boxes.width.tolist()) == ([10, 400], [400, 10])
    assert ATTEMPTS * DRAWS_PER_ATTEMPT <= FLIP_DRAW


def test_random_boxes_have_the_reference_distribution():
    n, side = 40000, 500
    sizes = np.full(n, side)
    boxes = random_boxes(full().data, Draws(3), np.arange(n), sizes, sizes)
    area, ratio = boxes.height * boxes.width / side**2, boxes.width / boxes.height
    assert 0.1 <= area.min() < 0.105
    assert 0.98 < area.max() <= 1
    assert 0.745 < ratio.min() < 0.76
    assert 1.32 < ratio.max() < 1.335
    assert abs(boxes.flipped.mean() - 0.5) < 0.01
    # height, not area, is uniform: for a square image and r near 1, heights from sqrt(0.1) to 1 of the side
    near_one = boxes.height[np.abs(ratio - 1) < 0.05] / side
    counts, _ = np.histogram(near_one, 6, (0.34, 0.94))
    assert counts.max() / counts.min() < 1.25
    assert np.all(boxes.y + boxes.height <= side)
    assert np.all((boxes.y < side - boxes.height) | (boxes.height == side))  # the kernel never touches the far edge


def test_flip_off_never_mirrors():
    sizes = np.full(100, 50)
    assert not random_boxes(replace(full().data, flip=False), Draws(3), np.arange(100), sizes, sizes).flipped.any()


@pytest.mark.parametrize(("height", "width"), [(30, 47), (9, 12), (16, 16)])
@pytest.mark.parametrize("flipped", [False, True])
def test_a_crop_is_resized_as_the_reference_does(height, width, flipped):
    image = random_image(60, 70)
    expected = plain_resize(image[5:5 + height, 11:11 + width], 16, 16)
    found = resample(image, *crop_axes(5, 11, height, width, out=16, flipped=flipped))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected[:, ::-1] if flipped else expected, atol=1e-3)


def test_resize_has_neither_aligned_corners_nor_shifted_centres():
    ramp = np.repeat(np.arange(8, dtype=np.uint8)[None, :, None] * 10, 8, 0).repeat(3, 2)
    found = resample(ramp, *crop_axes(0, 0, 8, 8, out=16, flipped=False))[0, :, 0]
    assert found.tolist() == [5.0 * i for i in range(15)] + [70.0]


@pytest.mark.parametrize(("height", "width"), [(37, 60), (60, 37), (18, 18), (90, 31)])
def test_evaluation_resizes_the_shorter_side_and_crops_the_centre(height, width):
    image = random_image(height, width)
    tall, wide = int(height * 18 / min(height, width) + 1e-9), int(width * 18 / min(height, width) + 1e-9)
    assert min(tall, wide) == 18
    top, left = (tall - 16) // 2, (wide - 16) // 2
    expected = plain_resize(image, tall, wide)[top:top + 16, left:left + 16]
    np.testing.assert_allclose(resample(image, *centre_axes(height, width, resize=18, out=16)), expected, atol=1e-3)


def test_the_shorter_side_is_never_truncated_below_its_target():
    for short in range(20, 400):
        rows, _ = centre_axes(short, short + 7, resize=256, out=224)
        assert len(rows.lower) == 224
        assert rows.lower[0] == 16 * short // 256
