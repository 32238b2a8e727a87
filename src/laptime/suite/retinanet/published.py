"""The Open Images subset as the suite publishes it, and its reformat into shards: untimed, nothing resized or random.

A source folder holds
  train/data/*.jpg, validation/data/*.jpg             the images
  {train,validation}/labels/openimages-mlperf.json    COCO-style annotations, or the tables of `convert.py`
  resnext50_32x4d-7cdf4587.pth                        start weights of the backbone (its name ends with its SHA-256)
Classes are numbered from 0; a file numbered from 1 is refused. Group-of boxes are marked `iscrowd`.
Prepared: shards of unchanged JPEG bytes (`training.data.shards`), images in order of their ids; `<part>.boxes.npy`, one
`BOX` per annotation in order of images; `backbone.pt`.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from laptime.config import Json
from laptime.errors import DataProblem
from laptime.suite.retinanet.config import RetinaNetConfig
from laptime.suite.retinanet.convert import AGAIN, ANNOTATIONS, CLASSES, DETECTIONS, write_annotations
from laptime.training.data.jpeg import rgb_jpeg
from laptime.training.data.reformat import begin, end
from laptime.training.data.shards import Sample, finished_shard, forget_rows, join_index, write_shard
from laptime.training.data.store import Manifest, entries

BOX = np.dtype([("image", "<u4"), ("label", "<i4"), ("crowd", "u1"), ("x", "<f8"), ("y", "<f8"), ("width", "<f8"),
                ("height", "<f8")])
Boxes = NDArray[np.void]
PARTS = {"train": "train", "eval": "validation"}  # our name -> published folder
SHARD_SAMPLES = 1024
READERS = 4  # threads that read and check source files
BACKBONE = "backbone.pt"


def boxes_name(part: str) -> str:
    return f"{part}.boxes.npy"


@dataclass(frozen=True)
class Picture:
    """One image file and the size that the annotations give it."""

    path: Path
    height: int
    width: int


@dataclass(frozen=True)
class Part:
    """Images in order of their ids, and their boxes in order of images."""

    pictures: Sequence[Picture]
    boxes: Boxes

    def fingerprint(self) -> bytes:
        """Of names, sizes and boxes in order."""
        digest = hashlib.blake2b(self.boxes.tobytes(), digest_size=16)
        for one in self.pictures:
            digest.update(f"{one.path.name} {one.path.stat().st_size}\n".encode())
        return digest.digest()


def scan(config: RetinaNetConfig, source: Path) -> dict[str, Part]:
    """Both parts of a published folder, counted. Raises DataProblem naming what is missing or of the wrong number."""
    expected = {"train": config.data.train_images, "eval": config.data.eval_images}
    parts = {}
    for part, folder in PARTS.items():
        parts[part] = _part(source, source / folder, config.model.classes)
        found = len(parts[part].pictures)
        if found != expected[part]:
            raise DataProblem(f"expected {expected[part]} images in {source / folder / ANNOTATIONS}, found {found}",
                              hint=f"Complete the data, or set data.{part}_images={found} for an unranked run.")
    return parts


def _part(source: Path, folder: Path, classes: int) -> Part:
    path = folder / ANNOTATIONS
    if not path.is_file():
        if not (folder / DETECTIONS).is_file():
            raise DataProblem(f"expected annotations at {path}, found no such file",
                              hint=f"Download them, or put Open Images' own tables there ({DETECTIONS}).")
        write_annotations(folder, source / CLASSES)
    content = _content(path)
    try:
        images = {int(one["id"]): Picture(folder / "data" / one["file_name"], int(one["height"]), int(one["width"]))
                  for one in sorted(content["images"], key=lambda one: int(one["id"]))}
        categories = sorted(int(one["id"]) for one in content["categories"])
        boxes = _boxes(content["annotations"], {number: i for i, number in enumerate(images)})
    except (KeyError, TypeError, ValueError) as error:
        raise DataProblem(f"expected images, categories and annotations as COCO has them in {path}, found other "
                          f"({error!r})", hint=AGAIN) from None
    if categories != list(range(classes)):
        raise DataProblem(f"expected categories numbered 0 to {classes - 1} in {path}, found {len(categories)} from "
                          f"{min(categories, default='none')} to {max(categories, default='none')}",
                          hint="Some exporters count from 1: make the file again from the tables (README, Data).")
    _check_boxes(boxes, classes, path)
    for picture in images.values():
        if not picture.path.is_file():
            raise DataProblem(f"expected an image at {picture.path}, found none", hint=AGAIN)
    return Part(list(images.values()), boxes)


def _content(path: Path) -> Mapping:
    try:
        content = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise DataProblem(f"expected JSON in {path}, found other: {error}", hint=AGAIN) from None
    if not isinstance(content, dict):
        raise DataProblem(f"expected a table of images, categories and annotations in {path}, found other", hint=AGAIN)
    return content


def _boxes(annotations: Sequence[Mapping], index: Mapping[int, int]) -> Boxes:
    """Raises KeyError for an annotation of an image that is not listed."""
    rows = [(index[int(one["image_id"])], int(one["category_id"]), int(bool(one.get("iscrowd", 0))),
             *map(float, one["bbox"])) for one in annotations]
    boxes = np.array(rows, BOX) if rows else np.zeros(0, BOX)
    return boxes[np.argsort(boxes["image"], kind="stable")]


def _check_boxes(boxes: Boxes, classes: int, path: Path) -> None:
    wrong = (boxes["label"] < 0) | (boxes["label"] >= classes)
    if wrong.any():
        raise DataProblem(f"expected category_id from 0 to {classes - 1} in {path}, found {boxes['label'][wrong][0]}",
                          hint=AGAIN)
    if not all(np.isfinite(boxes[name]).all() for name in ("x", "y", "width", "height")):
        raise DataProblem(f"expected finite numbers in every bbox of {path}, found other", hint=AGAIN)


def largest_count(boxes: Boxes) -> int:
    """Boxes of the image that has most."""
    return int(np.bincount(boxes["image"]).max()) if len(boxes) else 0


def reformat(config: RetinaNetConfig, source: Path, root: Path, *, name: str, generator: str, backbone: str,
             content_hash: str = "") -> Manifest:
    """Write both parts of `source` as a prepared data set under `root`; the manifest comes last.

    backbone: name of the file of start weights that stands in `root` already, "" where there is none. An interrupted
    reformat of the same source continues after its last whole shard. Raises DataProblem.
    """
    parts = scan(config, source)
    fingerprint = hashlib.blake2b(b"".join(one.fingerprint() for one in parts.values()), digest_size=16).hexdigest()
    begin(root, fingerprint)
    names = [name for part, found in parts.items() for name in _write_part(root, part, found)]
    facts: dict[str, Json] = {
        "train_samples": len(parts["train"].pictures), "eval_samples": len(parts["eval"].pictures),
        "classes": config.model.classes, "max_boxes": largest_count(parts["train"].boxes), "backbone": backbone}
    weights = entries(root, [backbone], "weights") if backbone else {}
    manifest = Manifest(name=name, generator=generator, content_hash=content_hash or fingerprint, facts=facts,
                        files=entries(root, names) | weights)
    manifest.save(root)
    forget_rows(root)
    end(root)
    return manifest


def _write_part(root: Path, part: str, found: Part) -> list[str]:
    shards = range(0, len(found.pictures), SHARD_SAMPLES)
    with ThreadPoolExecutor(READERS) as readers:
        for number, start in enumerate(shards):
            chunk = found.pictures[start:start + SHARD_SAMPLES]
            if not finished_shard(root, part, number, len(chunk)):
                write_shard(root, part, number, _samples(readers, chunk))
    np.save(root / boxes_name(part), found.boxes, allow_pickle=False)
    return [*join_index(root, part, len(shards)), boxes_name(part)]


def _samples(readers: ThreadPoolExecutor, pictures: Sequence[Picture], window: int = 64) -> Iterator[Sample]:
    """Checked samples in order, `window` files read at a time."""
    for start in range(0, len(pictures), window):
        yield from readers.map(_load, pictures[start:start + window])


def _load(picture: Picture) -> Sample:
    try:
        data = picture.path.read_bytes()
    except OSError as error:
        raise DataProblem(f"cannot read {picture.path}: {error.strerror}", hint=AGAIN) from None
    data, found = rgb_jpeg(data, str(picture.path))
    if (found.height, found.width) != (picture.height, picture.width):
        raise DataProblem(f"expected {picture.height} x {picture.width} pixels in {picture.path} by its annotations, "
                          f"found {found.height} x {found.width}", hint=AGAIN)
    return Sample(data, 0, found.height, found.width)
