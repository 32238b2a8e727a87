"""Speech for generated data sets: digits spoken by a formant synthesiser, equal on every machine.

A phone is a target for three formants with amounts of voice and of noise; targets are smoothed over 25 ms. Voice: every
pitch pulse starts a decaying sinusoid at each formant (formant wave functions, after Rodet 1984). Noise: random numbers
held for half a millisecond, moved to the formants. Only integer additions, products, quotients and tables are used,
so no machine can compute another sample. Formants of vowels: Peterson & Barney 1952, table II, men.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from laptime.training.data.synth.draw import Stream

RATE = 16000
BLOCK = 80  # samples of 5 ms: the step in which targets change
TABLE_BITS = 12
TURN = 1 << TABLE_BITS
SINES = np.array([round(32767 * math.sin(2 * math.pi * i / TURN)) for i in range(TURN)], np.int64)
LOUDNESS = (256, 150, 80)  # of the three formants, in 256ths
HOLD = 8  # samples that a random number of the noise lasts
SMOOTH = 5  # blocks

Track = NDArray[np.int64]


@dataclass(frozen=True)
class Phone:
    """Formants in Hz, voice and noise in 256ths, usual duration in ms."""

    formants: tuple[int, int, int]
    voice: int
    noise: int
    duration_ms: int


PHONES = {
    "IY": Phone((270, 2290, 3010), 200, 0, 90), "IH": Phone((390, 1990, 2550), 220, 0, 70),
    "EH": Phone((530, 1840, 2480), 240, 0, 80), "AH": Phone((640, 1190, 2390), 230, 0, 65),
    "AA": Phone((730, 1090, 2440), 256, 0, 80), "AO": Phone((570, 840, 2410), 250, 0, 90),
    "UH": Phone((440, 1020, 2240), 220, 0, 60), "UW": Phone((300, 870, 2240), 210, 0, 90),
    "W": Phone((290, 610, 2150), 150, 0, 55), "R": Phone((310, 1060, 1380), 160, 0, 55),
    "N": Phone((250, 1450, 2300), 110, 0, 60), "S": Phone((4200, 5300, 6500), 0, 110, 90),
    "Z": Phone((4000, 5100, 6300), 50, 70, 75), "TH": Phone((1400, 5000, 7200), 0, 45, 80),
    "F": Phone((1100, 3800, 7400), 0, 50, 80), "V": Phone((280, 1150, 2500), 80, 25, 55),
    "t": Phone((3400, 4300, 5600), 0, 170, 25), "k": Phone((1700, 2200, 3400), 0, 150, 30),
    "-": Phone((400, 1500, 2500), 0, 0, 45),
}

WORDS = {  # "-" is a silent closure before its burst
    "zero": "Z IH R AO UH", "one": "W AH N", "two": "- t UW", "three": "TH R IY", "four": "F AO R", "five": "F AA IY V",
    "six": "S IH - k S", "seven": "S EH V AH N", "eight": "EH IY - t", "nine": "N AA IY N",
}


@dataclass(frozen=True)
class Voice:
    """Who speaks. pitch in Hz; formants and tempo in percent of the usual; loudness in 256ths; noise of the room."""

    pitch: int
    formants: int
    tempo: int
    loudness: int
    noise: int

    @classmethod
    def drawn(cls, stream: Stream, low: int, high: int) -> "Voice":
        """A speaker whose size, from `low` to `high` percent, sets pitch, formants and tempo, with some freedom."""
        size = stream.integer(low, high)
        return cls(size * stream.integer(105, 165) // 100, size * stream.integer(96, 104) // 100,
                   size * stream.integer(94, 106) // 100, stream.integer(90, 230), stream.integer(4, 40))


def spoken(words: Sequence[str], voice: Voice, stream: Stream) -> NDArray[np.int16]:
    """The words as 16-bit samples at 16 kHz, with a little silence at both ends. Raises KeyError for unknown words."""
    formants, voiced, noisy = _tracks(words, voice, stream)
    count = len(voiced) * BLOCK
    pitch = np.repeat(_pitch(len(voiced), voice, stream), BLOCK)
    phase = np.cumsum(pitch * ((1 << 24) // RATE))  # 1 << 24 is a turn
    since = _since_pulse(phase)
    decay = (1 << 12) - ((phase & ((1 << 24) - 1)) >> 12)
    decay = decay * decay >> 12
    voice_wave, noise_wave = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for track, loudness in zip(formants, LOUDNESS, strict=True):
        turn = np.repeat(track, BLOCK) * ((1 << 24) // RATE)
        voice_wave += _sine(since * turn) * loudness >> 8
        held = np.repeat(stream.bytes(-(-count // HOLD)).astype(np.int64) - 128, HOLD)[:count]
        noise_wave += _sine(np.cumsum(turn)) * held >> 7
    wave = ((voice_wave * decay >> 12) * _ramped(voiced) >> 8) + (noise_wave * _ramped(noisy) >> 8)
    wave = (wave * voice.loudness >> 10) + (stream.bytes(count).astype(np.int64) - 128) * voice.noise // 16
    return np.clip(wave, -32768, 32767).astype(np.int16)


def _tracks(words: Sequence[str], voice: Voice, stream: Stream) -> tuple[list[Track], Track, Track]:
    """Per block: three formants in Hz, amounts of voice and of noise."""
    names = ["-"]
    for word in words:
        names += [*WORDS[word].split(), *(["-"] if stream.integer(0, 2) == 0 else [])]
    names += ["-"]
    phones = [PHONES[name] for name in names]
    blocks = [max(2, phone.duration_ms * stream.integer(85, 120) // (5 * voice.tempo)) for phone in phones]
    voiced, noisy = (np.repeat([getattr(phone, kind) for phone in phones], blocks) for kind in ("voice", "noise"))
    formants = [np.repeat([phone.formants[k] * voice.formants // 100 for phone in phones], blocks) for k in range(3)]
    return [np.minimum(_smoothed(track, SMOOTH), RATE // 2 - 100) for track in formants], _smoothed(voiced, 3), \
        _smoothed(noisy, 3)


def _smoothed(track: Track, width: int) -> Track:
    """The mean of `width` neighbours; the ends repeat."""
    padded = np.pad(track.astype(np.int64), width // 2, mode="edge")
    total = np.zeros(len(track), np.int64)
    for i in range(width):
        total += padded[i:i + len(track)]
    return total // width


def _pitch(blocks: int, voice: Voice, stream: Stream) -> Track:
    """Hz per block: falling by a sixth, with a slow waver."""
    waver = np.repeat([stream.integer(-6, 6) for _ in range(blocks // 8 + 1)], 8)[:blocks]
    fall = voice.pitch - voice.pitch * np.arange(blocks) // (6 * max(1, blocks))
    return np.maximum(60, fall + _smoothed(waver, SMOOTH))


def _since_pulse(phase: Track) -> Track:
    """Samples since the last whole turn."""
    turns, at = phase >> 24, np.arange(len(phase))
    starts = np.zeros(len(phase), np.int64)
    starts[1:] = np.where(turns[1:] != turns[:-1], at[1:], 0)
    return at - np.maximum.accumulate(starts)


def _sine(phase: Track) -> Track:
    """Of an angle whose turn is 1 << 24, -32767..32767."""
    return SINES.take((phase & ((1 << 24) - 1)) >> (24 - TABLE_BITS))


def _ramped(amounts: Track) -> Track:
    """Per block to per sample, changing linearly."""
    following = np.append(amounts[1:], amounts[-1])
    along = np.arange(BLOCK)
    ramps = (amounts[:, None] * (BLOCK - along) + following[:, None] * along) // BLOCK
    return ramps.reshape(-1).astype(np.int64)
