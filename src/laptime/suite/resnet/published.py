"""ILSVRC-2012 as it is published, and its reformat into shards: untimed packing, nothing resized, nothing random.

A source folder holds
  train/<synset>/<name>.JPEG                          one folder per class
  val/ILSVRC2012_val_00000001.JPEG ...                flat, numbered from 1
  ILSVRC2012_validation_ground_truth.txt              class number (1-based) of each validation image, one per line
  synsets.txt                                         one synset per line; line n is class number n (label n - 1)
The class numbers of the devkit follow its own table of synsets (`meta.mat`), not the alphabet. synsets.txt is that
table as text, in the order that the ground truth counts in: the one file that is not published in this form.
"""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from laptime.errors import DataProblem
from laptime.suite.resnet.config import ResNetConfig
from laptime.training.data.jpeg import rgb_jpeg
from laptime.training.data.reformat import begin, end
from laptime.training.data.shards import Sample, finished_shard, forget_rows, join_index, write_shard
from laptime.training.data.store import Manifest, entries

GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
SYNSETS = "synsets.txt"
SHARD_SAMPLES = 1280  # about the reference's 1024 training shards at full size
READERS = 4  # threads that read and check source files


@dataclass(frozen=True)
class Picture:
    """One source file and its 0-based label."""

    path: Path
    label: int


@dataclass(frozen=True)
class Source:
    """What was found in a published folder."""

    train: Sequence[Picture]
    eval: Sequence[Picture]
    classes: int

    def fingerprint(self, root: Path) -> str:
        """Of names, sizes and labels in order: what a reformat in progress depends on."""
        digest = hashlib.blake2b(digest_size=16)
        for picture in (*self.train, *self.eval):
            name = picture.path.relative_to(root)
            digest.update(f"{name} {picture.label} {picture.path.stat().st_size}\n".encode())
        return digest.hexdigest()


def validation_name(number: int) -> str:
    """File name of the validation image with this 1-based number."""
    return f"ILSVRC2012_val_{number:08d}.JPEG"


def scan(config: ResNetConfig, source: Path) -> Source:
    """The pictures of a published folder, counted. Raises DataProblem naming what is missing or of the wrong number."""
    synsets = _lines(source / SYNSETS)
    _expect(len(synsets), config.model.classes, f"synsets in {source / SYNSETS}", "model.classes")
    train = [picture for label, synset in enumerate(synsets) for picture in _class(source / "train" / synset, label)]
    _expect(len(train), config.data.train_images, f"training images under {source / 'train'}", "data.train_images")
    labels = _labels(source / GROUND_TRUTH, len(synsets))
    _expect(len(labels), config.data.eval_images, f"class numbers in {source / GROUND_TRUTH}", "data.eval_images")
    evaluation = [Picture(source / "val" / validation_name(i + 1), label) for i, label in enumerate(labels)]
    for picture in evaluation:
        if not picture.path.is_file():
            raise DataProblem(f"expected a validation image at {picture.path}, found none", hint=_UNPACK)
    return Source(train, evaluation, len(synsets))


_UNPACK = "Unpack the published archives into this folder again."


def _class(folder: Path, label: int) -> list[Picture]:
    if not folder.is_dir():
        raise DataProblem(f"expected a folder of training images at {folder}, found none", hint=_UNPACK)
    return [Picture(path, label) for path in sorted(folder.glob("*.JPEG"))]


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except FileNotFoundError:
        raise DataProblem(f"expected a list at {path}, found no such file", hint=_UNPACK) from None
    except UnicodeDecodeError:
        raise DataProblem(f"expected lines of text in {path}, found binary data", hint=_UNPACK) from None


def _labels(path: Path, classes: int) -> list[int]:
    labels = []
    for number, line in enumerate(_lines(path), 1):
        if not line.isdecimal() or not 1 <= int(line) <= classes:
            raise DataProblem(f"expected a class number from 1 to {classes} at {path}:{number}, found '{line}'")
        labels.append(int(line) - 1)
    return labels


def _expect(found: int, expected: int, what: str, setting: str) -> None:
    if found != expected:
        raise DataProblem(f"expected {expected} {what}, found {found}",
                          hint=f"Complete the data, or set {setting}={found} for an unranked run.")


def reformat(config: ResNetConfig, source: Path, root: Path, *, name: str, generator: str,
             content_hash: str = "") -> Manifest:
    """Write the pictures of `source` as a prepared data set under `root`; the manifest comes last.

    An interrupted reformat of the same source continues after its last whole shard. Without a `content_hash`, that of
    the published names, sizes and labels is taken. Raises DataProblem.
    """
    pictures = scan(config, source)
    fingerprint = pictures.fingerprint(source)
    begin(root, fingerprint)
    names = [*_part(root, "train", pictures.train), *_part(root, "eval", pictures.eval)]
    manifest = Manifest(
        name=name, generator=generator, content_hash=content_hash or fingerprint,
        facts={"train_samples": len(pictures.train), "eval_samples": len(pictures.eval), "classes": pictures.classes},
        files=entries(root, names))
    manifest.save(root)
    forget_rows(root)
    end(root)
    return manifest


def _part(root: Path, part: str, pictures: Sequence[Picture]) -> list[str]:
    shards = range(0, len(pictures), SHARD_SAMPLES)
    with ThreadPoolExecutor(READERS) as readers:
        for number, start in enumerate(shards):
            chunk = pictures[start:start + SHARD_SAMPLES]
            if not finished_shard(root, part, number, len(chunk)):
                write_shard(root, part, number, _samples(readers, chunk))
    return join_index(root, part, len(shards))


def _samples(readers: ThreadPoolExecutor, pictures: Sequence[Picture], window: int = 64) -> Iterator[Sample]:
    """Checked samples in order, `window` files read at a time."""
    for start in range(0, len(pictures), window):
        yield from readers.map(_load, pictures[start:start + window])


def _load(picture: Picture) -> Sample:
    try:
        data = picture.path.read_bytes()
    except OSError as error:
        raise DataProblem(f"cannot read {picture.path}: {error.strerror}", hint=_UNPACK) from None
    data, found = rgb_jpeg(data, str(picture.path))
    return Sample(data, picture.label, found.height, found.width)
