"""The published data set, as it is downloaded, and its reformatting into shards.

    SOURCE/vocab.txt                                        one entry per line
    SOURCE/tf1_ckpt/model.ckpt-28252.index, .data-...       starting checkpoint (TensorFlow 1)
    SOURCE/tfrecord/part-00000-of-00500, ...                training samples
    SOURCE/eval_10k                                         evaluation samples

Samples are TFRecords of `tf.train.Example` (features in `FEATURES`), padded to `data.length`; the shards hold them
without padding (`samples.py`). Masks are kept as published. Source: reference, dataset.md.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from laptime.config import Json
from laptime.errors import DataProblem
from laptime.suite.bert.config import BertConfig
from laptime.suite.bert.instances import Instance
from laptime.suite.bert.model import Bert, reference_names, transposed
from laptime.suite.bert.samples import encoded
from laptime.suite.bert.wordpiece import WordPiece
from laptime.training.data.shards import Sample, forget_rows, join_index, write_shard
from laptime.training.data.store import MANIFEST, Manifest, entries
from laptime.training.data.synth.text import GENERATOR
from laptime.training.data.tf_checkpoint import Checkpoint
from laptime.training.data.tfrecord import parse, records
from laptime.training.state import Saved

VOCABULARY = "vocab.txt"
CHECKPOINT = "tf1_ckpt/model.ckpt-28252"
TRAIN, EVAL = "tfrecord", "eval_10k"
START = "start.pt"  # of the prepared data set: the weights of the checkpoint under their reference names
AGAIN = "Download the published files into this folder again."
TOKENS = ("input_ids", "input_mask", "segment_ids")
MASKED = ("masked_lm_positions", "masked_lm_ids", "masked_lm_weights")
FEATURES = (*TOKENS, *MASKED, "next_sentence_labels")


def recipe(config: BertConfig) -> str:
    """What generated data was made by: another recipe makes another data set."""
    data, model = config.data, config.model
    return (f"{GENERATOR}, bert 1, {data.articles} articles x {data.copies}, {data.length} tokens, "
            f"start {data.start_steps} steps of {data.start_length} tokens, {model.layers} x {model.hidden}")


def reformat(config: BertConfig, source: Path, root: Path, *, name: str, generator: str, facts: Mapping[str, Json],
             content_hash: str = "") -> Manifest:
    """Write the samples and the checkpoint under `source` as a prepared data set under `root`; the manifest comes last.

    Without a `content_hash`, that of the names and sizes of the published files is taken. Raises DataProblem.
    """
    root.mkdir(parents=True, exist_ok=True)
    (root / MANIFEST).unlink(missing_ok=True)
    verify(config, source)
    WordPiece.load(source / VOCABULARY, config.model.vocabulary)
    files = train_files(source)
    save_start(config, Checkpoint(source / CHECKPOINT), root / START)
    train = _part(config, root, "train", files, config.data.train_samples)
    wanted, held_out = config.data.eval_samples, [files[0] if config.data.evaluate_training else source / EVAL]
    evaluation = _part(config, root, "eval", held_out, wanted, most=wanted if config.data.evaluate_training else None)
    manifest = Manifest(
        name=name, generator=generator, content_hash=content_hash or _fingerprint([*files, *held_out]),
        facts={"train_samples": config.data.train_samples, "eval_samples": config.data.eval_samples,
               "vocabulary": config.model.vocabulary, "length": config.data.length, **facts},
        files=entries(root, [*train, *evaluation]) | entries(root, [START], "weights"))
    manifest.save(root)
    forget_rows(root)
    return manifest


def verify(config: BertConfig, source: Path) -> None:
    """Compare files of the source with the published checksums. Raises DataProblem."""
    for known in config.data.checksums:
        name, _, expected = known.partition("=")
        try:
            with (source / name).open("rb") as file:
                found = hashlib.file_digest(file, "md5").hexdigest()
        except OSError as error:
            raise DataProblem(f"cannot read {source / name}: {error.strerror}", hint=AGAIN) from None
        if found != expected:
            raise DataProblem(f"expected MD5 {expected} of {source / name}, found {found}", hint=AGAIN)


def train_files(source: Path) -> list[Path]:
    """The files of training samples, all that their names promise. Raises DataProblem."""
    files = sorted((source / TRAIN).glob("part-*-of-*"))
    if not files:
        raise DataProblem(f"expected files part-00000-of-... in {source / TRAIN}, found none", hint=AGAIN)
    promised = files[0].name.rpartition("-")[2]
    expected = [f"part-{i:05d}-of-{promised}" for i in range(int(promised) if promised.isdecimal() else 0)]
    if [path.name for path in files] != expected:
        missing = next((name for name in expected if not (source / TRAIN / name).is_file()), "")
        raise DataProblem(f"expected {len(expected)} files of training samples in {source / TRAIN}, found {len(files)}"
                          + (f"; {missing} is missing" if missing else ""), hint=AGAIN)
    return files


def _fingerprint(files: list[Path]) -> str:
    text = "".join(f"{path.name} {path.stat().st_size}\n" for path in files)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _part(config: BertConfig, root: Path, part: str, files: list[Path], expected: int, *,
          most: int | None = None) -> list[str]:
    """One shard per file, of at most `most` samples. Raises DataProblem when their number is not the expected one."""
    found = sum(write_shard(root, part, i, islice(_samples(config, path), most)) for i, path in enumerate(files))
    if found != expected:
        raise DataProblem(f"expected {expected} samples in the {part} files at {files[0].parent}, found {found}",
                          hint=f"Complete the data, or set data.{part}_samples={found} for an unranked run.")
    return join_index(root, part, len(files))


def _samples(config: BertConfig, path: Path) -> Iterator[Sample]:
    for number, record in enumerate(records(path)):
        try:
            yield encoded(instance_of(config, record))
        except ValueError as error:
            raise DataProblem(f"record {number} of {path} is no sample: {error}", hint=AGAIN) from None


@dataclass(frozen=True)
class Features:
    """The features of one record as arrays of the sizes that the configuration says."""

    values: Mapping[str, NDArray]

    @classmethod
    def of(cls, config: BertConfig, record: bytes) -> "Features":
        """Raises ValueError."""
        found, wanted = parse(record), {}
        sizes = dict.fromkeys(TOKENS, config.data.length) | dict.fromkeys(MASKED, config.data.predictions)
        for name in FEATURES:
            value, size = found.get(name), sizes.get(name, 1)
            if not isinstance(value, np.ndarray) or len(value) != size:
                raise ValueError(f"expected {size} numbers in '{name}', found "
                                 f"{'none' if value is None else len(value)}")
            wanted[name] = value
        return cls(wanted)


def instance_of(config: BertConfig, record: bytes) -> Instance:
    """A published record without its padding. Raises ValueError for what cannot be one."""
    values = Features.of(config, record).values
    tokens, shown, segments = (values[name] for name in TOKENS)
    length = int(shown.sum())
    second = length - int(segments.sum())
    count = int((values["masked_lm_weights"] > 0).sum())
    positions, words = values["masked_lm_positions"][:count], values["masked_lm_ids"][:count]
    _expect(np.array_equal(shown, np.arange(len(shown)) < length), "input_mask is not ones and then zeros")
    _expect(np.array_equal(segments[:length], np.arange(length) >= second), "segment_ids are not zeros and then ones")
    last = config.model.vocabulary - 1
    _expect(length > 0 and tokens.min() >= 0 and tokens.max() <= last, "a token outside the vocabulary")
    _expect(count > 0 and words.min() >= 0 and words.max() <= last, "a masked word outside the vocabulary, or none")
    _expect(positions[0] >= 0 and positions[-1] < length and bool((np.diff(positions) > 0).all()),
            "masked positions that do not increase or lie outside")
    return Instance(tuple(tokens[:length].tolist()), second, tuple(positions.tolist()), tuple(words.tolist()),
                    bool(values["next_sentence_labels"][0]))


def features_of(config: BertConfig, instance: Instance) -> dict[str, NDArray]:
    """The inverse of `instance_of`: what a published record holds, padding included."""
    length, count = len(instance.tokens), len(instance.positions)
    tokens = {name: np.zeros(config.data.length, np.int64) for name in TOKENS}
    tokens["input_ids"][:length], tokens["input_mask"][:length] = instance.tokens, 1
    tokens["segment_ids"][instance.second:length] = 1
    masked = {name: np.zeros(config.data.predictions, np.int64) for name in MASKED[:2]}
    masked["masked_lm_positions"][:count], masked["masked_lm_ids"][:count] = instance.positions, instance.labels
    weights = (np.arange(config.data.predictions) < count).astype(np.float32)
    return {**tokens, **masked, "masked_lm_weights": weights,
            "next_sentence_labels": np.array([instance.random_next], np.int64)}


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def save_start(config: BertConfig, checkpoint: Checkpoint, path: Path) -> None:
    """Keep the tensors of our network from a checkpoint. Raises DataProblem for a missing one or another shape."""
    with torch.device("meta"):
        model = Bert(config.model)
    shapes, kept = dict(model.named_parameters()), {}
    for ours, theirs in reference_names(model).items():
        tensor = torch.from_numpy(checkpoint[theirs].copy())
        expected = shapes[ours].shape[::-1] if transposed(theirs) else shapes[ours].shape
        if tensor.shape != expected:
            raise DataProblem(f"expected shape {tuple(expected)} of '{theirs}' in {checkpoint.index}, "
                              f"found {tuple(tensor.shape)}", hint=AGAIN)
        kept[theirs] = tensor
    Saved(kept, {}, {}).save(path)


@torch.no_grad()
def load_start(model: Bert, path: Path) -> None:
    """Put the kept weights into the network. Raises DataProblem for a file that does not fit."""
    kept = Saved.load(path).tensors
    parameters = dict(model.named_parameters())
    for ours, theirs in reference_names(model).items():
        tensor = kept.get(theirs)
        tensor = tensor.t() if tensor is not None and transposed(theirs) else tensor
        if tensor is None or tensor.shape != parameters[ours].shape:
            raise DataProblem(f"expected '{theirs}' of shape {tuple(parameters[ours].shape)} in {path}",
                              hint="Make the data again: `laptime prepare --force`.")
        parameters[ours].copy_(tensor)
