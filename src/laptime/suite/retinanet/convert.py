"""From Open Images' own tables to one COCO-style list of annotations per part, with classes numbered from 0.

A part folder (`train`, `validation`) holds `data/<image>.jpg`, `metadata/image_ids.csv`, `metadata/classes.csv`
(machine name, display name; no heading) and `labels/detections.csv` (corners as shares of width and height).
`classes.txt` beside the parts lists the display names of the classes in use, one per line; line n is class n - 1. Boxes
of other classes and images without a file are left out; images without boxes stay.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from laptime.errors import DataProblem
from laptime.training.data.jpeg import Header, header

CLASSES = "classes.txt"
ANNOTATIONS = "labels/openimages-mlperf.json"
DETECTIONS = "labels/detections.csv"
IMAGE_IDS = "metadata/image_ids.csv"
MACHINE_NAMES = "metadata/classes.csv"
AGAIN = "Download or unpack this file again."


@dataclass(frozen=True)
class Picture:
    """One image of a part: its number in the list of annotations and its size in pixels."""

    number: int
    width: int
    height: int


def write_annotations(folder: Path, classes: Path) -> Path:
    """Make the list of annotations of the part in `folder`; `classes`: the file of class names. Raises DataProblem."""
    names = class_names(classes)
    pictures = _pictures(folder)
    annotations = [{"id": i, **one} for i, one in enumerate(_annotations(folder, names, pictures), 1)]
    content = {
        "info": {"description": "made from the tables of Open Images"},
        "categories": [{"id": i, "name": name} for i, name in enumerate(names)],
        "images": [{"id": one.number, "file_name": f"{name}.jpg", "height": one.height, "width": one.width}
                   for name, one in pictures.items()],
        "annotations": annotations,
    }
    target = folder / ANNOTATIONS
    target.write_bytes(orjson.dumps(content))
    return target


def class_names(path: Path) -> list[str]:
    """The display names in use, in their order. Raises DataProblem."""
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except FileNotFoundError:
        raise DataProblem(f"expected the names of the classes, one per line, at {path}, found no such file",
                          hint="Write them there in the order in which they are numbered.") from None
    except UnicodeDecodeError:
        raise DataProblem(f"expected lines of text in {path}, found binary data", hint=AGAIN) from None
    if len(set(names)) != len(names):
        raise DataProblem(f"expected different class names in {path}, found one twice")
    return names


def _pictures(folder: Path) -> dict[str, Picture]:
    """Image name -> picture, of those whose file is there, numbered in the order of their names."""
    names = sorted({row["ImageID"] for row in _rows(folder / IMAGE_IDS, ("ImageID",))})
    found: dict[str, Picture] = {}
    for name in names:
        path = folder / "data" / f"{name}.jpg"
        if path.is_file():
            size = _header(path)
            found[name] = Picture(len(found) + 1, size.width, size.height)
    if not found:
        raise DataProblem(f"expected images named in {folder / IMAGE_IDS} under {folder / 'data'}, found none",
                          hint=AGAIN)
    return found


def _header(path: Path) -> Header:
    try:
        return header(path.read_bytes())
    except ValueError as error:
        raise DataProblem(f"{path} is not a readable JPEG: {error}", hint=AGAIN) from None


def _annotations(folder: Path, names: list[str],
                 pictures: Mapping[str, Picture]) -> Iterator[dict[str, int | float | list[float]]]:
    labels = _labels(folder / MACHINE_NAMES, names)
    path = folder / DETECTIONS
    columns = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax", "IsGroupOf")
    for line, row in enumerate(_rows(path, columns), 2):
        label, picture = labels.get(row["LabelName"]), pictures.get(row["ImageID"])
        if label is None or picture is None:
            continue
        x, right = (_share(row, name, path, line) * picture.width for name in ("XMin", "XMax"))
        y, bottom = (_share(row, name, path, line) * picture.height for name in ("YMin", "YMax"))
        width, height = right - x, bottom - y
        yield {"image_id": picture.number, "category_id": label, "bbox": [x, y, width, height], "area": width * height,
               "iscrowd": int(row["IsGroupOf"] == "1")}


def _share(row: Mapping[str, str], name: str, path: Path, line: int) -> float:
    try:
        value = float(row[name])
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise DataProblem(f"expected {name} from 0 to 1 at {path}:{line}, found '{row[name]}'", hint=AGAIN)
    return value


def _labels(path: Path, names: list[str]) -> dict[str, int]:
    """Machine name -> class number. Raises DataProblem for a class in use that the table does not know."""
    with _opened(path) as file:
        machine = {row[1]: row[0] for row in csv.reader(file) if len(row) == 2}
    missing = [name for name in names if name not in machine]
    if missing:
        raise DataProblem(f"expected class '{missing[0]}' in {path}, found {len(machine)} others", hint=AGAIN)
    return {machine[name]: i for i, name in enumerate(names)}


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """Rows of a table with headings. Raises DataProblem where a column or a value is missing."""
    with _opened(path) as file:
        reader = csv.DictReader(file)
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise DataProblem(f"expected a column '{missing[0]}' in {path}, found {reader.fieldnames}", hint=AGAIN)
        for line, row in enumerate(reader, 2):
            if any(row[name] is None for name in columns):
                raise DataProblem(f"expected {len(columns)} values or more at {path}:{line}, found fewer", hint=AGAIN)
            yield row


def _opened(path: Path):  # type: ignore[no-untyped-def]
    try:
        return path.open(newline="", encoding="utf-8")
    except FileNotFoundError:
        raise DataProblem(f"expected a table at {path}, found no such file", hint=AGAIN) from None
