"""Multi-hot Criteo as it is published: verified, and taken into the prepared data set as it is. Nothing is random.

A source folder holds, for every day, the files of `reader.py`. In place of the multi-hot file there may be the one-hot
file it is made from, `day_<i>_sparse.npy`, int32 (n, 26) of contiguous ids below the sizes of the tables (both are
outputs of the reference's preprocessing, which also shuffles the training days globally); the bags are then made here.
Files are linked where the file system can, else copied: nothing is reformatted, and the run reads the published bytes.
"""

import hashlib
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from laptime.errors import DataProblem
from laptime.suite.dlrm_dcnv2.config import DLRMConfig
from laptime.suite.dlrm_dcnv2.multi_hot import Ids, bag_tables
from laptime.suite.dlrm_dcnv2.reader import Array, Day, dense_name, labels_name, mapped, open_day, sparse_name
from laptime.training.data.store import MANIFEST, Manifest, entries

CHUNK = 1 << 20  # samples read at a time


def one_hot_name(day: int) -> str:
    return f"day_{day}_sparse.npy"


def reformat(config: DLRMConfig, source: Path, root: Path, *, name: str, generator: str) -> Manifest:
    """Verify the days of `source` and put them into `root`; the manifest comes last. Raises DataProblem."""
    _empty(root, source)
    days = range(config.data.days)
    names = [file for day in days for file in (dense_name(day), labels_name(day), sparse_name(day))]
    _make_bags(config, source, root)
    for file in names:
        if (source / file).exists():
            _take(source / file, root / file)
    digest, counts = hashlib.blake2b(digest_size=16), []
    for day in days:
        found = open_day(lambda file: _present(root, source, file), day, config.model)
        counts.append(_verified(config, found, day, digest))
    _check_counts(config, counts, source)
    manifest = Manifest(name=name, generator=generator, content_hash=digest.hexdigest(),
                        facts=facts(config), files=entries(root, names))
    manifest.save(root)
    return manifest


def facts(config: DLRMConfig) -> dict[str, int]:
    """What the manifest of data for this configuration says."""
    return {"train_samples": config.data.train_samples, "eval_samples": config.data.eval_samples,
            "days": config.data.days, "rows": sum(config.model.rows), "lookups": sum(config.model.bags)}


def _present(root: Path, source: Path, file: str) -> Path:
    """The prepared file; where there is none, the place in the source that a message should name."""
    return root / file if (root / file).exists() else source / file


def _empty(root: Path, source: Path) -> None:
    """Make `root` ready: nothing of an earlier data set may pass for a file that the source lacks."""
    root.mkdir(parents=True, exist_ok=True)
    if root.resolve() == source.resolve():
        raise DataProblem(f"expected the source in another folder than the prepared data, found both at {root}",
                          hint="Move the published files elsewhere, or choose another --data.")
    (root / MANIFEST).unlink(missing_ok=True)
    for path in (*root.glob("day_*.np[yz]"), *root.glob("*.part")):
        path.unlink()


def _take(there: Path, here: Path) -> None:
    try:
        os.link(there, here)
    except OSError:  # another file system, or one without links
        shutil.copyfile(there, here)


def _make_bags(config: DLRMConfig, source: Path, root: Path) -> None:
    """The multi-hot files of the days of which only the one-hot file is there."""
    missing = [day for day in range(config.data.days)
               if not (source / sparse_name(day)).exists() and (source / one_hot_name(day)).exists()]
    single = {day: mapped(source / one_hot_name(day), "<i4", len(config.model.rows)) for day in missing}
    for day, ids in single.items():
        _check_ids(ids, config.model.rows, str(source / one_hot_name(day)))
    tables = list(bag_tables(config.model.rows, config.model.bags)) if missing else []
    for day, ids in single.items():
        write_members(root / sparse_name(day), [_Expanded(ids[:, k], table) for k, table in enumerate(tables)])


class _Expanded:
    """Bags of ids, made a chunk at a time."""

    def __init__(self, ids: Array, table: Ids) -> None:
        self.ids, self.table = ids, table
        self.shape = (len(ids), table.shape[1])

    def chunks(self) -> Iterator[Ids]:
        for start in range(0, len(self.ids), CHUNK):
            yield self.table[self.ids[start:start + CHUNK]]


def write_members(path: Path, arrays: "list[_Expanded]") -> None:
    """An uncompressed .npz file of int32 arrays named 0, 1, ...: equal bytes for equal content."""
    temporary = path.with_name(path.name + ".part")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for k, array in enumerate(arrays):
            with archive.open(zipfile.ZipInfo(f"{k}.npy"), "w", force_zip64=True) as member:
                npy.write_array_header_1_0(member, {"descr": "<i4", "fortran_order": False, "shape": array.shape})
                for chunk in array.chunks():
                    member.write(np.ascontiguousarray(chunk, "<i4").tobytes())
    temporary.replace(path)


def _verified(config: DLRMConfig, day: Day, number: int, digest: "hashlib.blake2b") -> int:
    """Check the values of one day and feed them to `digest`; returns the number of samples."""
    for start in range(0, len(day), CHUNK):
        part = slice(start, start + CHUNK)
        if not np.isfinite(day.dense[part]).all():
            raise DataProblem(f"expected finite numbers in {dense_name(number)}, found others", hint=_VERIFY)
        if day.labels[part].min() < 0 or day.labels[part].max() > 1:
            raise DataProblem(f"expected labels 0 and 1 in {labels_name(number)}, found others", hint=_VERIFY)
        for array in (day.dense, day.labels, *day.bags):
            digest.update(np.ascontiguousarray(array[part]).tobytes())
        for k, (array, rows) in enumerate(zip(day.bags, config.model.rows, strict=True)):
            _check_range(array[part], rows, f"{sparse_name(number)}, {k}.npy")
    return len(day)


_VERIFY = "Compare the file with the published list of checksums."


def _check_ids(ids: Array, rows: tuple[int, ...], where: str) -> None:
    for start in range(0, len(ids), CHUNK):
        for k, count in enumerate(rows):
            _check_range(ids[start:start + CHUNK, k], count, f"{where}, column {k}")


def _check_range(ids: Array, rows: int, where: str) -> None:
    if len(ids) and (int(ids.min()) < 0 or int(ids.max()) >= rows):
        raise DataProblem(f"expected ids from 0 to {rows - 1} in {where}, found {int(ids.min())} to {int(ids.max())}",
                          hint=f"{_VERIFY} Or is model.rows meant for other data?")


def _check_counts(config: DLRMConfig, counts: list[int], source: Path) -> None:
    found = {"train": sum(counts[:-1]), "eval": -(-counts[-1] // 2)}
    for part, days, expected in (("train", f"days 0 to {len(counts) - 2}", config.data.train_samples),
                                 ("eval", f"the first half of day {len(counts) - 1}", config.data.eval_samples)):
        if found[part] != expected:
            raise DataProblem(f"expected {expected} samples in {days} of {source}, found {found[part]}",
                              hint=f"Complete the data, or set data.{part}_samples={found[part]} for an unranked run.")
