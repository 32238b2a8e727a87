"""Byte-pair encoding of bytes (Sennrich et al. 2016; bytes as in Radford et al. 2019), learnt alike everywhere.

Text is split into pieces first; merges never cross them. Token ids: `first` unused ids (special tokens), then the 256
bytes, then one id per merge, in the order in which they were learnt. Ties go to the smaller pair of ids.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from laptime.errors import DataProblem

WORDS = r" ?[^\W\d_]+| ?\d+| ?[^\s\w]+|(?s:.)"  # words, numbers and marks with the blank before them
DIGITS = r"[^\W\d_]+|\d|[^\s\w]|(?s:.)"  # digits, marks and blanks one by one
BYTES = 256

Pair = tuple[int, int]


@dataclass
class BytePairs:
    """A tokenizer: `merges` of ids into new ones, on the pieces that `pattern` finds."""

    merges: Sequence[Pair]
    pattern: str = WORDS
    first: int = 0
    _ranks: Mapping[Pair, int] = field(init=False, repr=False)
    _known: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._ranks = {pair: self.first + BYTES + rank for rank, pair in enumerate(self.merges)}
        self._pieces = re.compile(self.pattern)

    def __len__(self) -> int:
        """Ids in all, the unused first ones included."""
        return self.first + BYTES + len(self.merges)

    def __call__(self, text: str) -> list[int]:
        """The ids of a text."""
        return [number for piece in self._pieces.findall(text) for number in self._piece(piece)]

    def text(self, ids: Iterable[int]) -> str:
        """The inverse: what the ids say."""
        return b"".join(self._bytes(number) for number in ids).decode(errors="replace")

    def _bytes(self, number: int) -> bytes:
        if number < self.first + BYTES:
            return bytes([number - self.first]) if number >= self.first else b""
        left, right = self.merges[number - self.first - BYTES]
        return self._bytes(left) + self._bytes(right)

    def _piece(self, piece: str) -> tuple[int, ...]:
        if piece not in self._known:
            ids = tuple(self.first + byte for byte in piece.encode())
            while (pair := min(pairwise(ids), key=self._rank, default=None)) is not None and pair in self._ranks:
                ids = merged(ids, pair, self._ranks[pair])
            self._known[piece] = ids
        return self._known[piece]

    def _rank(self, pair: Pair) -> int:
        return self._ranks.get(pair, len(self))


def learnt(texts: Iterable[str], size: int, *, pattern: str = WORDS, first: int = 0) -> BytePairs:
    """The tokenizer of `size` ids for these texts: the most frequent pair is merged again and again.

    Raises DataProblem for a size below that of the bytes, and for texts with too few different pairs.
    """
    found = re.compile(pattern)
    counts = Counter(piece for text in texts for piece in found.findall(text))
    spelt = {piece: tuple(first + byte for byte in piece.encode()) for piece in counts}
    merges: list[Pair] = []
    while first + BYTES + len(merges) < size and (pair := _most_frequent(counts, spelt)) is not None:
        number = first + BYTES + len(merges)
        spelt = {piece: merged(ids, pair, number) for piece, ids in spelt.items()}
        merges.append(pair)
    if first + BYTES + len(merges) != size:
        raise DataProblem(f"expected text that makes {size} token ids, found {first + BYTES + len(merges)}",
                          hint="Change model.vocabulary or make more text.")
    return BytePairs(merges, pattern, first)


def merged(ids: tuple[int, ...], pair: Pair, number: int) -> tuple[int, ...]:
    """`ids` with every occurrence of `pair` replaced by `number`, from the left."""
    if pair[0] not in ids:
        return ids
    result: list[int] = []
    waiting = False  # the last id of `result` is the first of a pair and may be merged
    for one in ids:
        if waiting and one == pair[1]:
            result[-1], waiting = number, False
        else:
            result.append(one)
            waiting = one == pair[0]
    return tuple(result)


def _most_frequent(counts: Mapping[str, int], spelt: Mapping[str, tuple[int, ...]]) -> Pair | None:
    pairs: Counter[Pair] = Counter()
    for piece, ids in spelt.items():
        for pair in pairwise(ids):
            pairs[pair] += counts[piece]
    return min(pairs, key=lambda pair: (-pairs[pair], pair), default=None)
