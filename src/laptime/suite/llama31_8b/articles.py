"""Generated articles as the published data set: lines of JSON as C4 has them, tokenised, in token files.

The tokenizer is learnt from the training articles (`training.data.byte_pairs`), so it is equal on every machine.
"""

import shutil
import tempfile
from pathlib import Path

from laptime.suite.llama31_8b.config import Llama8BConfig
from laptime.suite.llama31_8b.published import EVAL, NAME, TRAIN, recipe, token_set
from laptime.training.data.byte_pairs import learnt
from laptime.training.data.described import GENERATED
from laptime.training.data.synth.corpus import texts, write_corpus
from laptime.training.data.token_files import kind_for, write_tokens
from laptime.training.data.token_sets import Origin, prepare_tokens

UNPACKED = "published-"  # prefix of the folder that generated files pass through
TRAIN_TEXT, EVAL_TEXT = "c4-train.en_6.json", "c4-validation-91205-samples.en.json"
EVAL_SHARE = 16  # one in so many articles is held out
LEARNT_FROM = 500  # articles that the tokenizer is learnt from


def generate(config: Llama8BConfig, root: Path, seed: int) -> None:
    """Write the published layout from a seed, then prepare it as real data is."""
    root.mkdir(parents=True, exist_ok=True)
    for left in root.glob(f"{UNPACKED}*"):  # by an interrupted call
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=root, prefix=UNPACKED) as name:
        write_published(config, Path(name), seed)
        prepare_tokens(token_set(config), Path(name), root, Origin(NAME + GENERATED, recipe(config), {}))


def write_published(config: Llama8BConfig, folder: Path, seed: int) -> None:
    """The text and the token files in `folder`."""
    numbers = range(config.data.articles)
    write_corpus(folder / TRAIN_TEXT, seed, (number for number in numbers if number % EVAL_SHARE))
    write_corpus(folder / EVAL_TEXT, seed, (number for number in numbers if number % EVAL_SHARE == 0))
    train, vocabulary = list(texts(folder / TRAIN_TEXT)), config.model.vocabulary
    tokenizer = learnt(train[:LEARNT_FROM], vocabulary)
    write_tokens(folder, TRAIN, map(tokenizer, train), kind_for(vocabulary))
    write_tokens(folder, EVAL, map(tokenizer, texts(folder / EVAL_TEXT)), kind_for(vocabulary))
