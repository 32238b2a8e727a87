"""Windows of tokens: documents in some order, back to back, cut into samples of equal length, in some order.

Follows the published GPT data sets (Megatron-Core, `GPTDataset`): a document index (which document comes next, over
as many passes as the samples need), a sample index (where each sample begins in it) and a shuffle index. Samples cross
documents: nothing marks a border but what the tokenizer wrote. A last partial sample is dropped.
`extra` = 1: samples of length + 1 tokens, overlapping by one, labels are what follows; `extra` = 0: samples of `length`
tokens without overlap, labels are the sample moved by one place, and the last place has none.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from laptime.errors import DataProblem
from laptime.training.data.token_files import TokenFile

IGNORED = -100  # label of a place that has none; what torch's cross entropy leaves out
ENOUGH_OF_A_PASS = 0.80  # Megatron-Core: a last pass that is used less than this is shuffled on its own


class Shuffler(Protocol):
    """numpy's RandomState (the references') or Generator."""

    def shuffle(self, x: np.ndarray) -> None: ...


@dataclass(frozen=True)
class Form:
    """How a sample is cut: `length` places, and `extra` (0 or 1) tokens more for the label of the last one."""

    length: int
    extra: int = 1

    @property
    def tokens(self) -> int:
        """Tokens of one sample."""
        return self.length + self.extra

    def samples_in(self, tokens: int) -> int:
        """Whole samples in so many tokens."""
        return max(0, tokens - self.extra) // self.length


@dataclass(frozen=True)
class Shuffled:
    """What is put in random order."""

    documents: bool = True
    samples: bool = True


IN_ORDER = Shuffled(documents=False, samples=False)


@dataclass(frozen=True)
class Indices:
    """documents: (n) int32; starts: (m + 1, 2) int64, place in `documents` and token in that document; order: (m)."""

    documents: NDArray[np.int32]
    starts: NDArray[np.int64]
    order: NDArray[np.int64]

    @classmethod
    def of(cls, sizes: NDArray[np.int32], form: Form, *, samples: int | None = None, shuffler: Shuffler,
           shuffled: Shuffled = Shuffled()) -> "Indices":
        """Index arrays over documents of `sizes` tokens for at least `samples` samples (None: one pass).

        Raises DataProblem where one pass has no whole sample.
        """
        tokens = int(sizes.sum(dtype=np.int64))
        if not form.samples_in(tokens):
            raise DataProblem(f"expected at least one sample of {form.tokens} tokens, found {tokens} tokens")
        passes = 1 if samples is None else max(1, -(-(samples * form.length + form.extra) // tokens))
        apart = samples is not None and passes > 1 and _little_of_last(samples, passes, tokens, form)
        documents = document_index(len(sizes), passes, shuffler if shuffled.documents else None, apart=apart)
        starts = sample_index(sizes, documents, form)
        first = form.samples_in((passes - 1) * tokens) if apart else len(starts) - 1
        order = shuffle_index(first, len(starts) - 1, shuffler if shuffled.samples else None)
        return cls(documents, starts, order)

    def __len__(self) -> int:
        return len(self.order)


def document_index(count: int, passes: int, shuffler: Shuffler | None, *, apart: bool) -> NDArray[np.int32]:
    """Every document `passes` times, all passes shuffled together; `apart`: the last one on its own."""
    if apart:
        return np.concatenate([document_index(count, passes - 1, shuffler, apart=False),
                               document_index(count, 1, shuffler, apart=False)])
    index = np.tile(np.arange(count, dtype=np.int32), passes)
    if shuffler is not None:
        shuffler.shuffle(index)
    return index


def sample_index(sizes: NDArray[np.int32], documents: NDArray[np.int32], form: Form) -> NDArray[np.int64]:
    """Where samples begin: (m + 1, 2), the last row is where the last one ends.

    A sample that begins with a document's first token begins there (extra 1), or at the end of the document before
    (extra 0), as in the published index builder; the tokens are the same.
    """
    ends = np.cumsum(sizes[documents], dtype=np.int64)
    places = np.arange(form.samples_in(int(ends[-1])) + 1, dtype=np.int64) * form.length
    at = np.searchsorted(ends, places, side="right" if form.extra else "left")
    at[0] = 0  # as the builder begins, even where the first document is empty
    begins = ends[at] - sizes[documents[at]]
    return np.stack([at, places - begins], axis=1)


def shuffle_index(first: int, count: int, shuffler: Shuffler | None) -> NDArray[np.int64]:
    """Samples 0..first-1 and first..count-1, each of the two shuffled on its own."""
    index = np.arange(count, dtype=np.int64)
    if shuffler is not None:
        shuffler.shuffle(index[:first])
        if first < count:
            shuffler.shuffle(index[first:])
    return index


@dataclass(frozen=True)
class Windows:
    """The samples of one token file."""

    tokens: TokenFile
    indices: Indices
    form: Form

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, sample: int) -> NDArray[np.int64]:
        """The (length + extra) ids of one sample. Raises IndexError beyond the last one."""
        number = self.indices.order[sample]
        (place, offset), (last, end) = self.indices.starts[number:number + 2].tolist()
        documents, taken = self.indices.documents, np.empty(self.form.tokens, np.int64)
        filled = 0
        while filled < len(taken):
            document = int(documents[place])
            stop = end + self.form.extra if place == last else int(self.tokens.sizes[document])
            stop = min(stop, offset + len(taken) - filled)
            taken[filled:filled + stop - offset] = self.tokens.part(document, offset, stop)
            filled, place, offset = filled + stop - offset, place + 1, 0
        return taken


def blend(weights: Sequence[float]) -> Iterator[tuple[int, int]]:
    """Endless (file, sample of it): each time the file that is furthest behind its share, the first of equals."""
    total = sum(weights)
    taken, number = [0] * len(weights), 0
    while True:
        behind = [weight / total * max(number, 1) - count for weight, count in zip(weights, taken, strict=True)]
        chosen = behind.index(max(behind))
        yield chosen, taken[chosen]
        taken[chosen] += 1
        number += 1


def inputs_and_labels(windows: NDArray[np.int64], form: Form) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(B, length + extra) ids -> inputs (B, length) and labels (B, length), `IGNORED` where a place has none."""
    if form.extra:
        return windows[:, :-1], windows[:, 1:]
    labels = np.roll(windows, -1, axis=1)
    labels[:, -1] = IGNORED
    return windows, labels


def _little_of_last(samples: int, passes: int, tokens: int, form: Form) -> bool:
    """Whether the last pass is used so little that it is shuffled on its own."""
    from_last = samples - form.samples_in((passes - 1) * tokens)
    return from_last < int(ENOUGH_OF_A_PASS * form.samples_in(tokens))
