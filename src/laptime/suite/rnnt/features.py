"""From samples of speech to what the network hears: the reference's audio pipeline, for a batch on its device.

Order: speed perturbation (training), cut of silence, dither, pre-emphasis, power spectrum, mel filters, logarithm,
normalisation per feature over the utterance, masks (training), stacking of frames. Lengths are known on the host
beforehand, so nothing waits for the device. Letters: B utterances, S samples, F frames, M mel filters.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from laptime.suite.rnnt.config import DataConfig

Pcm = NDArray[np.int16]
FULL_SCALE = 32768.0  # of 16-bit samples
FLOOR = 1e-20  # of power, below the logarithm (reference: the same in its decibel operator)
BREAK_HZ, BREAK_MEL, BELOW_HZ = 1000.0, 15.0, 200.0 / 3.0  # Slaney 1998: linear up to here, then 27 mel per factor 6.4
OCTAVE = math.log(6.4) / 27.0
PHASE_BITS = 11  # 2048 places between two samples are told apart in resampling
PHASES = 1 << PHASE_BITS
DITHER_TABLE = 1 << 18  # random numbers that every utterance takes its dither from, at a place of its own


def voiced(samples: Pcm, threshold_db: float, window: int) -> slice:
    """What is left when quiet ends are cut: from the first to the last window whose mean square lies less than
    `threshold_db` below that of the loudest. Everything when all is silent."""
    size = min(window, len(samples))
    total = np.concatenate([[0], np.cumsum(samples.astype(np.int64) ** 2)])
    power = total[size:] - total[:-size]
    loud = np.flatnonzero(power > power.max() * 10.0 ** (threshold_db / 10.0))
    return slice(int(loud[0]), int(loud[-1]) + size) if len(loud) else slice(0, len(samples))


def resampled_length(samples: int, speed: float) -> int:
    """Samples after resampling to `speed` times the rate."""
    return max(1, round(samples * speed))


def frame_count(samples: int, config: DataConfig) -> int:
    """Spectra of a signal, centred on its samples 0, step, 2 step, ..."""
    return samples // config.step + 1


def spliced_count(samples: int, config: DataConfig) -> int:
    """Input frames of the network for a signal."""
    return -(-frame_count(samples, config) // config.splice)


@dataclass(frozen=True)
class Masks:
    """Spans of features and frames set to 0 (SpecAugment, Park et al. 2019, without warping), int64 (B, masks)."""

    feature_start: NDArray[np.int64]
    feature_width: NDArray[np.int64]
    frame_start: NDArray[np.int64]
    frame_width: NDArray[np.int64]


@dataclass(frozen=True)
class Clips:
    """Utterances before the pipeline: `samples` (each cut already), `speed` factors, dither places, masks or None."""

    samples: Sequence[Pcm]
    speed: NDArray[np.float64]
    dither: NDArray[np.int64]
    masks: Masks | None

    def lengths(self) -> list[int]:
        """Samples of each utterance after resampling."""
        return [resampled_length(len(one), speed) for one, speed in zip(self.samples, self.speed, strict=True)]


class Features:
    """The pipeline on one device, in float32 or float64; `noise`: (DITHER_TABLE,) normal numbers."""

    def __init__(self, config: DataConfig, device: torch.device, noise: torch.Tensor,
                 dtype: torch.dtype = torch.float32) -> None:
        self.config, self.device, self.dtype = config, device, dtype
        self.noise = config.dither * noise.to(device, dtype)
        phase = torch.arange(config.window, dtype=torch.float64, device="cpu") + 0.5
        self.window = (0.5 - 0.5 * torch.cos(2.0 * math.pi / config.window * phase)).to(device, dtype)  # Hann
        self.filters = mel_filters(config).to(device, dtype)

    def packed(self, clips: Clips) -> tuple[torch.Tensor, ...]:
        """Host tensors of a batch, to be sent to the device and given to `__call__`."""
        samples = np.zeros((len(clips.samples), max(map(len, clips.samples))), np.int16)
        for row, one in zip(samples, clips.samples, strict=True):
            row[:len(one)] = one
        lengths = np.array([list(map(len, clips.samples)), clips.lengths()], np.int64)
        parts = [samples, lengths, clips.speed, clips.dither]
        if clips.masks is not None:
            parts += [np.concatenate([clips.masks.feature_start, clips.masks.frame_start], 1),
                      np.concatenate([clips.masks.feature_width, clips.masks.frame_width], 1)]
        return tuple(torch.from_numpy(np.ascontiguousarray(part)) for part in parts)

    @torch.no_grad()
    def __call__(self, samples: torch.Tensor, lengths: torch.Tensor, speed: torch.Tensor, dither: torch.Tensor,
                 *masks: torch.Tensor, longest: int) -> torch.Tensor:
        """(T, B, splice M), time-major; 0 beyond an utterance's own frames. longest: of `Clips.lengths()`."""
        x_BS = samples.to(self.dtype) / FULL_SCALE
        if masks:
            x_BS = resample(x_BS, speed, longest, self.config.resample_lobes)
        x_BS = self._emphasised(x_BS, dither)
        counts = lengths[1] // self.config.step + 1
        x_BFM = self._log_mel(x_BS, lengths[1])
        own = torch.arange(x_BFM.shape[1], device=self.device) < counts[:, None]
        x_BFM = normalised(x_BFM, own[:, :, None]) if self.config.normalise else x_BFM * own[:, :, None]
        if masks:
            x_BFM = masked(x_BFM, *masks, feature_masks=self.config.frequency_masks)
        return spliced(x_BFM, self.config.splice)

    def _emphasised(self, x_BS: torch.Tensor, dither: torch.Tensor) -> torch.Tensor:
        """x[n] - p x[n - 1] of the dithered signal; the sample before the first is equal to it."""
        if self.config.dither:
            place = torch.arange(x_BS.shape[1], device=self.device) + dither[:, None]
            x_BS = x_BS + self.noise[place & (DITHER_TABLE - 1)]
        return x_BS - self.config.preemphasis * torch.cat([x_BS[:, :1], x_BS[:, :-1]], 1)

    def _log_mel(self, x_BS: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(B, F, M) natural logarithm of mel power; windows at the ends see the signal mirrored."""
        frames = mirrored(x_BS, lengths, self.config.window // 2).unfold(1, self.config.window, self.config.step)
        spectrum = torch.fft.rfft(frames * self.window, n=self.config.fft)
        power = spectrum.real.square() + spectrum.imag.square()
        return (power @ self.filters).clamp_(min=FLOOR).log_()


def resample(x_BS: torch.Tensor, speed: torch.Tensor, longest: int, lobes: int) -> torch.Tensor:
    """Signals (0 beyond their ends) at `speed` times their rate, (B, longest): a sinc under a Hann window of `lobes`
    zero crossings to each side, cut off at the lower of both Nyquist frequencies, in PHASES places between samples."""
    taps = torch.arange(1 - lobes, lobes + 1, device=x_BS.device)
    distance = torch.arange(PHASES, device=x_BS.device)[:, None] / PHASES - taps
    window = torch.cos(distance * (0.5 * math.pi / lobes)).square()
    kernel = torch.sinc(speed.clamp(max=1.0)[:, None, None] * distance) * window
    kernel = (kernel / kernel.sum(2, keepdim=True)).to(x_BS.dtype)
    place = torch.arange(longest, device=x_BS.device, dtype=torch.float64) * (PHASES / speed[:, None])  # not in float32
    place = place.long().clamp_(max=PHASES * x_BS.shape[1])
    first, phase = place >> PHASE_BITS, place & (PHASES - 1)
    padded = F.pad(x_BS, (lobes - 1, 2 * lobes))
    signal = torch.zeros(place.shape, dtype=x_BS.dtype, device=x_BS.device)
    for tap in range(2 * lobes):
        signal.addcmul_(kernel[:, :, tap].gather(1, phase), padded[:, tap:].gather(1, first))
    return signal


def mirrored(x_BS: torch.Tensor, lengths: torch.Tensor, margin: int) -> torch.Tensor:
    """Signals with `margin` mirrored samples at both ends of each, (B, S + 2 margin); end samples are not repeated."""
    steps = torch.arange(1, margin + 1, device=x_BS.device)
    last = (lengths - 1).clamp(min=0)[:, None]
    before = x_BS.gather(1, torch.minimum(steps.flip(0)[None], last))
    after = x_BS.gather(1, (last - steps).clamp(min=0))
    whole = F.pad(torch.cat([before, x_BS], 1), (0, margin))
    return whole.scatter(1, margin + last + steps, after)


def normalised(x_BFM: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """Mean 0 and (population) standard deviation 1 of each feature over the own frames; 0 elsewhere."""
    count = own.sum(1, keepdim=True)
    mean = torch.where(own, x_BFM, 0.0).sum(1, keepdim=True) / count
    centred = torch.where(own, x_BFM - mean, 0.0)
    deviation = (centred.square().sum(1, keepdim=True) / count).sqrt()
    return centred / torch.where(deviation > 0, deviation, 1.0)


def masked(x_BFM: torch.Tensor, starts: torch.Tensor, widths: torch.Tensor, *, feature_masks: int) -> torch.Tensor:
    """0 in the spans of features (the first `feature_masks` columns) and of frames (the others)."""
    features = _covered(x_BFM.shape[2], starts[:, :feature_masks], widths[:, :feature_masks])
    frames = _covered(x_BFM.shape[1], starts[:, feature_masks:], widths[:, feature_masks:])
    return x_BFM.masked_fill(features[:, None, :] | frames[:, :, None], 0.0)


def _covered(size: int, starts: torch.Tensor, widths: torch.Tensor) -> torch.Tensor:
    """(B, size) bool."""
    at = torch.arange(size, device=starts.device)[None, :, None]
    return ((at >= starts[:, None]) & (at < (starts + widths)[:, None])).any(2)


def spliced(x_BFM: torch.Tensor, factor: int) -> torch.Tensor:
    """`factor` neighbouring frames side by side, time-major: (ceil(F / factor), B, factor M)."""
    whole = F.pad(x_BFM, (0, 0, 0, -x_BFM.shape[1] % factor))
    return whole.view(len(whole), -1, factor * whole.shape[2]).transpose(0, 1).contiguous()


def mel_filters(config: DataConfig) -> torch.Tensor:
    """(fft / 2 + 1, M) float64: triangles on the Slaney scale from 0 to half the rate, each of area 1 (2 / width)."""
    edges = _hertz(np.linspace(0.0, _mel(config.sample_rate / 2), config.mels + 2))
    bins = np.arange(config.fft // 2 + 1) * config.sample_rate / config.fft
    rising = (bins[:, None] - edges[None, :-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[None, 2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    return torch.from_numpy(np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (edges[2:] - edges[:-2])))


def _mel(hertz: float) -> float:
    return hertz / BELOW_HZ if hertz < BREAK_HZ else BREAK_MEL + math.log(hertz / BREAK_HZ) / OCTAVE


def _hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < BREAK_MEL, mel * BELOW_HZ, BREAK_HZ * np.exp(OCTAVE * (mel - BREAK_MEL)))
