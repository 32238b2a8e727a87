"""What can be had without reading: baselines that no honest target may lie within reach of.

Each takes an unlocked store and returns the loss of the evaluation samples as the benchmark measures it (nats; tokens
of summaries only, the mean of the samples' means). The counting ones are n-gram models with Witten-Bell interpolation
(Witten & Bell 1991), learnt from all training tokens, that see the tokens before one within its sample.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from laptime.suite.llama2_70b_lora.columns import COLUMNS
from laptime.suite.llama2_70b_lora.config import LoraConfig
from laptime.suite.llama2_70b_lora.data import EvalBatches
from laptime.suite.llama2_70b_lora.loss import sample_losses
from laptime.suite.llama2_70b_lora.model import AdaptedLlama
from laptime.suite.llama2_70b_lora.published import EVAL, TRAIN, read_array, weights_of
from laptime.suite.llama2_70b_lora.weights import draw_adapters, draw_frozen, load_frozen
from laptime.training.data.store import Store
from laptime.training.data.token_windows import IGNORED
from laptime.training.distributed.world import World
from laptime.training.metrics.ngrams import Ngrams, Tokens
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))


def learnt(config: LoraConfig, store: Store, order: int) -> Ngrams:
    """Counts of all training samples."""
    counts = Ngrams(order, config.model.vocabulary)
    for sample in read_array(store, TRAIN, COLUMNS[0]).tolist():
        counts.learn(sample)
    return counts


def mean_of_means(store: Store, probabilities: Callable[[Tokens], Sequence[float]]) -> float:
    """The metric of a model that gives the probability of every token of a sample."""
    means = []
    for tokens, labels in zip(*(read_array(store, EVAL, column).tolist() for column in COLUMNS), strict=True):
        found = probabilities(tokens)
        losses = [-math.log(found[end]) for end in range(1, len(tokens)) if labels[end] != IGNORED]
        means.append(math.fsum(losses) / len(losses))
    return math.fsum(means) / len(means)


def counted(order: int) -> Callable[[LoraConfig, Store], float]:
    """An n-gram model of this order."""
    def measure(config: LoraConfig, store: Store) -> float:
        counts = learnt(config, store, order)
        return mean_of_means(store, lambda tokens: [counts.probability(tokens, end) for end in range(len(tokens))])
    return measure


def copying(order: int, own_order: int) -> Callable[[LoraConfig, Store], float]:
    """The same, mixed on top with what the sample itself has told so far."""
    def measure(config: LoraConfig, store: Store) -> float:
        counts = learnt(config, store, order)

        def probabilities(tokens: Tokens) -> list[float]:
            own, found = Ngrams(own_order, config.model.vocabulary), []
            for end in range(len(tokens)):
                found.append(own.probability(tokens, end, counts.probability(tokens, end)))
                own.add(tokens, end)
            return found

        return mean_of_means(store, probabilities)
    return measure


def frozen_weights_alone(config: LoraConfig, store: Store) -> float:
    """What every run begins with: adapters that add nothing yet."""
    return _untrained(config, store)


def random_weights(config: LoraConfig, store: Store) -> float:
    """An untrained network."""
    return _untrained(replace(config, data=replace(config.data, start=False)), store)


@torch.no_grad()
def _untrained(config: LoraConfig, store: Store) -> float:
    model, checkpoint = AdaptedLlama(config.model, config.adapter).eval(), weights_of(store)
    if config.data.start and checkpoint is not None:
        load_frozen(model, checkpoint)
    else:
        draw_frozen(model, Seeds(0))
    draw_adapters(model, Seeds(0))
    losses = torch.cat([sample_losses(model, micro, ALONE) for micro in EvalBatches(store, config.data, ALONE)])
    return losses[:config.data.eval_samples].double().mean().item()


SHORTCUTS: dict[str, Callable[[LoraConfig, Store], float]] = {
    "frequency of tokens": counted(1),
    "one token before": counted(2),
    "two tokens before": counted(3),
    "four tokens before": counted(5),
    "seven tokens before": counted(8),
    "four tokens before and the sample's own": copying(5, 3),
    "random weights": random_weights,
    "frozen weights alone": frozen_weights_alone,
}
