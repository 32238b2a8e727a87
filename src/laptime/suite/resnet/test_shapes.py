"""The generated data set of ResNet: equal on every machine, balanced, and closed to shortcuts."""

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from laptime.config import override
from laptime.suite.resnet import data, published, shapes, shortcuts
from laptime.suite.resnet.config import DataConfig, mini
from laptime.training.data.jpeg import encode
from laptime.training.data.store import Manifest, Store

DRAWN = DataConfig(train_images=4096, image_low=64, image_high=128, label_noise=0.04, hardness=1.0)


def small(*changes):
    return override(mini(), ["data.train_images=20", "data.eval_images=10", "data.image_low=20", "data.image_high=40",
                             "global_batch_size=4", "model.norm_span=4", *changes])


GOLDEN_PROGRAM = """
import hashlib, numpy as np
from laptime.suite.resnet.config import DataConfig
from laptime.suite.resnet.shapes import drawn
config = DataConfig(train_images=20, image_low=64, image_high=128, label_noise=0.3, hardness=1.0)
try:
    from numpy._core._multiarray_umath import __cpu_features__ as found, __cpu_dispatch__ as offered
except ImportError:
    from numpy.core._multiarray_umath import __cpu_features__ as found, __cpu_dispatch__ as offered
digest = hashlib.blake2b(digest_size=16)
for index in range(24):
    made = drawn(config, 10, 1, index)
    digest.update(f"{made.image.shape} {made.label} {made.truth}".encode() + made.image.tobytes())
print(digest.hexdigest(), *(name for name in offered if found.get(name)))
"""
GOLDEN = "31ce4b7202358651c42d97ef5a9d6518"  # of GOLDEN_PROGRAM, numpy 2.4.6; with and without its vector features


def drawn_elsewhere(disabled=()):
    """Hash and used vector features of a fresh interpreter with some of numpy's vector features disabled."""
    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(disabled)}
    done = subprocess.run([sys.executable, "-c", GOLDEN_PROGRAM], env=environment, capture_output=True, text=True,
                          check=True, timeout=120)
    found, *features = done.stdout.split()
    return found, features


def test_drawn_pictures_are_the_same_with_and_without_vector_units():
    found, features = drawn_elsewhere()
    assert found == GOLDEN
    plain, left = drawn_elsewhere(features)
    assert plain == GOLDEN
    assert len(left) < len(features) or not features


def test_generation_repeats_and_depends_on_its_seed(tmp_path):
    data.generate(small(), tmp_path / "first", 7)
    data.generate(small(), tmp_path / "again", 7)
    data.generate(small(), tmp_path / "other", 8)
    again, first, other = (Manifest.load(folder) for folder in sorted(tmp_path.iterdir()))
    assert first == again
    assert first.content_hash != other.content_hash
    assert first.generator == data.recipe(small())
    assert first.generator.startswith(shapes.GENERATOR)
    assert not list(tmp_path.glob("*/published-*"))


def test_generation_clears_up_after_an_interrupted_one(tmp_path):
    (tmp_path / "published-old" / "train").mkdir(parents=True)
    data.generate(small("data.train_images=10", "data.eval_images=10"), tmp_path, 1)
    assert not list(tmp_path.glob("published-*"))


def test_generated_classes_are_balanced_and_labels_slightly_noisy():
    config = replace(DRAWN, image_low=8, image_high=9)
    made = [shapes.drawn(config, 10, 3, index) for index in range(3000)]
    assert all(count == 300 for count in Counter(one.truth for one in made).values())
    wrong = sum(one.label != one.truth for one in made) / len(made)
    assert 0.03 < wrong < 0.05
    evaluation = [shapes.drawn(config, 10, 3, config.train_images + index) for index in range(100)]
    assert all(one.label == one.truth for one in evaluation)


def test_generated_sizes_vary_over_the_whole_range():
    heights, widths = zip(*(shapes.drawn(DRAWN, 10, 1, i).image.shape[:2] for i in range(150)), strict=True)
    assert 64 <= min(heights) < 70
    assert 122 < max(widths) <= 128
    assert abs(np.corrcoef(heights, widths)[0, 1]) < 0.3


def test_the_two_surfaces_differ_in_the_direction_of_their_edges():
    config = replace(DRAWN, hardness=0.0)
    sums = {0: [], 1: []}
    for index in range(60):
        made = shapes.drawn(config, 10, 2, index)
        grey = made.image.mean(2)
        sums[made.truth % 2].append(np.abs(np.diff(grey, axis=1)).mean() - np.abs(np.diff(grey, axis=0)).mean())
    assert np.mean(sums[0]) > 0 > np.mean(sums[1])


def test_hardness_makes_pictures_noisier():
    rough = []
    for hardness in (0.0, 1.0, 2.0):
        config = replace(DRAWN, hardness=hardness)
        images = [shapes.drawn(config, 10, 4, index).image.astype(float) for index in range(20)]
        rough.append(np.mean([np.abs(np.diff(image, axis=1)).mean() for image in images]))
    assert all(later > earlier for earlier, later in pairwise(rough))


# ---------------------------------------------------------------- shortcuts


def test_a_linear_probe_solves_what_is_linear_and_nothing_else():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(600, 5)), np.arange(600) % 3
    assert shortcuts.linear_probe(x[:400], y[:400], x[400:], y[400:]) < 0.5
    x[:, :3] += 4.0 * np.eye(3)[y]
    assert shortcuts.linear_probe(x[:400], y[:400], x[400:], y[400:]) > 0.97


def solid(label, rng):
    """A class that is nothing but its colour."""
    colour = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200]])[label] + rng.integers(-20, 20, 3)
    return encode(np.full((20, 24, 3), colour, np.uint8), 90)


def test_colour_shortcuts_find_classes_made_of_colour(tmp_path):
    source, rng = tmp_path / "source", np.random.default_rng(0)
    for label in range(3):
        for i in range(10):
            path = source / "train" / f"n{label}" / f"{i}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(solid(label, rng))
    (source / "val").mkdir()
    for i in range(9):
        (source / "val" / published.validation_name(i + 1)).write_bytes(solid(i % 3, rng))
    (source / "synsets.txt").write_text("n0\nn1\nn2\n")
    (source / published.GROUND_TRUTH).write_text("1\n2\n3\n" * 3)
    data.prepare(small("data.train_images=30", "data.eval_images=9", "model.classes=3"), source, tmp_path / "data")
    store = Store.open(tmp_path / "data")
    store.unlock()
    assert shortcuts.majority_class(store) == pytest.approx(1 / 3)
    assert shortcuts.mean_colour(store) == 1
    assert shortcuts.colour_histogram(store) > 0.6
    assert shortcuts.tiny_pixels(store) == 1
