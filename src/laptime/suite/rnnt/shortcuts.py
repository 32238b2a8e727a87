"""What can be had without listening to words: baselines that no honest target may lie within reach of.

Each takes an unlocked store and returns the word error rate on its evaluation part. They get every advantage: numbers
are chosen for the evaluation part itself where there is something to choose.
"""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from laptime.suite.rnnt.config import RNNTConfig
from laptime.suite.rnnt.data import EvalBatches, features_of
from laptime.suite.rnnt.decode import Limits, greedy
from laptime.suite.rnnt.features import Clips, spliced_count
from laptime.suite.rnnt.model import RNNT, initialise
from laptime.suite.rnnt.reader import Utterances
from laptime.suite.rnnt.vocabulary import decode
from laptime.training.data.shards import Shards
from laptime.training.data.store import Store
from laptime.training.distributed.world import World
from laptime.training.metrics.word_errors import edit_distances
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
PARTS = 6  # an utterance is described by the mean spectrum of so many equal parts
NEIGHBOURS = 400  # training utterances that are compared; more would take minutes


def rate(said: list[str], meant: list[str]) -> float:
    """Word error rate of one text for each utterance."""
    words = [text.split() for text in meant]
    return float(edit_distances([text.split() for text in said], words).sum() / sum(map(len, words)))


def silence(config: RNNTConfig, store: Store) -> float:
    """Say nothing."""
    meant = _meant(config, store)
    return rate([""] * len(meant), meant)


def commonest_text(config: RNNTConfig, store: Store) -> float:
    """Say the same word or transcript everywhere: of the hundred commonest the one that does best."""
    meant, train = _meant(config, store), _train_texts(config, store)
    texts = Counter(train).most_common(100) + Counter(word for text in train for word in text.split()).most_common(50)
    return min(rate([text] * len(meant), meant) for text, _ in texts)


def length_only(config: RNNTConfig, store: Store) -> float:
    """Say the training transcript whose recording is nearest in length."""
    meant, train = _meant(config, store), _train_texts(config, store)
    part, evaluation = (Utterances(Shards(store, name), config.data) for name in ("train", "eval"))
    nearest = np.abs(part.lengths[None] - evaluation.lengths[:, None]).argmin(1)
    return rate([train[i] for i in nearest], meant)


def word_chain(config: RNNTConfig, store: Store) -> float:
    """Follow the likeliest next word, for as many words as the length of the recording suggests."""
    meant, train = _meant(config, store), _train_texts(config, store)
    following: dict[str, Counter[str]] = {}
    for text in train:
        for one, other in pairwise(["", *text.split()]):
            following.setdefault(one, Counter())[other] += 1
    part, evaluation = (Utterances(Shards(store, name), config.data) for name in ("train", "eval"))
    per_word = part.lengths.sum() / sum(len(text.split()) for text in train)
    said = []
    for length in evaluation.lengths:
        words = [""]
        for _ in range(max(1, round(length / per_word))):
            words.append((following.get(words[-1]) or following[""]).most_common(1)[0][0])
        said.append(" ".join(words[1:]))
    return rate(said, meant)


def nearest_spectrum(config: RNNTConfig, store: Store) -> float:
    """Say the training transcript that sounds most alike: mean spectra of six equal parts, and the length."""
    meant, train = _meant(config, store), _train_texts(config, store)
    mine, theirs = (_spectra(config, store, part) for part in ("eval", "train"))
    nearest = ((mine[:, None] - theirs[None]) ** 2).sum(2).argmin(1)
    return rate([train[i] for i in nearest], meant)


def untrained_network(config: RNNTConfig, store: Store) -> float:
    """The network before it learnt anything."""
    model = RNNT(config.model, config.data.splice * config.data.mels).eval()
    initialise(model, Seeds(0).torch("init"))
    batches = EvalBatches(store, config, Seeds(0), ALONE)
    limits = Limits(config.data.max_symbols_per_frame, config.data.max_symbols)
    pieces, meant, said, order = _pieces(store), batches.transcripts(), list[str](), list[int]()
    for batch in batches:
        said += [decode(pieces, ids) for ids in greedy(model, batch.features_TBF, batch.frames_B, limits)]
        order += batch.samples
    return rate(said, [meant[i] for i in order])


def _spectra(config: RNNTConfig, store: Store, part: str) -> NDArray[np.float64]:
    """(utterances, PARTS x mels + 1)."""
    utterances = Utterances(Shards(store, part), config.data)
    pipeline, rows = features_of(config, Seeds(0), ALONE), []
    for sample in range(min(len(utterances), NEIGHBOURS)):
        clips = Clips([utterances.samples(sample)], np.ones(1), np.zeros(1, np.int64), None)
        length = clips.lengths()[0]
        heard = pipeline(*pipeline.packed(clips), longest=length)[:, 0].reshape(-1, config.data.mels).double().numpy()
        means = [piece.mean(0) for piece in np.array_split(heard, PARTS)]
        rows.append(np.append(np.concatenate(means), spliced_count(length, config.data) / 10.0))
    return np.array(rows)


def _meant(config: RNNTConfig, store: Store) -> list[str]:
    return EvalBatches(store, config, Seeds(0), ALONE).transcripts()


def _train_texts(config: RNNTConfig, store: Store) -> list[str]:
    part, pieces = Utterances(Shards(store, "train"), config.data), _pieces(store)
    return [decode(pieces, part.labels(sample).tolist()) for sample in range(len(part))]


def _pieces(store: Store) -> list[str]:
    pieces = store.metadata.facts["pieces"]
    assert isinstance(pieces, list)
    return [str(piece) for piece in pieces]


SHORTCUTS: dict[str, Callable[[RNNTConfig, Store], float]] = {
    "silence": silence,
    "commonest text": commonest_text,
    "length only": length_only,
    "word chain": word_chain,
    "nearest spectrum": nearest_spectrum,
    "untrained network": untrained_network,
}
