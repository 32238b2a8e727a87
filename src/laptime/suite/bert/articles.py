"""Generated articles as the published data set: text, vocabulary, samples and a starting checkpoint.

The text is `training.data.synth.text`'s; it is written one sentence per line with a blank line between articles, as
the reference's text preparation leaves it, read back, and made into samples by `instances.py`. The checkpoint comes
from a first phase of training on short samples, as the published one does.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from laptime.errors import DataProblem
from laptime.suite.bert import published
from laptime.suite.bert.config import BertConfig
from laptime.suite.bert.data import NAME
from laptime.suite.bert.instances import Document, Instance, Vocabulary, instances
from laptime.suite.bert.start import trained
from laptime.suite.bert.wordpiece import WordPiece, learnt
from laptime.training.data import tf_checkpoint
from laptime.training.data.described import GENERATED
from laptime.training.data.synth.draw import Stream
from laptime.training.data.synth.text import article
from laptime.training.data.tfrecord import example, write_records

UNPACKED = "published-"  # prefix of the folder that generated files pass through
TEXT = "results"
FILES = 4  # of training samples
EVAL_SHARE = 8  # one in so many articles is held out


def generate(config: BertConfig, root: Path, seed: int) -> None:
    """Write the published layout from a seed, then reformat it as real data is."""
    root.mkdir(parents=True, exist_ok=True)
    for left in root.glob(f"{UNPACKED}*"):  # by an interrupted call
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=root, prefix=UNPACKED) as name:
        folder = Path(name)
        content_hash, accuracy = write_published(config, folder, seed)
        published.reformat(config, folder, root, name=NAME + GENERATED, generator=published.recipe(config),
                           facts={"start_accuracy": accuracy}, content_hash=content_hash)


def write_published(config: BertConfig, folder: Path, seed: int) -> tuple[str, float]:
    """Make the files in `folder`; returns a hash of the samples and the accuracy of the starting checkpoint."""
    write_text(config, folder / TEXT, seed)
    held_out, *parts = [read_text(path) for path in sorted((folder / TEXT).iterdir())]
    lines = [sentence for part in parts for sentences in part for sentence in sentences]
    entries = learnt(lines, config.model.vocabulary)
    (folder / published.VOCABULARY).write_text("".join(f"{entry}\n" for entry in entries))
    words = WordPiece(entries)
    train = [numbered(words, one) for part in parts for one in part]
    corpus = Corpus(train, [numbered(words, one) for one in held_out], words)
    return write_samples(config, folder, corpus, seed)


def numbered(words: WordPiece, sentences: Sequence[str]) -> Document:
    """An article as numbers of words."""
    return [words(sentence) for sentence in sentences]


@dataclass(frozen=True)
class Corpus:
    """Articles as numbers of words, and what the numbers mean."""

    train: list[Document]
    held_out: list[Document]
    words: WordPiece

    @property
    def vocabulary(self) -> Vocabulary:
        numbers = self.words.numbers
        return Vocabulary(numbers["[CLS]"], numbers["[SEP]"], numbers["[MASK]"], len(numbers))


def write_samples(config: BertConfig, folder: Path, corpus: Corpus, seed: int) -> tuple[str, float]:
    """Training and evaluation samples as records, and the checkpoint of a network that saw short ones."""
    data, known = config.data, corpus.vocabulary
    samples = instances(corpus.train, data, known, Stream(seed, 1), length=data.length, copies=data.copies)
    held_out = instances(corpus.held_out, data, known, Stream(seed, 2), length=data.length, copies=1)
    chosen = picked(held_out, data.eval_samples)
    _enough(samples, data.train_samples, "training")
    digest = hashlib.blake2b(digest_size=16)
    (folder / published.TRAIN).mkdir()
    size = -(-data.train_samples // FILES)
    for i in range(FILES):
        name = f"part-{i:05d}-of-{FILES:05d}"
        part = samples[:data.train_samples][i * size:(i + 1) * size]
        digest.update(_write(config, folder / published.TRAIN / name, part))
    digest.update(_write(config, folder / published.EVAL, chosen))
    short = instances(corpus.train, data, known, Stream(seed, 3), length=data.start_length, copies=1)
    accuracy = write_start(config, folder / published.CHECKPOINT, short, chosen)
    return digest.hexdigest(), accuracy


def write_start(config: BertConfig, prefix: Path, short: list[Instance], evaluation: list[Instance]) -> float:
    """Train on short samples and write the checkpoint; returns its accuracy on the evaluation samples.

    Raises DataProblem when it lies outside the window that the configuration says.
    """
    tensors, accuracy = trained(config, short, evaluation)
    low, high = config.data.start_low, config.data.start_high
    if not low <= accuracy <= high:
        raise DataProblem(f"expected a starting checkpoint of accuracy {low:g} to {high:g}, found {accuracy:.4f}",
                          hint="Change data.start_steps, or the window data.start_low to data.start_high.")
    prefix.parent.mkdir()
    tf_checkpoint.write(prefix, tensors)
    return accuracy


def write_text(config: BertConfig, folder: Path, seed: int) -> None:
    """`eval.txt` and `part-...` files of articles: one sentence per line, a blank line after each article."""
    folder.mkdir()
    names = ["eval.txt", *(f"part-{i:05d}-of-{FILES:05d}" for i in range(FILES))]
    texts: dict[str, list[str]] = {name: [] for name in names}
    for i in range(config.data.articles):
        name = "eval.txt" if i % EVAL_SHARE == 0 else names[1 + i % FILES]
        texts[name].append("".join(f"{sentence}\n" for sentence in article(seed, i).sentences))
    for name, parts in texts.items():
        (folder / name).write_text("\n".join(parts))


def read_text(path: Path) -> list[list[str]]:
    """The articles of a file, each a list of sentences."""
    return [part.splitlines() for part in path.read_text().split("\n\n") if part.strip()]


def picked(samples: Sequence[Instance], count: int) -> list[Instance]:
    """Every (n / count)-th sample, as the reference picks its 10,000."""
    _enough(samples, count, "evaluation")
    return [samples[i * len(samples) // count] for i in range(count)]


def _write(config: BertConfig, path: Path, samples: Sequence[Instance]) -> bytes:
    """Write records; returns a hash of their contents."""
    contents = [example(published.features_of(config, one)) for one in samples]
    write_records(path, contents)
    return hashlib.blake2b(b"".join(contents), digest_size=16).digest()


def _enough(samples: Sequence[Instance], wanted: int, what: str) -> None:
    if len(samples) < wanted:
        raise DataProblem(f"expected {wanted} {what} samples of the generated articles, found {len(samples)}",
                          hint="Make data.articles larger.")

