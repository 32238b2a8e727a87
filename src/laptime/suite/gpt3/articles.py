"""Generated articles as the published data set: text, tokenizer, token files and a starting checkpoint.

The text is `training.data.synth.text`'s. As with the published set, three parts of it never meet: what the checkpoint
is trained on, what a run is trained on (two files), what both are measured on. Only the last two are kept.
"""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from laptime.errors import DataProblem
from laptime.suite.gpt3 import published
from laptime.suite.gpt3.config import Gpt3Config
from laptime.suite.gpt3.data import NAME, recipe
from laptime.suite.gpt3.start import Ids, write_start
from laptime.training.data.byte_pairs import BytePairs, learnt
from laptime.training.data.described import GENERATED
from laptime.training.data.synth.text import GENERATOR, article
from laptime.training.data.token_files import kind_for, write_tokens

UNPACKED = "published-"  # prefix of the folder that generated files pass through
SPECIAL = 3  # reference's tokenizer: ids 0 to 2 are padding, end and unknown; none occurs in the files
PARTS = 16  # articles are dealt to the parts of the set by their number
HELD_OUT, FIRST = (0,), (1, 2, 3, 4, 5)  # validation; the checkpoint's; the rest is the runs'
SAMPLED = 1000  # articles that the tokenizer is learnt from


def generate(config: Gpt3Config, root: Path, seed: int) -> None:
    """Write the published layout from a seed, then put it in place as real data is."""
    root.mkdir(parents=True, exist_ok=True)
    for left in root.glob(f"{UNPACKED}*"):  # by an interrupted call
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=root, prefix=UNPACKED) as name:
        found = write_published(config, Path(name), seed)
        published.reformat(config, Path(name), root, name=NAME + GENERATED, generator=recipe(config),
                           facts={"start_log_perplexity": found, "text": GENERATOR})


def write_published(config: Gpt3Config, folder: Path, seed: int) -> float:
    """Make the files in `folder`; returns the log perplexity of the starting checkpoint. Raises DataProblem."""
    texts = [" ".join(article(seed, i).sentences) for i in range(config.data.articles)]
    words = learnt(texts[:SAMPLED], config.model.tokens, first=SPECIAL)
    held_out, first, rest = (documents(words, texts, chosen) for chosen in
                             (HELD_OUT, FIRST, sorted(set(range(PARTS)) - {*HELD_OUT, *FIRST})))
    kind = kind_for(config.model.tokens)
    evaluation = cut(held_out, config)
    write_tokens(folder, published.EVAL, evaluation, kind)
    half = len(rest) // 2
    for name, part in zip(published.TRAIN, (rest[:half], rest[half:]), strict=True):
        write_tokens(folder, name, part, kind)
    found = write_start(config, folder / published.START, np.concatenate(first), np.concatenate(evaluation))
    low, high = config.data.start_low, config.data.start_high
    if not low <= found <= high:
        raise DataProblem(f"expected a starting checkpoint of log perplexity {low:g} to {high:g}, found {found:.4f}",
                          hint="Change schedule.start_sequences, or the window data.start_low to data.start_high.")
    return found


def documents(words: BytePairs, texts: Sequence[str], chosen: Sequence[int]) -> list[Ids]:
    """Articles whose number, divided by PARTS, leaves one of `chosen`, as ids."""
    return [np.array(words(text), np.int64) for i, text in enumerate(texts) if i % PARTS in chosen]


def cut(found: Sequence[Ids], config: Gpt3Config) -> list[Ids]:
    """As many articles, the last one cut off, as ask for `eval_tokens`. Raises DataProblem for too few."""
    length, wanted = config.data.length, config.data.eval_tokens
    total = wanted + -(-wanted // (length - 1))  # every window has one more than it asks for
    ends = np.cumsum([len(one) for one in found])
    if not len(ends) or ends[-1] < total:
        raise DataProblem(f"expected {total} tokens of held-out text, found {ends[-1] if len(ends) else 0}",
                          hint="Change data.articles or data.eval_tokens.")
    last = int(np.searchsorted(ends, total))
    return [*found[:last], found[last][:total - int(ends[last]) + len(found[last])]]
