"""Generated reports as the published data set: packed samples of their text, and frozen weights that know articles.

The tokenizer is learnt from the articles (`training.data.byte_pairs`), so it is equal on every machine. Samples go the
way of the published ones from rows on; only the container of the published files, Parquet, is left out.
"""

import shutil
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from laptime.errors import DataProblem
from laptime.suite.llama2_70b_lora.columns import COLUMNS, Rows
from laptime.suite.llama2_70b_lora.config import LoraConfig
from laptime.suite.llama2_70b_lora.packed import BEGIN, END, SPECIALS, Tokenizer, document, packed
from laptime.suite.llama2_70b_lora.published import EVAL, NAME, TRAIN, WEIGHTS, recipe, reformat
from laptime.suite.llama2_70b_lora.reports import report
from laptime.suite.llama2_70b_lora.start import trained
from laptime.training.data.byte_pairs import learnt
from laptime.training.data.described import GENERATED
from laptime.training.data.safetensors_files import write_checkpoint
from laptime.training.data.synth.text import article
from laptime.training.data.token_sets import Origin

UNPACKED = "published-"  # prefix of the folder that generated files pass through
EVAL_SHARE = 8  # one in so many reports is held out
LEARNT_FROM = 500  # articles that the tokenizer is learnt from


def generate(config: LoraConfig, root: Path, seed: int) -> None:
    """Make samples from a seed and weights, then reformat them as published ones are. Raises DataProblem."""
    root.mkdir(parents=True, exist_ok=True)
    for left in root.glob(f"{UNPACKED}*"):  # by an interrupted call
        shutil.rmtree(left)
    articles = [_article(seed, number) for number in range(config.data.articles)]
    tokenizer = learnt(articles[:LEARNT_FROM], config.model.vocabulary, first=SPECIALS)
    with tempfile.TemporaryDirectory(dir=root, prefix=UNPACKED) as name:
        weights, reached = trained(config, [[BEGIN, *tokenizer(text), END] for text in articles])
        names = list(weights)
        halves = names[:len(names) // 2], names[len(names) // 2:]
        write_checkpoint(Path(name) / WEIGHTS, [{one: weights[one] for one in half} for half in halves])
        reformat(config, parts(config, tokenizer, seed), Path(name), root,
                 Origin(NAME + GENERATED, recipe(config), {"frozen_log_perplexity": reached}))


def parts(config: LoraConfig, tokenizer: Tokenizer, seed: int) -> dict[str, list[Rows]]:
    """The packed samples of each part. Raises DataProblem where there are too few reports."""
    counts = {TRAIN: config.data.train_samples, EVAL: config.data.eval_samples}
    return {part: [first(packed(_documents(config, tokenizer, seed, part), config.data.length), count, part)]
            for part, count in counts.items()}


def first(rows: Iterator[Rows], count: int, part: str) -> Rows:
    """The first `count` samples."""
    samples = list(islice((pair for some in rows for pair in zip(*(some[name] for name in COLUMNS), strict=True)),
                          count))
    if len(samples) < count:
        raise DataProblem(f"expected {count} {part} samples, found {len(samples)} in the generated reports",
                          hint="Make data.reports larger.")
    return dict(zip(COLUMNS, zip(*samples, strict=True), strict=True))


def _documents(config: LoraConfig, tokenizer: Tokenizer, seed: int, part: str) -> Iterator:
    for number in range(config.data.reports):
        if (number % EVAL_SHARE == 0) == (part == EVAL):
            one = report(seed, number)
            yield document(tokenizer, one.text, one.summary, whole=part == TRAIN)


def _article(seed: int, number: int) -> str:
    one = article(seed, number)
    return "\n".join((one.title, *one.sentences))
