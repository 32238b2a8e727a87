"""Generated articles as the published data set: text as C4 has it, token files of one tokenizer, weights of another.

Both tokenizers are learnt from articles (`training.data.byte_pairs`), so they are equal on every machine: that of the
run begins with special tokens and is learnt from other articles, so that hardly an id means the same.
"""

import shutil
import tempfile
from pathlib import Path

from laptime.suite.llama31_405b.config import Llama405BConfig
from laptime.suite.llama31_405b.published import EVAL, NAME, START, TRAIN, recipe, reformat
from laptime.suite.llama31_405b.start import trained
from laptime.training.data.byte_pairs import learnt
from laptime.training.data.described import GENERATED
from laptime.training.data.safetensors_files import write_checkpoint
from laptime.training.data.synth.corpus import texts, write_corpus
from laptime.training.data.token_files import kind_for, write_tokens
from laptime.training.data.token_sets import Origin

UNPACKED = "published-"  # prefix of the folder that generated files pass through
EVAL_SHARE = 16  # one in so many articles is held out
LEARNT_FROM = 500  # articles that a tokenizer is learnt from
SPECIALS = 3  # ids of special tokens that the run's tokenizer begins with, as the published one does
ENDING = ".json"


def generate(config: Llama405BConfig, root: Path, seed: int) -> None:
    """Write the published layout from a seed, then prepare it as real data is. Raises DataProblem."""
    root.mkdir(parents=True, exist_ok=True)
    for left in root.glob(f"{UNPACKED}*"):  # by an interrupted call
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=root, prefix=UNPACKED) as name:
        folder = Path(name)
        write_text(config, folder, seed)
        write_published(config, folder)
        reached = write_start(config, folder)
        reformat(config, folder, root, Origin(NAME + GENERATED, recipe(config), {"start_log_perplexity": reached}))


def write_text(config: Llama405BConfig, folder: Path, seed: int) -> None:
    """Articles for each training file, for evaluation, and others for the checkpoint."""
    numbers = range(config.data.articles)
    write_corpus(folder / f"{EVAL}{ENDING}", seed, (i for i in numbers if i % EVAL_SHARE == 0))
    for part, name in enumerate(TRAIN):
        mine = (i for i in numbers if i % EVAL_SHARE and i % len(TRAIN) == part)
        write_corpus(folder / f"{name}{ENDING}", seed, mine)
    write_corpus(folder / f"{START}{ENDING}", seed, range(len(numbers), len(numbers) + config.data.start_articles))


def write_published(config: Llama405BConfig, folder: Path) -> None:
    """Token files of the run's tokenizer."""
    train = [list(texts(folder / f"{name}{ENDING}")) for name in TRAIN]
    tokenizer = learnt(train[0][:LEARNT_FROM], config.data.tokens, first=SPECIALS)
    kind = kind_for(config.data.tokens)
    for name, part in zip(TRAIN, train, strict=True):
        write_tokens(folder, name, map(tokenizer, part), kind)
    write_tokens(folder, EVAL, map(tokenizer, texts(folder / f"{EVAL}{ENDING}")), kind)


def write_start(config: Llama405BConfig, folder: Path) -> float:
    """Train the checkpoint with its own tokenizer and write it as two files; returns its log perplexity."""
    seen = list(texts(folder / f"{START}{ENDING}"))
    tokenizer = learnt(seen[:LEARNT_FROM], config.model.vocabulary)
    held_out = map(tokenizer, texts(folder / f"{EVAL}{ENDING}"))
    weights, reached = trained(config, [tokenizer(text) for text in seen], list(held_out))
    names = list(weights)
    halves = names[:len(names) // 2], names[len(names) // 2:]
    write_checkpoint(folder / START, [{name: weights[name] for name in half} for half in halves])
    return reached
