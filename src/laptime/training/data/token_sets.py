"""Data sets of token files, made ready for runs: checked, counted and put in place as they were published.

Nothing is rewritten: published token files are read as they are while the clock runs. A prepared set holds them under
their own names; the manifest says how many samples one pass has.
"""

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from laptime.config import Json
from laptime.errors import DataProblem
from laptime.events import Sizes
from laptime.training.data.described import Count, check_described
from laptime.training.data.store import MANIFEST, Manifest, entries
from laptime.training.data.token_files import TokenFile, check_vocabulary, pair
from laptime.training.data.token_windows import Form


@dataclass(frozen=True)
class TokenSet:
    """What is made of token files: names without endings, how samples are cut, and what ids may be met.

    Training takes one sample of each training file in turn; evaluation the first `eval_samples` of its file in order.
    `weights`: files beside them that a run may open before the clock runs.
    """

    train: tuple[str, ...]
    evaluation: str
    form: Form
    vocabulary: int
    eval_samples: int
    weights: tuple[str, ...] = ()


@dataclass(frozen=True)
class Origin:
    """Where a data set comes from, as its manifest says."""

    name: str
    generator: str
    facts: Mapping[str, Json]


def prepare_tokens(wanted: TokenSet, source: Path, root: Path, origin: Origin) -> Manifest:
    """Check the files under `source` and put them into `root`; the manifest comes last.

    Every token is read once, for ids outside the vocabulary. Raises DataProblem.
    """
    root.mkdir(parents=True, exist_ok=True)
    (root / MANIFEST).unlink(missing_ok=True)
    counts = {name: _tokens(wanted, source, name) for name in (*wanted.train, wanted.evaluation)}
    found = wanted.form.samples_in(counts[wanted.evaluation])
    if found < wanted.eval_samples:
        raise DataProblem(f"expected {wanted.eval_samples} samples of {wanted.form.tokens} tokens in "
                          f"{pair(source, wanted.evaluation)[1]}, found {found}",
                          hint="Get the evaluation files again, or make data.eval_samples smaller.")
    files = [path.name for name in counts for path in pair(source, name)]
    place(source, root, [*files, *wanted.weights])
    listed = entries(root, files)
    content = "".join(f"{file} {entry.size} {entry.checksum}\n" for file, entry in sorted(listed.items()))
    train = [counts[name] for name in wanted.train]
    manifest = Manifest(
        name=origin.name, generator=origin.generator,
        content_hash=hashlib.blake2b(content.encode(), digest_size=16).hexdigest(),
        facts={"train_samples": samples_in_turn([wanted.form.samples_in(count) for count in train]),
               "train_tokens": sum(train), "eval_samples": wanted.eval_samples, "vocabulary": wanted.vocabulary,
               "length": wanted.form.length, **origin.facts},
        files=listed | entries(root, wanted.weights, "weights"))
    manifest.save(root)
    return manifest


def sizes_of(wanted: TokenSet, manifest: Manifest, *, recipe: str, batch: int, limit_samples: int) -> Sizes:
    """Counts of samples. Raises DataProblem when the data set is not the one that was wanted."""
    check_described(manifest, [
        Count("data.eval_samples", wanted.eval_samples, manifest.count("eval_samples")),
        Count("data.length", wanted.form.length, manifest.count("length")),
        Count("number of token ids", wanted.vocabulary, manifest.count("vocabulary"))], recipe)
    train = manifest.count("train_samples")
    if batch > train:
        raise DataProblem(f"expected a global batch of {batch} samples, found {train} for training",
                          hint="Make global_batch_size smaller.")
    return Sizes(train, wanted.eval_samples, train // batch * batch, limit_samples=limit_samples)


def samples_in_turn(counts: Sequence[int]) -> int:
    """Samples of one pass over files of so many, taken in turn until the first that has none left."""
    return min(count * len(counts) + place for place, count in enumerate(counts))


def place(source: Path, root: Path, names: Sequence[str]) -> None:
    """Put files of `source` into `root` under their names, without a copy where the file system can."""
    for name in names:
        target = root / name
        if target.exists() and target.samefile(source / name):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            os.link(source / name, target)
        except OSError:
            shutil.copyfile(source / name, target)


def _tokens(wanted: TokenSet, source: Path, name: str) -> int:
    """Tokens of one file, checked."""
    index, content = pair(source, name)
    file = TokenFile.load(index, content)
    check_vocabulary(file, wanted.vocabulary, content)
    if not wanted.form.samples_in(len(file.tokens)):
        raise DataProblem(f"expected at least one sample of {wanted.form.tokens} tokens in {content}, found "
                          f"{len(file.tokens)} tokens")
    return len(file.tokens)
