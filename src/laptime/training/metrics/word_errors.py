"""Word error rate: the edit distance between words of hypotheses and references, over the words of the references.

The distance (Levenshtein 1966: insertions, deletions, substitutions cost one each) is taken row by row, a whole row of
the table and all sequences at once.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from laptime.training.distributed.world import World

Words = Sequence[str]


def edit_distances(hypotheses: Sequence[Words], references: Sequence[Words]) -> NDArray[np.int64]:
    """The distance of each pair, (pairs,)."""
    known: dict[str, int] = {}
    theirs, mine = (_padded(texts, known) for texts in (hypotheses, references))
    lengths, ends = (np.array([len(one) for one in texts], np.int64) for texts in (references, hypotheses))
    steps = np.arange(theirs.shape[1] + 1)
    row = np.tile(steps, (len(lengths), 1))
    found = row[np.arange(len(row)), ends]
    for i in range(mine.shape[1]):
        changed = row[:, :-1] + (theirs != mine[:, i:i + 1])
        best = np.concatenate([row[:, :1] + 1, np.minimum(changed, row[:, 1:] + 1)], axis=1)
        row = np.minimum.accumulate(best - steps, axis=1) + steps  # insertions
        found = np.where(lengths == i + 1, row[np.arange(len(row)), ends], found)
    return found


def _padded(texts: Sequence[Words], known: dict[str, int]) -> NDArray[np.int64]:
    """Words as numbers, (texts, longest); -1 beyond a text."""
    numbers = np.full((len(texts), max((len(one) for one in texts), default=0)), -1, np.int64)
    for row, words in zip(numbers, texts, strict=True):
        row[:len(words)] = [known.setdefault(word, len(known)) for word in words]
    return numbers


class WordErrors:
    """Errors and reference words, summed over ranks."""

    def __init__(self, world: World) -> None:
        self.world, self.errors, self.words = world, 0, 0

    def add(self, hypotheses: Sequence[str], references: Sequence[str]) -> None:
        """Texts whose words are separated by blanks."""
        spoken = [text.split() for text in references]
        self.errors += int(edit_distances([text.split() for text in hypotheses], spoken).sum())
        self.words += sum(map(len, spoken))

    def result(self) -> float:
        """Errors per reference word over all ranks, equal on each; may exceed 1; 0.0 when nothing was counted."""
        counts = torch.tensor([self.errors, self.words], dtype=torch.int64, device=self.world.device)
        errors, words = self.world.sum(counts).tolist()
        return errors / words if words else 0.0
