"""The published token files, and how they become a prepared data set: checked, counted and put in place as they are.

    SOURCE/c4-train.en_6_text_document.bin, .idx                       training tokens (C4 shards 768 to 895)
    SOURCE/c4-validation-91205-samples.en_text_document.bin, .idx      evaluation tokens

Tokens are those of the Llama 3.1 tokenizer, without a mark at the end of a document. Source: reference, README and
training script (which names this one file; the README speaks of twice as many shards).
"""

from pathlib import Path

from laptime.events import Sizes
from laptime.suite.llama31_8b.config import Llama8BConfig
from laptime.training.data.store import Manifest
from laptime.training.data.synth.text import GENERATOR
from laptime.training.data.token_sets import Origin, TokenSet, prepare_tokens, sizes_of
from laptime.training.data.token_windows import Form

NAME = "c4-en-llama31"
TRAIN = "c4-train.en_6_text_document"
EVAL = "c4-validation-91205-samples.en_text_document"


def token_set(config: Llama8BConfig) -> TokenSet:
    """What a configuration makes of the files."""
    return TokenSet(train=(TRAIN,), evaluation=EVAL, form=Form(config.data.length), vocabulary=config.model.vocabulary,
                    eval_samples=config.data.eval_samples)


def recipe(config: Llama8BConfig) -> str:
    """What generated data was made by: another recipe makes another data set."""
    return (f"{GENERATOR}, llama31_8b 1, {config.data.articles} articles, {config.model.vocabulary} tokens, "
            f"samples of {config.data.length}")


def prepare(config: Llama8BConfig, source: Path, root: Path) -> None:
    """Check the published files under `source` and put them into `root`. Untimed. Raises DataProblem."""
    prepare_tokens(token_set(config), source, root, Origin(NAME, "published", {}))


def sizes(config: Llama8BConfig, manifest: Manifest) -> Sizes:
    """Sample counts; the run gives up after `limit_steps`.

    Raises DataProblem when the data set is not the one that the configuration describes.
    """
    batch = config.global_batch_size
    return sizes_of(token_set(config), manifest, recipe=recipe(config), batch=batch,
                    limit_samples=config.schedule.limit_steps * batch)
