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

from laptime.suite.llama31_8b.config import Llama8BConfig
from laptime.suite.llama31_8b.published import EVAL, TRAIN
from laptime.training.data.store import Store
from laptime.training.data.token_files import TokenFile
from laptime.training.data.token_windows import IN_ORDER, Form, Indices, Windows
from laptime.training.metrics.ngrams import Ngrams
from laptime.training.nn.llama import Llama, initialise
from laptime.training.seeds import Seeds


def eval_samples(config: Llama8BConfig, store: Store) -> Iterator[list[int]]:
    """The evaluation samples, in order."""
    file, form = TokenFile.of(store, EVAL), Form(config.data.length)
    indices = Indices.of(file.sizes, form, shuffler=np.random.RandomState(0), shuffled=IN_ORDER)
    windows = Windows(file, indices, form)
    return (windows[sample].tolist() for sample in range(config.data.eval_samples))


def counted(order: int) -> Callable[[Llama8BConfig, Store], float]:
    """An n-gram model of this order."""
    def measure(config: Llama8BConfig, store: Store) -> float:
        counts = Ngrams(order, config.model.vocabulary)
        counts.learn(TokenFile.of(store, TRAIN).tokens.tolist())
        losses = [-math.log(counts.probability(sample, end))
                  for sample in eval_samples(config, store) for end in range(1, len(sample))]
        return math.fsum(losses) / len(losses)
    return measure


def untrained_network(config: Llama8BConfig, store: Store) -> float:
    """Random weights."""
    model, length = Llama(config.model).eval(), config.data.length
    initialise(model, Seeds(0))
    windows = torch.tensor(list(eval_samples(config, store)))
    with torch.no_grad():
        scores = torch.cat([model(part[:, :-1], torch.arange(length)) for part in windows.split(32)])
    return F.cross_entropy(scores.flatten(0, 1), windows[:, 1:].flatten()).item()


SHORTCUTS: dict[str, Callable[[Llama8BConfig, Store], float]] = {
    "frequency of tokens": counted(1),
    "one token before": counted(2),
    "two tokens before": counted(3),
    "four tokens before": counted(5),
    "seven tokens before": counted(8),
    "untrained network": untrained_network,
}
