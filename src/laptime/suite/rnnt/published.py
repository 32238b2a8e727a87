"""LibriSpeech as it is published, and its reformat into shards: untimed, nothing random.

A source folder holds, for each split (`train-clean-100`, ..., `dev-clean`), one of
  [LibriSpeech/]<split>/<speaker>/<chapter>/<speaker>-<chapter>-<nnnn>.flac   with <speaker>-<chapter>.trans.txt beside:
                                              lines of a name and its transcript in capitals (OpenSLR 12)
  librispeech-<split>-wav.json                the reference's list: transcript, files (fname, speed), original_duration;
                                              the WAV files lie relative to it
A record of the prepared data is the label ids (16 bits each), then the samples (16 bits each), little-endian.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from laptime.errors import DataProblem
from laptime.suite.rnnt.audio import Pcm, read_audio
from laptime.suite.rnnt.config import DataConfig, RNNTConfig
from laptime.suite.rnnt.vocabulary import Tokenizer, train_tokenizer
from laptime.training.data.reformat import begin, end
from laptime.training.data.shards import Sample, finished_shard, forget_rows, join_index, write_shard
from laptime.training.data.store import Manifest, entries

TRANSCRIPTS = "eval.transcripts.txt"
SHARD_UTTERANCES = 4096  # about 1.6 GB of training speech
READERS = 4  # threads that decode source files
_UNPACK = "Unpack the published archives into this folder again."


@dataclass(frozen=True)
class Recording:
    """One source file and what is said in it, in small letters."""

    path: Path
    text: str


@dataclass(frozen=True)
class Source:
    """What was found in a published folder."""

    train: Sequence[Recording]
    eval: Sequence[Recording]

    def fingerprint(self, root: Path, settings: str) -> str:
        """Of names, sizes, texts and `settings`: what a reformat in progress depends on."""
        digest = hashlib.blake2b(settings.encode(), digest_size=16)
        for one in (*self.train, *self.eval):
            try:
                size = one.path.stat().st_size
            except OSError:
                raise DataProblem(f"expected a recording at {one.path}, found no such file", hint=_UNPACK) from None
            digest.update(f"{one.path.relative_to(root)} {size} {one.text}\n".encode())
        return digest.hexdigest()


def scan(config: DataConfig, source: Path) -> Source:
    """The recordings of a published folder, counted. Raises DataProblem naming what is missing or of wrong number."""
    train: list[Recording] = []
    for split, count in zip(config.train_splits, config.train_utterances, strict=True):
        train += _split(source, split, count, "data.train_utterances")
    return Source(train, _split(source, config.eval_split, config.eval_utterances, "data.eval_utterances"))


def _split(source: Path, split: str, count: int, setting: str) -> list[Recording]:
    listing = source / f"librispeech-{split}-wav.json"
    folder = next((one for one in (source / "LibriSpeech" / split, source / split) if one.is_dir()), None)
    if listing.is_file():
        found, where = list(_listed(listing)), listing
    elif folder is not None:
        found, where = [one for path in sorted(folder.glob("*/*/*.trans.txt")) for one in _chapter(path)], folder
    else:
        raise DataProblem(f"expected {listing} or a folder {source / 'LibriSpeech' / split}, found neither",
                          hint=_UNPACK)
    if len(found) != count:
        raise DataProblem(f"expected {count} utterances of {split} in {where}, found {len(found)}",
                          hint=f"Complete the data, or change {setting} for an unranked run.")
    return found


def _chapter(path: Path) -> Iterator[Recording]:
    """The lines of one `.trans.txt`."""
    for number, line in enumerate(_text(path).splitlines(), 1):
        name, _, text = line.strip().partition(" ")
        if not text:
            raise DataProblem(f"expected a name and a transcript at {path}:{number}, found '{line[:60]}'", hint=_UNPACK)
        yield Recording(path.with_name(f"{name}.flac"), text.lower())


def _listed(path: Path) -> Iterator[Recording]:
    """The entries of the reference's JSON list that have no other speed."""
    try:
        for entry in json.loads(_text(path)):
            names = [str(file["fname"]) for file in entry["files"] if float(file.get("speed", 1)) == 1]
            yield Recording(path.parent / names[0], str(entry["transcript"]).lower())
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataProblem(f"expected a list of transcripts and files in {path}, found other ({error!r})",
                          hint="Make the list again, or remove it to read the FLAC files.") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataProblem(f"cannot read {path}: {error}", hint=_UNPACK) from None


