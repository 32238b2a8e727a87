"""Audio files: FLAC and WAV to 16-bit samples and back, checked."""

import hashlib
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from laptime.errors import DataProblem

Pcm = NDArray[np.int16]
STREAM_INFO = slice(26, 42)  # of a FLAC file: MD5 of the samples (RFC 9639, section 8.2, behind marker and header)
_UNPACK = "Unpack the published archives into this folder again."


def read_audio(path: Path, sample_rate: int) -> Pcm:
    """The samples of a file with one channel. Raises DataProblem, for a FLAC file whose samples are not those that its
    own checksum was made of too."""
    try:
        samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
    except FileNotFoundError:
        raise DataProblem(f"expected a recording at {path}, found no such file", hint=_UNPACK) from None
    except (soundfile.LibsndfileError, OSError) as error:
        raise DataProblem(f"cannot read the recording {path}: {error}", hint=_UNPACK) from None
    if rate != sample_rate or samples.shape[1] != 1 or not len(samples):
        raise DataProblem(f"expected one channel at {sample_rate} Hz in {path}, found {samples.shape[1]} at {rate} Hz "
                          f"with {len(samples)} samples", hint=_UNPACK)
    pcm: Pcm = np.ascontiguousarray(samples[:, 0])
    if path.suffix == ".flac":
        _check_sum(path, pcm)
    return pcm


def write_flac(path: Path, samples: Pcm, sample_rate: int) -> None:
    """Write one channel losslessly."""
    soundfile.write(path, samples, sample_rate, format="FLAC", subtype="PCM_16")


def _check_sum(path: Path, samples: Pcm) -> None:
    """A file that carries no checksum (all zeros) is believed."""
    with path.open("rb") as file:
        said = file.read(STREAM_INFO.stop)[STREAM_INFO]
    if any(said) and said != hashlib.md5(samples.astype("<i2").tobytes(), usedforsecurity=False).digest():
        raise DataProblem(f"expected samples with MD5 {said.hex()} in {path}, found others: the file is damaged",
                          hint=_UNPACK)
