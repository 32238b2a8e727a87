"""From prepared shards to micro-batches: samples and labels of utterances, random numbers of an epoch, lengths."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from laptime.errors import DataProblem
from laptime.suite.rnnt.audio import Pcm
from laptime.suite.rnnt.config import DataConfig
from laptime.suite.rnnt.features import DITHER_TABLE, Clips, Features, Masks, frame_count, spliced_count, voiced
from laptime.training.data.sampler import Draws, Indices
from laptime.training.data.shards import Shards
from laptime.training.nn.transducer_loss import Lattice, lattice

SHUFFLED_KEY = 20151003  # of the fixed permutation of the planted fault
SPEED, DITHER, DROPOUT, MASK = 0, 1, 2, 8  # numbers of draws; masks take four each from the last on


@dataclass
class Utterances:
    """One part of a data set, opened through the data door."""

    shards: Shards
    config: DataConfig

    def __post_init__(self) -> None:
        rows = self.shards.rows
        self.lengths = rows["height"].astype(np.int64)  # samples
        self.label_counts = rows["width"].astype(np.int64)
        self._labels_of = np.arange(len(rows))

    def __len__(self) -> int:
        return len(self.lengths)

    def shuffle_transcripts(self) -> None:
        """A planted fault: every utterance gets the labels of another one."""
        self._labels_of = np.random.Generator(np.random.Philox(SHUFFLED_KEY)).permutation(len(self))

    def labels(self, sample: int) -> NDArray[np.uint16]:
        """Ids of the pieces of a transcript."""
        own = int(self._labels_of[sample])
        return np.frombuffer(self._record(own), "<u2", int(self.label_counts[own]))

    def samples(self, sample: int) -> Pcm:
        """The recording without its quiet ends."""
        pcm = np.frombuffer(self._record(sample), "<i2", offset=2 * int(self.label_counts[sample]))
        return pcm[voiced(pcm, self.config.silence_db, self.config.silence_window)]

    def _record(self, sample: int) -> bytes:
        data = self.shards[sample]
        if len(data) != 2 * (self.lengths[sample] + self.label_counts[sample]) or not self.lengths[sample]:
            raise DataProblem(f"expected {self.label_counts[sample]} labels and {self.lengths[sample]} samples as "
                              f"{self.shards.where(sample)}, found {len(data)} bytes",
                              hint="Make the data again: `laptime prepare --force`.")
        return data


class Shares(NamedTuple):
    """A micro-batch on the host. audio: what `Features` asks for; the rest as in `Micro`."""

    audio: tuple[torch.Tensor, ...]
    longest: int
    frames_B: torch.Tensor
    labels_UB: torch.Tensor
    keys_B: torch.Tensor
    cells: Lattice


class Micro(NamedTuple):
    """A micro-batch on the device. features (T, B, F) in the dtype of the weights; frames_B, labels_UB: int64;
    keys_B: int32."""

    features_TBF: torch.Tensor
    frames_B: torch.Tensor
    labels_UB: torch.Tensor
    keys_B: torch.Tensor
    cells: Lattice


def train_clips(part: Utterances, draws: Draws, samples: Indices) -> Clips:
    """Utterances of an epoch with their speed, dither and masks; without augmentation (a planted fault) only dither."""
    config = part.config
    pcm = [part.samples(int(one)) for one in samples]
    if not config.augment:
        return Clips(pcm, np.ones(len(pcm)), _dither(draws, samples), None)
    speed = config.speed_low + (config.speed_high - config.speed_low) * draws.uniform(samples, SPEED)
    plain = Clips(pcm, speed, _dither(draws, samples), None)
    frames = np.array([frame_count(length, config) for length in plain.lengths()], np.int64)
    return Clips(pcm, speed, plain.dither, draw_masks(config, draws, samples, frames))


def eval_clips(part: Utterances, draws: Draws, samples: Indices) -> Clips:
    """Utterances as they are, with dither."""
    return Clips([part.samples(int(one)) for one in samples], np.ones(len(samples)), _dither(draws, samples), None)


def _dither(draws: Draws, samples: Indices) -> Indices:
    return draws.below(samples, DITHER, np.full(len(samples), DITHER_TABLE))


def draw_masks(config: DataConfig, draws: Draws, samples: Indices, frames: Indices) -> Masks:
    """Widths uniform among whole numbers up to their bounds, both included; starts such that every place can be hit."""
    low = np.floor(config.time_mask_low * frames + 0.5).astype(np.int64)
    high = np.floor(config.time_mask_high * frames + 0.5).astype(np.int64)
    counts = np.full(len(samples), config.mels)
    at = [MASK + 2 * i for i in range(config.frequency_masks + config.time_masks)]
    feature = [_spans(draws, samples, one, counts, (config.frequency_mask_low, config.frequency_mask_high))
               for one in at[:config.frequency_masks]]
    time = [_spans(draws, samples, one, frames, (low, high)) for one in at[config.frequency_masks:]]
    return Masks(*_columns(feature, len(samples)), *_columns(time, len(samples)))


def _spans(draws: Draws, samples: Indices, draw: int, size: Indices,
           bounds: "tuple[int | Indices, int | Indices]") -> tuple[Indices, Indices]:
    low, high = (np.broadcast_to(np.asarray(one), size.shape) for one in bounds)
    width = np.minimum(size, low + draws.below(samples, draw, high - low + 1))
    return draws.below(samples, draw + 1, size - width + 1), width


def _columns(spans: Sequence[tuple[Indices, Indices]], rows: int) -> tuple[Indices, Indices]:
    if not spans:
        return np.zeros((rows, 0), np.int64), np.zeros((rows, 0), np.int64)
    starts, widths = zip(*spans, strict=True)
    return np.stack(starts, 1), np.stack(widths, 1)


def shares(features: Features, clips: Clips, labels: Sequence[NDArray[np.uint16]], keys: NDArray[np.int32],
           time_stack: int) -> Shares:
    """Everything about a micro-batch that is known on the host. Labels are padded with 0, an id like any other."""
    lengths = clips.lengths()
    frames = [spliced_count(length, features.config) for length in lengths]
    padded = np.zeros((max(map(len, labels)), len(labels)), np.int64)
    for column, ids in enumerate(labels):
        padded[:len(ids), column] = ids
    cells = lattice([-(-one // time_stack) for one in frames], [ids.tolist() for ids in labels])
    return Shares(features.packed(clips), max(lengths), torch.tensor(frames), torch.from_numpy(padded),
                  torch.from_numpy(keys), cells)


def dropout_keys(draws: Draws, samples: Indices) -> NDArray[np.int32]:
    """Keys of the utterances in this epoch."""
    return (draws.below(samples, DROPOUT, np.full(len(samples), 1 << 32)) - (1 << 31)).astype(np.int32)