def reformat(config: RNNTConfig, source: Path, root: Path, *, name: str, generator: str,
             content_hash: str = "") -> Manifest:
    """Write the recordings of `source` as a prepared data set under `root`; the manifest comes last.

    The vocabulary is learnt from all training transcripts; training utterances longer than `max_duration` are left out.
    An interrupted reformat of the same source continues after its last whole shard. Raises DataProblem.
    """
    found = scan(config.data, source)
    settings = f"{config.model.vocabulary} {config.data.max_duration}"
    fingerprint = found.fingerprint(source, settings)
    begin(root, fingerprint)
    tokenizer = train_tokenizer((one.text for one in found.train), config.model.vocabulary)
    limit = int(config.data.max_duration * config.data.sample_rate)
    with ThreadPoolExecutor(READERS) as readers:
        writer = _Writer(config.data, root, tokenizer, readers)
        train, evaluation = writer.part("train", found.train, limit), writer.part("eval", found.eval, 0)
    (root / TRANSCRIPTS).write_text("".join(f"{one.text}\n" for one in found.eval), encoding="utf-8")
    manifest = Manifest(
        name=name, generator=generator, content_hash=content_hash or fingerprint,
        facts={"train_samples": train.samples, "eval_samples": evaluation.samples, "vocabulary": len(tokenizer.pieces),
               "pieces": list(tokenizer.pieces), "max_duration": config.data.max_duration,
               "longest_train": train.longest, "longest_eval": evaluation.longest, "longest_labels": train.labels},
        files=entries(root, [*train.files, *evaluation.files, TRANSCRIPTS]))
    manifest.save(root)
    forget_rows(root)
    end(root)
    return manifest


@dataclass(frozen=True)
class Part:
    """What was written of one part: names of files, utterances, the longest in samples and in labels."""

    files: Sequence[str]
    samples: int
    longest: int
    labels: int


@dataclass(frozen=True)
class _Writer:
    config: DataConfig
    root: Path
    tokenizer: Tokenizer
    readers: ThreadPoolExecutor

    def part(self, part: str, recordings: Sequence[Recording], limit: int) -> Part:
        """Write a part in shards of a fixed number of source files. limit: samples of the longest kept; 0: any."""
        starts = range(0, len(recordings), SHARD_UTTERANCES)
        for number, start in enumerate(starts):
            chunk = recordings[start:start + SHARD_UTTERANCES]
            if not finished_shard(self.root, part, number, _rows(self.root, part, number)):
                write_shard(self.root, part, number, self._samples(chunk, limit))
        files = join_index(self.root, part, len(starts))
        rows = np.load(self.root / files[0], allow_pickle=False)
        if not len(rows):
            raise DataProblem(f"expected utterances of at most {self.config.max_duration:g} s for {part}, found none")
        return Part(files, len(rows), int(rows["height"].max()), int(rows["width"].max()))

    def _samples(self, recordings: Sequence[Recording], limit: int, window: int = 64) -> Iterator[Sample]:
        for start in range(0, len(recordings), window):
            for sample in self.readers.map(self._load, recordings[start:start + window]):
                if not limit or sample.height <= limit:
                    yield sample

    def _load(self, recording: Recording) -> Sample:
        labels = self.tokenizer.encode(recording.text)
        return record(labels, read_audio(recording.path, self.config.sample_rate))


def _rows(root: Path, part: str, number: int) -> int:
    """Rows of a shard that was written before, -1 where there are none."""
    path = root / f"{part}-{number:05d}.rows.npy"
    return len(np.load(path, allow_pickle=False)) if path.is_file() else -1


def record(labels: Iterable[int], samples: Pcm) -> Sample:
    """Labels and samples as one byte string; the index keeps how many there are of each (`width` and `height`)."""
    ids = np.fromiter(labels, "<u2")
    return Sample(ids.tobytes() + samples.astype("<i2").tobytes(), 0, len(samples), len(ids))
