"""What can be had without reading: baselines that no honest target may lie within reach of.

Each takes an unlocked store and returns the log perplexity of the evaluation samples in nats per token. The counting
ones are n-gram models with Witten-Bell interpolation (Witten & Bell 1991), learnt from all training tokens, that see
the tokens before one within its sample, as the network does.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch.nn import functional as F

from laptime.suite.llama31_405b.config import Llama405BConfig
from laptime.suite.llama31_405b.published import EVAL, TRAIN, start_of
from laptime.training.data.store import Store
from laptime.training.data.token_files import TokenFile
from laptime.training.data.token_windows import IN_ORDER, Form, Indices, Windows
from laptime.training.metrics.ngrams import Ngrams
from laptime.training.nn.llama import Llama, initialise
from laptime.training.nn.llama_checkpoint import load_weights
from laptime.training.seeds import Seeds


def eval_samples(config: Llama405BConfig, store: Store) -> Iterator[list[int]]:
    """The evaluation samples, in order."""
    file, form = TokenFile.of(store, EVAL), Form(config.data.length)
    indices = Indices.of(file.sizes, form, shuffler=np.random.RandomState(0), shuffled=IN_ORDER)
    windows = Windows(file, indices, form)
    return (windows[sample].tolist() for sample in range(config.data.eval_samples))


def counted(order: int) -> Callable[[Llama405BConfig, Store], float]:
    """An n-gram model of this order."""
    def measure(config: Llama405BConfig, store: Store) -> float:
        tokens = [token for name in TRAIN for token in TokenFile.of(store, name).tokens.tolist()]
        counts = Ngrams(order, config.data.tokens)
        counts.learn(tokens)
        losses = [-math.log(counts.probability(sample, end))
                  for sample in eval_samples(config, store) for end in range(1, len(sample))]
        return math.fsum(losses) / len(losses)
    return measure


def untrained_network(config: Llama405BConfig, store: Store) -> float:
    """Random weights."""
    model = Llama(config.model).eval()
    initialise(model, Seeds(0))
    return _of(model, config, store)


def starting_checkpoint(config: Llama405BConfig, store: Store) -> float:
    """The weights that every run starts from, which know another tokenizer."""
    model, checkpoint = Llama(config.model).eval(), start_of(store)
    assert checkpoint is not None
    load_weights(model, checkpoint)
    return _of(model, config, store)


def _of(model: Llama, config: Llama405BConfig, store: Store) -> float:
    length = config.data.length
    windows = torch.tensor(list(eval_samples(config, store)))
    with torch.no_grad():
        scores = torch.cat([model(part[:, :-1], torch.arange(length)) for part in windows.split(32)])
    return F.cross_entropy(scores.flatten(0, 1), windows[:, 1:].flatten()).item()


SHORTCUTS: dict[str, Callable[[Llama405BConfig, Store], float]] = {
    "frequency of tokens": counted(1),
    "one token before": counted(2),
    "two tokens before": counted(3),
    "four tokens before": counted(5),
    "seven tokens before": counted(8),
    "untrained network": untrained_network,
    "starting checkpoint": starting_checkpoint,
}
