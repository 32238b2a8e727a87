"""From documents to pre-training samples: two segments, masked words, is the second segment the next one.

Follows the data preparation of the reference (section Data of README.md) with random numbers of our own; done once,
before any run: what is masked never changes while training.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from laptime.suite.bert.config import DataConfig
from laptime.training.data.synth.draw import Stream

Sentence = list[int]
Document = list[Sentence]

SPECIAL_TOKENS = 3  # [CLS] A [SEP] B [SEP]
UNCHANGED, REPLACED = 0.1, 0.1  # of the chosen words; the rest becomes [MASK] (Devlin et al. 2018, task 1)


@dataclass(frozen=True)
class Instance:
    """One sample. `second`: where segment B begins; `positions` (increasing) and `labels` of the words to guess."""

    tokens: tuple[int, ...]
    second: int
    positions: tuple[int, ...]
    labels: tuple[int, ...]
    random_next: bool


@dataclass(frozen=True)
class Vocabulary:
    """Numbers that have a meaning here; `size` of all."""

    cls: int
    sep: int
    mask: int
    size: int


def instances(documents: Sequence[Document], config: DataConfig, words: Vocabulary, stream: Stream, *,
              length: int, copies: int) -> list[Instance]:
    """Samples of at most `length` tokens from `copies` passes over the documents, in random order."""
    documents = _shuffled(stream, [one for one in documents if one])
    made = [Maker(config, words, stream, length).of(documents, i)
            for _ in range(copies) for i in range(len(documents))]
    return _shuffled(stream, [one for several in made for one in several])


@dataclass(frozen=True)
class Maker:
    """Makes the samples of one document at a time."""

    config: DataConfig
    words: Vocabulary
    stream: Stream
    length: int

    def of(self, documents: Sequence[Document], number: int) -> list[Instance]:
        """The samples of one document; other ones lend their sentences as segments that do not follow."""
        document, room = documents[number], self.length - SPECIAL_TOKENS
        short = self.stream.fraction() < self.config.short_probability
        target = self.stream.integer(2, room) if short else room
        made, chunk, size, i = [], list[Sentence](), 0, 0
        while i < len(document):
            chunk.append(document[i])
            size += len(document[i])
            if i == len(document) - 1 or size >= target:
                instance, unused = self._from_chunk(chunk, documents, number, target)
                made.append(instance)
                i -= unused
                chunk, size = [], 0
            i += 1
        return made

    def _from_chunk(self, chunk: list[Sentence], documents: Sequence[Document], number: int,
                    target: int) -> tuple[Instance, int]:
        """A sample, and how many sentences of the chunk it did not use."""
        first_count = self.stream.integer(1, len(chunk) - 1) if len(chunk) > 1 else 1
        first = _joined(chunk[:first_count])
        random_next = len(chunk) == 1 or self.stream.fraction() < 0.5
        second = _joined(chunk[first_count:])
        if random_next:
            second = self._elsewhere(documents, number, target - len(first))
        self._truncate(first, second)
        return self._masked(first, second, random_next), len(chunk) - first_count if random_next else 0

    def _elsewhere(self, documents: Sequence[Document], number: int, size: int) -> Sentence:
        """Sentences from a random place of another document, about `size` tokens."""
        other = self.stream.integer(0, len(documents) - 2)
        document = documents[other + (other >= number)]
        found: Sentence = []
        for sentence in document[self.stream.integer(0, len(document) - 1):]:
            found += sentence
            if len(found) >= size:
                break
        return found

    def _truncate(self, first: Sentence, second: Sentence) -> None:
        """Take tokens off the longer side, from a random end, until both fit."""
        while len(first) + len(second) > self.length - SPECIAL_TOKENS:
            longer = first if len(first) > len(second) else second
            longer.pop(0 if self.stream.fraction() < 0.5 else -1)

    def _masked(self, first: Sentence, second: Sentence, random_next: bool) -> Instance:
        words = self.words
        tokens = [words.cls, *first, words.sep, *second, words.sep]
        candidates = [i for i, token in enumerate(tokens) if token not in (words.cls, words.sep)]
        wanted = min(self.config.predictions, max(1, round(len(tokens) * self.config.masked)))
        positions = sorted(_shuffled(self.stream, candidates)[:wanted])
        labels = tuple(tokens[i] for i in positions)
        for i in positions:
            tokens[i] = self._shown(tokens[i])
        return Instance(tuple(tokens), len(first) + 2, tuple(positions), labels, random_next)

    def _shown(self, token: int) -> int:
        """What stands in the place of a chosen word."""
        draw = self.stream.fraction()
        if draw < UNCHANGED:
            return token
        return self.stream.integer(0, self.words.size - 1) if draw < UNCHANGED + REPLACED else self.words.mask


def _joined(sentences: Sequence[Sentence]) -> Sentence:
    return [token for sentence in sentences for token in sentence]


def _shuffled(stream: Stream, items: list) -> list:
    """A random order (Fisher and Yates)."""
    order = list(items)
    for last in range(len(order) - 1, 0, -1):
        other = stream.integer(0, last)
        order[last], order[other] = order[other], order[last]
    return order
