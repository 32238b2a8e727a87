"""The published files, and how they become a prepared data set: checked, counted and put in place as they are.

    SOURCE/c4_en_6_c4_spm_text_document.bin, .idx                    training tokens (shards 768 to 895)
    SOURCE/c4_en_7_c4_spm_text_document.bin, .idx                    training tokens (shards 896 to 1023)
    SOURCE/c4_en_validation_subset_c4_spm_text_document.bin, .idx    validation tokens
    SOURCE/checkpoint/language_model...., optimizer.state....        starting checkpoint (`checkpoint.py`)

Tokens are read from these files while the clock runs, the checkpoint before. Source: reference, README and commands.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from laptime.config import Json
from laptime.errors import DataProblem
from laptime.suite.gpt3.checkpoint import Checkpoint
from laptime.suite.gpt3.config import Gpt3Config
from laptime.suite.gpt3.model import Gpt3
from laptime.training.data.store import MANIFEST, Manifest, entries
from laptime.training.data.token_files import TokenFile, check_vocabulary, pair
from laptime.training.data.token_sets import place

TRAIN = ("c4_en_6_c4_spm_text_document", "c4_en_7_c4_spm_text_document")
EVAL = "c4_en_validation_subset_c4_spm_text_document"
START = "checkpoint"


def predicted(tokens: int, length: int) -> int:
    """How many tokens windows of `length` ask to predict, the incomplete last one included: all but one of each."""
    return tokens - -(-tokens // length)


def reformat(config: Gpt3Config, source: Path, root: Path, *, name: str, generator: str,
             facts: Mapping[str, Json]) -> Manifest:
    """Check the files under `source` and put them into `root`; the manifest comes last. Raises DataProblem."""
    root.mkdir(parents=True, exist_ok=True)
    (root / MANIFEST).unlink(missing_ok=True)
    files = {part: _checked(config, source, part) for part in (*TRAIN, EVAL)}
    counts = {part: len(file.tokens) for part, file in files.items()}
    evaluated = predicted(counts[EVAL], config.data.length)
    if evaluated != config.data.eval_tokens:
        raise DataProblem(f"expected {config.data.eval_tokens} tokens to predict in {pair(source, EVAL)[1]}, found "
                          f"{evaluated}", hint="Get the validation files again, or set data.eval_tokens.")
    start = list(_checkpoint_files(config, source / START))
    tokens = [path.name for part in files for path in pair(source, part)]
    place(source, root, [*tokens, *start])
    data = entries(root, tokens)
    content = "".join(f"{file} {entry.size} {entry.checksum}\n" for file, entry in sorted(data.items()))
    manifest = Manifest(
        name=name, generator=generator, content_hash=hashlib.blake2b(content.encode(), digest_size=16).hexdigest(),
        facts={"train_tokens": sum(counts[part] for part in TRAIN), "eval_tokens": evaluated,
               "tokens": config.model.tokens, "start_sequences": config.schedule.start_sequences, **facts,
               "train_sequences": _sequences([counts[part] for part in TRAIN], config.data.length)},
        files=data | entries(root, start, "weights"))
    manifest.save(root)
    return manifest


def _sequences(tokens: list[int], length: int) -> int:
    """Windows of one pass over files that are drawn from in turn: the pass ends with the shorter one."""
    return len(tokens) * min(count // length for count in tokens)


def _checked(config: Gpt3Config, source: Path, part: str) -> TokenFile:
    index, content = pair(source, part)
    file = TokenFile.load(index, content)
    if len(file.tokens) < 2 * config.data.length:
        raise DataProblem(f"expected at least two windows of {config.data.length} tokens in {content}, found "
                          f"{len(file.tokens)} tokens", hint="Get the files again, or set data.length.")
    check_vocabulary(file, config.model.tokens, content)
    return file


def _checkpoint_files(config: Gpt3Config, folder: Path) -> Iterator[str]:
    with torch.device("meta"):
        model = Gpt3(config.model, config.data.length)
    return (f"{START}/{name}" for name in Checkpoint(folder).files(model))
