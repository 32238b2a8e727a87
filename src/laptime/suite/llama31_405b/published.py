"""The published token files and weights, and how they become a prepared data set: checked, counted, put in place.

    SOURCE/c4-train.en_6_text_document.bin, .idx                       training tokens (C4 shards 768 to 895)
    SOURCE/c4-train.en_7_text_document.bin, .idx                       training tokens (C4 shards 896 to 1023)
    SOURCE/c4-validation-91205-samples.en_text_document.bin, .idx      evaluation tokens
    SOURCE/checkpoint/model.safetensors.index.json, model-....safetensors    Llama 3.1 405B as its authors published it

Tokens are those of the Mixtral 8x22B tokenizer, without a mark at the end of a document; the weights know another
tokenizer. Source: reference, README and training script.
"""

from pathlib import Path

from laptime.events import Sizes
from laptime.suite.llama31_405b.config import Llama405BConfig
from laptime.training.data.safetensors_files import Checkpoint
from laptime.training.data.store import Manifest, Store
from laptime.training.data.synth.text import GENERATOR
from laptime.training.data.token_sets import Origin, TokenSet, prepare_tokens, sizes_of
from laptime.training.data.token_windows import Form
from laptime.training.nn.llama_checkpoint import check_weights

NAME = "c4-en-mixtral"
TRAIN = ("c4-train.en_6_text_document", "c4-train.en_7_text_document")
EVAL = "c4-validation-91205-samples.en_text_document"
START = "checkpoint"


def token_set(config: Llama405BConfig, weights: tuple[str, ...] = ()) -> TokenSet:
    """What a configuration makes of the files."""
    return TokenSet(train=TRAIN, evaluation=EVAL, form=Form(config.data.length), vocabulary=config.data.tokens,
                    eval_samples=config.data.eval_samples, weights=weights)


def recipe(config: Llama405BConfig) -> str:
    """What generated data was made by: another recipe makes another data set."""
    data, model = config.data, config.model
    return (f"{GENERATOR}, llama31_405b 1, {data.articles} articles, {data.tokens} tokens, samples of {data.length}, "
            f"start {data.start_steps} steps on {data.start_articles} articles, {model.layers} x {model.hidden}")


def prepare(config: Llama405BConfig, source: Path, root: Path) -> None:
    """Check the published files under `source` and put them into `root`. Untimed. Raises DataProblem."""
    reformat(config, source, root, Origin(NAME, "published", {}))


def reformat(config: Llama405BConfig, source: Path, root: Path, origin: Origin) -> None:
    """The same for files of any origin. Raises DataProblem."""
    checkpoint = Checkpoint.open(source / START)
    check_weights(config.model, checkpoint)
    weights = tuple(f"{START}/{name}" for name in checkpoint.names)
    prepare_tokens(token_set(config, weights), source, root, origin)


def start_of(store: Store) -> Checkpoint | None:
    """The starting checkpoint; None in a data set that is only described."""
    names = [name for name, entry in store.metadata.files.items() if entry.kind == "weights"]
    return Checkpoint.open(store.weights(names[0]).parent) if names else None


def sizes(config: Llama405BConfig, manifest: Manifest) -> Sizes:
    """Sample counts; the run gives up after `limit_samples`.

    Raises DataProblem when the data set is not the one that the configuration describes.
    """
    return sizes_of(token_set(config), manifest, recipe=recipe(config), batch=config.global_batch_size,
                    limit_samples=config.schedule.limit_samples)
