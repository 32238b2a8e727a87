import numpy as np
import pytest

from laptime.training.data.synth.draw import (
    SHAPES,
    Frame,
    Stream,
    blend,
    blurred,
    clouds,
    finished,
    flat,
    noisy,
    slope,
    stripes,
)


def frame(size=20.0, degrees=0):
    return Frame.at(101, 121, y=50.0, x=60.0, size=size, degrees=degrees, reach=1.9)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("degrees", [0, 17, -25])
def test_every_shape_has_the_area_of_the_square_whatever_its_rotation(name, degrees):
    window = frame(degrees=degrees)
    area = window.covered(SHAPES[name](window)).sum() / 20.0**2
    assert area == pytest.approx(4.0, rel=0.02)


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_mirror_images_of_themselves(name):
    amount = frame().covered(SHAPES[name](frame()))
    centre = 60 - frame().columns.start
    left = amount[:, centre - 30:centre][:, ::-1]
    right = amount[:, centre + 1:centre + 31]
    np.testing.assert_allclose(left, right, atol=1e-5)


def test_a_frame_turns_its_axes():
    turned = frame(degrees=90)
    np.testing.assert_allclose(turned.u, frame().v, atol=1e-6)
    np.testing.assert_allclose(turned.v, -frame().u, atol=1e-6)


def test_a_frame_outside_of_the_picture_is_empty():
    outside = Frame.at(10, 10, y=-50.0, x=5.0, size=4.0, degrees=0, reach=1.0)
    picture = np.ones((3, 10, 10), np.float32)
    outside.paint(picture, (9.0, 9.0, 9.0), outside.covered(SHAPES["disc"](outside)))
    assert np.all(picture == 1)


def test_stripes_are_half_on_and_repeat_with_their_period():
    lines = stripes(slope(1, 120, 0), 12.0, 0.3)[0]
    assert lines.mean() == pytest.approx(0.5, abs=0.01)
    np.testing.assert_allclose(lines[:-12], lines[12:], atol=1e-4)
    assert (lines.min(), lines.max()) == (0, 1)


def test_stripes_along_the_other_direction_run_across():
    assert np.ptp(stripes(slope(60, 60, 90), 10.0, 0.0), axis=1).max() < 1e-4
    assert np.ptp(stripes(slope(60, 60, 90), 10.0, 0.0), axis=0).min() > 0.9


def test_blend_mixes_by_amount():
    picture = np.full((3, 1, 3), 100.0, np.float32)
    blend(picture, (200.0, 0.0, 100.0), np.array([[0.0, 0.5, 1.0]], np.float32))
    assert picture[:, 0].tolist() == [[100, 150, 200], [100, 50, 0], [100, 100, 100]]


def test_blur_keeps_the_mean_of_a_flat_picture_and_smooths_noise():
    level = np.repeat(np.repeat(flat((10.0, 20.0, 30.0)), 8, 1), 9, 2)
    np.testing.assert_allclose(blurred(level, 2), level, rtol=1e-6)
    rough = noisy(level, Stream(1, 2), 50.0)
    assert blurred(rough, 1).std() < rough.std()
    inner = rough[:, 2:5, 3:6].mean(axis=(1, 2))
    np.testing.assert_allclose(blurred(rough, 1)[:, 3, 4], inner, rtol=1e-5)


def test_noise_is_centred_and_within_its_amplitude():
    noise = noisy(np.zeros((3, 50, 50), np.float32), Stream(5, 0), 40.0)
    assert abs(noise.mean()) < 1
    assert 30 < np.abs(noise).max() <= 40


def test_clouds_pass_through_their_lattice():
    lattice = Stream(7, 0).bytes(3, 3, 3)
    made = clouds(Stream(7, 0), 20, 30, 2)
    assert made.shape == (3, 20, 30)
    assert made[:, 0, 0].tolist() == lattice[:, 0, 0].tolist()
    assert made[:, 10, 15].tolist() == lattice[:, 1, 1].tolist()


def test_finished_rounds_and_clips():
    made = finished(np.array([-5.0, 0.4, 0.6, 254.6, 300.0, 128.0], np.float32).reshape(3, 1, 2))
    assert made.tolist() == [[[0, 1, 255], [0, 255, 128]]]


def test_streams_differ_by_key_and_repeat():
    assert Stream(1, 2).bytes(16).tolist() == Stream(1, 2).bytes(16).tolist()
    assert Stream(1, 2).bytes(16).tolist() != Stream(1, 3).bytes(16).tolist()
    assert Stream(1, 2).bytes(16).tolist() != Stream(2, 2).bytes(16).tolist()
    stream = Stream(3, 3)
    assert {stream.integer(2, 4) for _ in range(100)} == {2, 3, 4}
