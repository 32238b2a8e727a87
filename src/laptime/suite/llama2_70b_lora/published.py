"""The published data set and weights, and how they become a prepared data set.

    SOURCE/scrolls_gov_report_8k/train-00000-of-00001.parquet          packed training samples
    SOURCE/scrolls_gov_report_8k/validation-00000-of-00001.parquet     packed evaluation samples
    SOURCE/Llama2-70b-fused-qkv-mlperf/model.safetensors.index.json, model-....safetensors     frozen weights

Two columns, lists of whole numbers: `input_ids`, and `labels` (-100 where a token does not count; the label of a token
is the token itself, moving by one is the loss's). Weights may also be those of Llama 2 70B as its authors published
them. A prepared set has each column of each part as one array. Source: reference, README and scripts/utils.py.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from laptime.errors import DataProblem
from laptime.events import Sizes
from laptime.suite.llama2_70b_lora.columns import COLUMNS, Rows, stacked
from laptime.suite.llama2_70b_lora.config import LoraConfig, limit_steps
from laptime.suite.llama2_70b_lora.parquet import parquet_rows
from laptime.suite.llama2_70b_lora.reports import GENERATOR
from laptime.suite.llama2_70b_lora.weights import check_frozen
from laptime.training.data.described import Count, check_described
from laptime.training.data.safetensors_files import Checkpoint
from laptime.training.data.store import MANIFEST, Manifest, Store, entries
from laptime.training.data.token_sets import Origin, place

NAME = "scrolls-gov-report-8k"
FOLDER, WEIGHTS = "scrolls_gov_report_8k", "Llama2-70b-fused-qkv-mlperf"
TRAIN, EVAL = "train", "validation"


def recipe(config: LoraConfig) -> str:
    """What generated data was made by: another recipe makes another data set."""
    data, model = config.data, config.model
    return (f"{GENERATOR}, llama2_70b_lora 1, {data.reports} reports, {model.vocabulary} tokens, samples of "
            f"{data.length}, weights {data.start_steps} steps on {data.articles} articles, "
            f"{model.layers} x {model.hidden}")


def prepare(config: LoraConfig, source: Path, root: Path) -> None:
    """Check the published files under `source` and reformat them into `root`. Untimed.

    Raises DataProblem, and UserError where the package that reads Parquet files is missing.
    """
    parts = {part: parquet_rows(sorted((source / FOLDER).glob(f"{part}-*.parquet")), source / FOLDER / part)
             for part in (TRAIN, EVAL)}
    reformat(config, parts, source, root, Origin(NAME, "published", {}))


def reformat(config: LoraConfig, parts: Mapping[str, Iterable[Rows]], source: Path, root: Path,
             origin: Origin) -> Manifest:
    """The same for samples of any origin; weights lie under `source`. The manifest comes last. Raises DataProblem."""
    root.mkdir(parents=True, exist_ok=True)
    (root / MANIFEST).unlink(missing_ok=True)
    checkpoint = Checkpoint.open(source / WEIGHTS)
    check_frozen(config.model, checkpoint)
    weights = [f"{WEIGHTS}/{name}" for name in checkpoint.names]
    digest, data, counted = hashlib.blake2b(digest_size=16), config.data, {}
    for part, wanted in ((TRAIN, data.train_samples), (EVAL, data.eval_samples)):
        arrays = stacked(parts[part], data.length, config.model.vocabulary, part)
        _check_count(part, wanted, len(arrays[0]))
        for column, array in zip(COLUMNS, arrays, strict=True):
            np.save(root / array_name(part, column), array, allow_pickle=False)
            digest.update(array.tobytes())
        counted[part] = len(arrays[0])
    place(source, root, weights)
    manifest = Manifest(
        name=origin.name, generator=origin.generator, content_hash=digest.hexdigest(),
        facts={"train_samples": counted[TRAIN], "eval_samples": counted[EVAL], "vocabulary": config.model.vocabulary,
               "length": data.length, **origin.facts},
        files=entries(root, [array_name(part, column) for part in (TRAIN, EVAL) for column in COLUMNS])
        | entries(root, weights, "weights"))
    manifest.save(root)
    return manifest


def array_name(part: str, column: str) -> str:
    """The file of a column in a prepared set: (samples, length) int32."""
    return f"{part}.{column}.npy"


def read_array(store: Store, part: str, column: str) -> NDArray[np.int32]:
    """A column, memory-mapped. Raises DataTouchedTooEarly, and DataProblem for a damaged file."""
    path = store.data(array_name(part, column))
    try:
        found: NDArray[np.int32] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataProblem(f"{path} is missing or damaged ({error})",
                          hint="Make the data again: `laptime prepare --force`.") from None
    return found


def weights_of(store: Store) -> Checkpoint | None:
    """The frozen weights; None in a data set that is only described."""
    names = [name for name, entry in store.metadata.files.items() if entry.kind == "weights"]
    return Checkpoint.open(store.weights(names[0]).parent) if names else None


def sizes(config: LoraConfig, manifest: Manifest) -> Sizes:
    """Sample counts; the run gives up where the schedule says.

    Raises DataProblem when the data set is not the one that the configuration describes.
    """
    data, batch = config.data, config.global_batch_size
    check_described(manifest, [
        Count("data.train_samples", data.train_samples, manifest.count("train_samples")),
        Count("data.eval_samples", data.eval_samples, manifest.count("eval_samples")),
        Count("data.length", data.length, manifest.count("length")),
        Count("model.vocabulary", config.model.vocabulary, manifest.count("vocabulary"))], recipe(config))
    if batch > data.train_samples:
        raise DataProblem(f"expected a global batch of {batch} samples, found {data.train_samples} for training",
                          hint="Make global_batch_size smaller.")
    return Sizes(data.train_samples, data.eval_samples, data.train_samples // batch * batch,
                 limit_samples=limit_steps(config.schedule) * batch)


def _check_count(part: str, wanted: int, found: int) -> None:
    if found != wanted:
        setting = "train" if part == TRAIN else "eval"
        raise DataProblem(f"expected {wanted} {part} samples, found {found}",
                          hint=f"Complete the data, or set data.{setting}_samples={found} for an unranked run.")
