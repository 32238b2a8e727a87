"""What can be had without reading: baselines that no honest target may lie within reach of.

Each takes an unlocked store and returns the log perplexity that a run's evaluation would find. The counting ones learn
from the runs' training files; they predict the same tokens as the network, within the same windows.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from laptime.suite.gpt3.checkpoint import Checkpoint
from laptime.suite.gpt3.config import Gpt3Config
from laptime.suite.gpt3.model import Gpt3
from laptime.suite.gpt3.published import EVAL, START, TRAIN
from laptime.suite.gpt3.start import log_perplexity
from laptime.suite.gpt3.train import initialise
from laptime.training.data.store import Store
from laptime.training.data.token_files import TokenFile
from laptime.training.metrics.ngrams import Ngrams
from laptime.training.seeds import Seeds

Ids = NDArray[np.int64]
CACHE = 0.03  # share of the prediction that the window's own words have


def counted(order: int, *, cache: bool = False) -> Callable[[Gpt3Config, Store], float]:
    """The measure of sequences of `order` tokens; `cache`: mixed with how often a word has stood in the window."""
    def measure(config: Gpt3Config, store: Store) -> float:
        train = [one for name in TRAIN for one in TokenFile.of(store, name).tokens.tolist()]
        known = Ngrams(order, config.model.tokens)
        known.learn(train)
        total, count = 0.0, 0
        for window in windows(store, config.data.length):
            for place in range(1, len(window)):
                value = known.probability(window, place)
                if cache:
                    value = (1 - CACHE) * value + CACHE * window[:place].count(window[place]) / place
                total, count = total - float(np.log(value)), count + 1
        return total / count
    return measure


def windows(store: Store, length: int) -> list[list[int]]:
    """The validation windows, the incomplete last one too."""
    flat = TokenFile.of(store, EVAL).tokens.tolist()
    return [flat[start:start + length] for start in range(0, len(flat), length)]


def untrained_network(config: Gpt3Config, store: Store) -> float:
    """Random weights."""
    return _of_network(config, store, started=False)


def starting_checkpoint(config: Gpt3Config, store: Store) -> float:
    """The checkpoint that every run starts from."""
    return _of_network(config, store, started=True)


def _of_network(config: Gpt3Config, store: Store, *, started: bool) -> float:
    model = Gpt3(config.model, config.data.length)
    initialise(model, config, Seeds(0))
    if started:
        start = Checkpoint(store.root / START)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(torch.from_numpy(start.weight(name)))
    return log_perplexity(model, TokenFile.of(store, EVAL).tokens, config.data.length)


SHORTCUTS: dict[str, Callable[[Gpt3Config, Store], float]] = {
    "frequency of words": counted(1),
    "two words": counted(2),
    "three words": counted(3),
    "five words": counted(5),
    "eight words": counted(8),
    "five words and words of the window": counted(5, cache=True),
    "untrained network": untrained_network,
    "starting checkpoint": starting_checkpoint,
}
