"""What can be had without reading: baselines that no honest target may lie within reach of.

Each takes an unlocked store and returns the share of masked evaluation words that it guesses right. The counting ones
learn from the training samples with the masked words put back; they see neighbours with their masks, as the network
does, and fall back on shorter contexts.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch

from laptime.suite.bert.config import BertConfig
from laptime.suite.bert.data import Part
from laptime.suite.bert.model import Bert, initialise
from laptime.suite.bert.published import START, load_start
from laptime.suite.bert.samples import NUMBER, micro
from laptime.suite.bert.start import masked_accuracy
from laptime.training.data.store import Store
from laptime.training.seeds import Seeds

Context = Callable[["Sample", int], Hashable]


@dataclass(frozen=True)
class Sample:
    """Words as they are shown, and the masked ones."""

    words: list[int]
    positions: list[int]
    labels: list[int]

    def whole(self) -> "Sample":
        """With the masked words put back."""
        words = list(self.words)
        for position, label in zip(self.positions, self.labels, strict=True):
            words[position] = label
        return Sample(words, self.positions, self.labels)

    def at(self, place: int) -> int:
        """The word at a place; -1 beyond the ends."""
        return self.words[place] if 0 <= place < len(self.words) else -1


def samples(store: Store, part: str) -> Iterator[Sample]:
    """Every sample of a part."""
    shards, columns = Part(store, part).open()
    for i in range(len(columns.lengths)):
        numbers = np.frombuffer(shards[i], NUMBER).tolist()
        length, wanted = int(columns.lengths[i]), int(columns.predictions[i])
        yield Sample(numbers[:length], numbers[length + 1:length + 1 + wanted], numbers[length + 1 + wanted:])


def most_frequent(store: Store) -> float:
    """Always the most frequent word."""
    return counted(store, [])


def previous_word(store: Store) -> float:
    """The word that most often follows the one before."""
    return counted(store, [lambda one, at: one.at(at - 1)])


def neighbours(store: Store) -> float:
    """The word that most often stands between the two beside it."""
    return counted(store, [lambda one, at: (one.at(at - 1), one.at(at + 1)), lambda one, at: one.at(at - 1)])


def four_neighbours(store: Store) -> float:
    """The word that most often stands between two words on either side."""
    return counted(store, [lambda one, at: (one.at(at - 2), one.at(at - 1), one.at(at + 1), one.at(at + 2)),
                           lambda one, at: (one.at(at - 1), one.at(at + 1)), lambda one, at: one.at(at - 1)])


def counted(store: Store, contexts: list[Context]) -> float:
    """Guess by the first context that was met in training; where none was, the most frequent word."""
    contexts = [*contexts, lambda one, at: 0]
    tables: list[dict[Hashable, Counter[int]]] = [defaultdict(Counter) for _ in contexts]
    for sample in samples(store, "train"):
        whole = sample.whole()
        for at, word in enumerate(whole.words):
            for table, context in zip(tables, contexts, strict=True):
                table[context(whole, at)][word] += 1
    best = [{key: max(found, key=lambda word: (found[word], -word)) for key, found in table.items()}
            for table in tables]
    right = total = 0
    for sample in samples(store, "eval"):
        for at, label in zip(sample.positions, sample.labels, strict=True):
            keys = [context(sample, at) for context in contexts]
            guess = next(table[key] for table, key in zip(best, keys, strict=True) if key in table)
            right, total = right + (guess == label), total + 1
    return right / total


def bag_of_words(store: Store) -> float:
    """The most frequent word of the sample itself that is no punctuation: what copying without reading gets."""
    frequent = Counter(word for one in samples(store, "train") for word in one.words)
    common = {word for word, _ in frequent.most_common(60)}
    right = total = 0
    for sample in samples(store, "eval"):
        inside = Counter(word for word in sample.words if word not in common)
        guess = inside.most_common(1)[0][0] if inside else -1
        right, total = right + sum(label == guess for label in sample.labels), total + len(sample.labels)
    return right / total


def untrained_network(config: BertConfig, store: Store) -> float:
    """Random weights."""
    return _of_network(config, store, started=False)


def starting_checkpoint(config: BertConfig, store: Store) -> float:
    """The checkpoint that every run starts from."""
    return _of_network(config, store, started=True)


def _of_network(config: BertConfig, store: Store, *, started: bool) -> float:
    model, part = Bert(config.model), Part(store, "eval")
    initialise(model, Seeds(0).torch("init"), config.model.initial_std)
    if started:
        load_start(model, store.weights(START))
    batches = []
    for start in count(0, 256):
        chosen = np.arange(start, min(start + 256, len(part.open()[1].lengths)))
        if not len(chosen):
            break
        arrays = part.arrays(chosen, np.ones(len(chosen)), 0)
        batches.append(micro(arrays.packing, arrays.tensors))
    with torch.no_grad():
        return masked_accuracy(model, batches)


def _without_config(measure: Callable[[Store], float]) -> Callable[[BertConfig, Store], float]:
    return lambda config, store: measure(store)


SHORTCUTS: dict[str, Callable[[BertConfig, Store], float]] = {
    "most frequent word": _without_config(most_frequent),
    "word before": _without_config(previous_word),
    "two neighbours": _without_config(neighbours),
    "four neighbours": _without_config(four_neighbours),
    "most frequent word of the sample": _without_config(bag_of_words),
    "untrained network": untrained_network,
    "starting checkpoint": starting_checkpoint,
}
