"""The audio pipeline against the same steps written plainly, utterance by utterance."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from laptime.suite.rnnt.config import full
from laptime.suite.rnnt.features import (
    DITHER_TABLE,
    Clips,
    Features,
    Masks,
    frame_count,
    mel_filters,
    mirrored,
    resample,
    resampled_length,
    spliced_count,
    voiced,
)
from laptime.suite.rnnt.reader import draw_masks
from laptime.training.data.sampler import Draws

DATA = full().data
CPU = torch.device("cpu")
NOISE = torch.randn(DITHER_TABLE, generator=torch.Generator().manual_seed(1))


def speech(length, seed=0):
    return np.random.Generator(np.random.Philox(seed)).integers(-8000, 8000, length, np.int16)


def clips_of(samples, speed=None, masks=None):
    speed = np.ones(len(samples)) if speed is None else np.array(speed)
    return Clips(samples, speed, np.arange(len(samples)) * 1000, masks)


def features_of(clips, config=DATA):
    pipeline = Features(config, CPU, NOISE)
    return pipeline(*pipeline.packed(clips), longest=max(clips.lengths()))


def plain(samples, place, config=DATA):
    """Features of one utterance, (frames, mels), step by step in float64."""
    x = samples / 32768 + config.dither * NOISE.double().numpy()[(np.arange(len(samples)) + place) % DITHER_TABLE]
    x = np.concatenate([[x[0] - 0.97 * x[0]], x[1:] - 0.97 * x[:-1]])
    x = np.pad(x, 160, mode="reflect")
    window = np.array([0.5 - 0.5 * math.cos(2 * math.pi * (i + 0.5) / 320) for i in range(320)])
    frames = [np.fft.rfft(x[160 * t:160 * t + 320] * window, 512) for t in range(len(samples) // 160 + 1)]
    power = np.abs(np.array(frames)) ** 2
    logs = np.log(np.maximum(power @ mel_filters(config).numpy(), 1e-20))
    return (logs - logs.mean(0)) / logs.std(0)


def test_features_of_a_batch_equal_the_plain_pipeline():
    samples = [speech(4000, 1), speech(7013, 2)]
    found = features_of(clips_of(samples))
    assert found.shape == (15, 2, 240)
    for b, one in enumerate(samples):
        expected = plain(one, 1000 * b)
        frames = len(expected)
        assert frames == frame_count(len(one), DATA)
        rows = found[:, b].reshape(-1, 80)
        assert np.abs(rows[:frames].numpy() - expected).max() < 5e-3
        assert not rows[frames:].any()


def test_filters_are_triangles_of_area_one_on_the_slaney_scale():
    filters = mel_filters(DATA).numpy()
    assert filters.shape == (257, 80)
    assert filters.sum(0)[20:] * 16000 / 512 == pytest.approx(np.ones(60), rel=0.15)
    peaks = filters.argmax(0) * 16000 / 512
    assert peaks[-1] == pytest.approx(7800, abs=150)
    assert np.all(np.diff(peaks) >= 0)
    below = peaks[(peaks > 200) & (peaks < 900)]
    assert np.diff(below).mean() == pytest.approx(36.8, rel=0.1)  # equal steps below 1 kHz: 8 kHz is mel 45.245, / 81 x 66.67


def test_silence_at_the_ends_is_cut_and_the_middle_kept():
    samples = np.zeros(40000, np.int16)
    samples[10000:12000] = 5000
    samples[20000:21000] = 5000
    kept = voiced(samples, -60.0, 2048)
    assert 10000 - 2048 <= kept.start <= 10000
    assert 21000 <= kept.stop <= 21000 + 2048
    assert voiced(np.zeros(5000, np.int16), -60.0, 2048) == slice(0, 5000)
    assert voiced(speech(100), -60.0, 2048) == slice(0, 100)


def test_sound_60_db_below_the_loudest_counts_and_quieter_does_not():
    samples = np.zeros(30000, np.int16)
    samples[15000:18000] = 10000
    samples[:3000] = 11
    assert voiced(samples, -60.0, 2048).start == 0
    samples[:3000] = 9
    assert voiced(samples, -60.0, 2048).start > 10000


@pytest.mark.parametrize("speed", [0.85, 1.0, 1.15])
def test_resampled_tone_has_its_frequency_divided_by_the_speed(speed):
    count, hertz = 4000, 500.0
    tone = torch.sin(2 * math.pi * hertz / 16000 * torch.arange(count, dtype=torch.float64)).float()[None]
    longest = resampled_length(count, speed)
    found = resample(tone, torch.tensor([speed], dtype=torch.float64), longest, 16)
    expected = torch.sin(2 * math.pi * hertz / speed / 16000 * torch.arange(longest))
    assert (found[0] - expected)[100:-100].abs().max() < 5e-3


def test_resampling_down_removes_what_lies_above_the_new_nyquist_frequency():
    tone = torch.sin(2 * math.pi * 7600 / 16000 * torch.arange(4000))[None]
    found = resample(tone, torch.tensor([0.85], dtype=torch.float64), 3400, 16)
    assert found[0, 200:-200].square().mean() < 0.01 * tone.square().mean()


def test_faster_speech_has_fewer_frames_and_the_batch_knows_how_many():
    samples = [speech(8000, 3), speech(8000, 4)]
    none = np.zeros((2, 0), np.int64)
    clips = clips_of(samples, [0.85, 1.15], Masks(none, none, none, none))
    assert clips.lengths() == [6800, 9200]
    found = features_of(clips)
    assert found.shape[0] == spliced_count(9200, DATA) == 20
    assert not found[spliced_count(6800, DATA):, 0].any()
    assert found[-1, 1].any()


def test_mirror_repeats_neither_end_and_works_on_short_signals():
    x = torch.tensor([[1.0, 2, 3, 4, 5], [7, 8, 9, 0, 0]])
    found = mirrored(x, torch.tensor([5, 3]), 2)
    assert found[0].tolist() == [3, 2, 1, 2, 3, 4, 5, 4, 3]
    assert found[1, :7].tolist() == [9, 8, 7, 8, 9, 8, 7]
    assert mirrored(x[:, :1], torch.tensor([1, 1]), 3).isfinite().all()


def test_masks_blank_their_spans_after_normalisation():
    masks = Masks(np.array([[10, 0]]), np.array([[5, 0]]), np.array([[4]]), np.array([[2]]))
    clean = features_of(clips_of([speech(5000)]))[:, 0].reshape(-1, 80)
    found = features_of(clips_of([speech(5000)], masks=masks))[:, 0].reshape(-1, 80)
    blank = (found == 0) & (clean != 0)
    expected = torch.zeros_like(blank)
    expected[:32, 10:15] = True
    expected[4:6] = True
    assert torch.equal(blank[:32], expected[:32])
    assert (found - clean)[~expected].abs().max() < 0.05  # resampled at speed 1


def test_masks_have_the_reference_s_widths_and_reach_every_place():
    samples, frames = np.arange(4000), np.full(4000, 200)
    masks = draw_masks(DATA, Draws(7), samples, frames)
    assert masks.feature_start.shape == (4000, 2)
    assert masks.frame_start.shape == (4000, 10)
    assert (masks.feature_width.min(), masks.feature_width.max()) == (0, 20)
    assert (masks.frame_width.min(), masks.frame_width.max()) == (0, 6)  # 0.03 x 200
    assert np.bincount(masks.feature_width.reshape(-1)).min() > 8000 / 21 * 0.75
    assert (masks.feature_start + masks.feature_width).max() == 80
    assert (masks.frame_start + masks.frame_width).max() == 200
    assert masks.frame_start.min() == 0


def test_masks_of_an_utterance_do_not_depend_on_its_batch():
    both = draw_masks(DATA, Draws(7), np.array([3, 5]), np.array([50, 90]))
    alone = draw_masks(DATA, Draws(7), np.array([5]), np.array([90]))
    assert np.array_equal(both.frame_start[1:], alone.frame_start)
    assert np.array_equal(both.feature_width[1:], alone.feature_width)


def test_features_without_normalisation_keep_their_level():
    loud, quiet = (features_of(clips_of([samples]), replace(DATA, normalise=False)) for samples in (speech(4000), speech(4000) // 8))
    assert (loud - quiet).mean() == pytest.approx(2 * math.log(8), rel=0.1)
