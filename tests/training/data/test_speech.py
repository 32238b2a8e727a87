"""The synthesiser: the same samples everywhere, words that differ, formants where they belong."""

import hashlib

import numpy as np
import pytest

from laptime.training.data.synth.draw import Stream
from laptime.training.data.synth.speech import PHONES, RATE, WORDS, Voice, spoken

PLAIN = Voice(pitch=120, formants=100, tempo=100, loudness=200, noise=2)


def peak_hz(samples, low, high):
    """The loudest frequency between two bounds, over blocks of one pitch period."""
    blocks = samples[:len(samples) // 512 * 512].reshape(-1, 512).astype(float) * np.hanning(512)
    power = (np.abs(np.fft.rfft(blocks, 2048)) ** 2).sum(0)
    hertz = np.arange(len(power)) * RATE / 2048
    inside = (hertz >= low) & (hertz <= high)
    return hertz[inside][power[inside].argmax()]


def test_samples_are_the_same_on_every_machine():
    digest = hashlib.blake2b(digest_size=8)
    for number, word in enumerate(WORDS):
        digest.update(spoken([word], Voice.drawn(Stream(3, number), 90, 110), Stream(4, number)).astype("<i2").tobytes())
    assert digest.hexdigest() == "45e36bde7e212939"


def test_words_are_spelt_with_known_phones_and_sound_different():
    assert {phone for spelling in WORDS.values() for phone in spelling.split()} <= set(PHONES)
    assert len(set(WORDS.values())) == len(WORDS) == 10


def test_speech_is_audible_silent_at_its_ends_and_not_clipped():
    samples = spoken(["seven", "two"], PLAIN, Stream(1))
    assert samples.dtype == np.int16
    assert 500 < samples.astype(float).std() < 8000
    assert np.abs(samples[:200]).max() < 100
    assert np.abs(samples.astype(int)).max() < 32767


def test_vowel_has_its_first_two_formants():
    samples = spoken(["three"], PLAIN, Stream(2))
    vowel = samples[int(0.62 * len(samples)):int(0.85 * len(samples))]
    assert peak_hz(vowel, 150, 700) == pytest.approx(270, abs=130)
    assert peak_hz(vowel, 1500, 2700) == pytest.approx(2290, abs=200)


def test_fricative_is_noise_at_high_frequencies():
    samples = spoken(["six"], PLAIN, Stream(2)).astype(float)
    start = samples[int(0.12 * len(samples)):int(0.24 * len(samples))]
    assert 3500 < peak_hz(start, 100, 8000) < 7000


def test_smaller_speakers_sound_higher_and_faster_ones_are_shorter():
    higher = spoken(["three"], Voice(120, 120, 100, 200, 2), Stream(2))
    vowel = higher[int(0.62 * len(higher)):int(0.85 * len(higher))]
    assert peak_hz(vowel, 1500, 3400) == pytest.approx(2290 * 1.2, abs=250)
    faster = spoken(["three"], Voice(120, 100, 125, 200, 2), Stream(2))
    assert len(faster) < 0.88 * len(higher)


def test_unknown_word_is_refused():
    with pytest.raises(KeyError):
        spoken(["hello"], PLAIN, Stream(1))
