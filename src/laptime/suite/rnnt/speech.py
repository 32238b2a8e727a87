"""The generated data set: numbers spoken digit by digit, as FLAC files and transcripts in the layout of LibriSpeech.

Numbers that evaluation speakers say are never said in training, and evaluation speakers are smaller and larger people
than training speakers: a network that never heard other speeds does worse.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from laptime.suite.rnnt.audio import Pcm, write_flac
from laptime.suite.rnnt.config import DataConfig
from laptime.training.data.sampler import scrambled
from laptime.training.data.synth.draw import Stream
from laptime.training.data.synth.speech import WORDS, Voice, spoken

GENERATOR = "spoken digits 1"
HELD_BACK = 8  # one number in so many is said in evaluation only
CHAPTER = 8  # utterances of one speaker in a row
TRAIN_SIZES = (96, 104)  # of speakers, in percent
EVAL_SIZES = (8, 8)  # further percent down and up for evaluation speakers, times `spread`
SPEAKERS = 1 << 40  # streams of speakers begin here, those of utterances at 0


@dataclass(frozen=True)
class Utterance:
    """One generated file and what is said in it."""

    split: str
    speaker: int
    number: int  # within the chapter
    text: str
    samples: Pcm

    @property
    def name(self) -> str:
        """As the published files are called."""
        return f"{self.speaker}-{self.speaker + 100000}-{self.number:04d}"

    @property
    def folder(self) -> Path:
        return Path(self.split, str(self.speaker), str(self.speaker + 100000))


def drawn(config: DataConfig, seed: int, index: int) -> Utterance:
    """Utterance `index`: training splits in order, then evaluation. A function of its arguments only."""
    split, within = _split_of(config, index)
    training = split != config.eval_split
    low, high = TRAIN_SIZES
    if not training:
        low, high = low - round(EVAL_SIZES[0] * config.spread), high + round(EVAL_SIZES[1] * config.spread)
    speaker = 1000 * (1 + (*config.train_splits, config.eval_split).index(split)) + within // CHAPTER
    voice = Voice.drawn(Stream(seed, SPEAKERS + speaker), low, high)
    stream = Stream(seed, index)
    words = _digits(config, stream, training)
    return Utterance(split, speaker, within % CHAPTER, " ".join(words).upper(), spoken(words, voice, stream))


def write_published(config: DataConfig, target: Path, seed: int, threads: int = 2) -> str:
    """Write the data set under `target`; returns the hash of what was said and of every sample."""
    digest = hashlib.blake2b(digest_size=16)
    transcripts: dict[Path, list[str]] = {}
    for made in _all(config, target, seed, threads):
        digest.update(f"{made.name} {made.text} {len(made.samples)}\n".encode() + made.samples.astype("<i2").tobytes())
        path = target / made.folder / f"{made.speaker}-{made.speaker + 100000}.trans.txt"
        transcripts.setdefault(path, []).append(f"{made.name} {made.text}\n")
    for path, lines in transcripts.items():
        path.write_text("".join(lines), encoding="utf-8")
    return digest.hexdigest()


def _all(config: DataConfig, target: Path, seed: int, threads: int) -> Iterator[Utterance]:
    def make(index: int) -> Utterance:
        made = drawn(config, seed, index)
        (target / made.folder).mkdir(parents=True, exist_ok=True)
        write_flac(target / made.folder / f"{made.name}.flac", made.samples, config.sample_rate)
        return made

    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(make, range(sum(config.train_utterances) + config.eval_utterances))


def _split_of(config: DataConfig, index: int) -> tuple[str, int]:
    for split, count in zip(config.train_splits, config.train_utterances, strict=True):
        if index < count:
            return split, index
        index -= count
    return config.eval_split, index


def _digits(config: DataConfig, stream: Stream, training: bool) -> list[str]:
    """The words of a number, as many digits as configured, of the numbers for training or of the others."""
    names = list(WORDS)
    while True:
        digits = [stream.integer(0, 9) for _ in range(stream.integer(config.words_low, config.words_high))]
        number = int("1" + "".join(map(str, digits)))  # leading zeros count
        held_back = int(scrambled(np.array([number], np.uint64))[0]) % HELD_BACK == 0
        if held_back != training:
            return [names[digit] for digit in digits]
