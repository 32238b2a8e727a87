"""Uncased WordPiece: from a line of text to vocabulary entries, and a vocabulary learnt from text.

Follows Devlin et al. 2018 and the published `vocab.txt`: one entry per line, its number is the line's; words are split
greedily, longest entry first, continuations begin with "##". Learning merges the most frequent neighbours, as byte-pair
encoding does (Sennrich et al. 2016); ties go to the alphabet, so that every machine learns the same entries.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from laptime.errors import DataProblem

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = re.compile(r"[a-z0-9]+|[^\sa-z0-9]")
CONTINUED = "##"

Pieces = tuple[str, ...]


@dataclass
class WordPiece:
    """A tokenizer over a vocabulary. `numbers`: entry -> its number."""

    entries: Sequence[str]
    numbers: Mapping[str, int] = field(init=False)
    _known: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.numbers = {entry: number for number, entry in enumerate(self.entries)}

    @classmethod
    def load(cls, path: Path, size: int) -> "WordPiece":
        """The vocabulary in a file of `size` lines. Raises DataProblem."""
        try:
            entries = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            raise DataProblem(f"expected a vocabulary at {path}, found no such file", hint=AGAIN) from None
        except UnicodeDecodeError:
            raise DataProblem(f"expected lines of text in {path}, found binary data", hint=AGAIN) from None
        if len(entries) != size or len(set(entries)) != size:
            raise DataProblem(f"expected {size} different vocabulary entries in {path}, found {len(set(entries))} in "
                              f"{len(entries)} lines", hint=f"{AGAIN} Or set model.vocabulary to what it holds.")
        missing = [entry for entry in SPECIALS if entry not in entries]
        if missing:
            raise DataProblem(f"expected the entry {missing[0]} in {path}, found none", hint=AGAIN)
        return cls(entries)

    def __call__(self, line: str) -> list[int]:
        """Numbers of the pieces of a line."""
        return [number for word in words(line) for number in self._word(word)]

    def _word(self, word: str) -> tuple[int, ...]:
        if word not in self._known:
            self._known[word] = self._split(word)
        return self._known[word]

    def _split(self, word: str) -> tuple[int, ...]:
        found, start = [], 0
        while start < len(word):
            head = CONTINUED if start else ""
            ends = (end for end in range(len(word), start, -1) if head + word[start:end] in self.numbers)
            end = next(ends, None)
            if end is None:
                return (self.numbers["[UNK]"],)
            found.append(self.numbers[head + word[start:end]])
            start = end
        return tuple(found)


AGAIN = "Download the published vocabulary again."


def words(line: str) -> list[str]:
    """Lower-case words and single punctuation marks."""
    return WORDS.findall(line.lower())


def learnt(lines: Iterable[str], size: int) -> list[str]:
    """A vocabulary of exactly `size` entries for this text, special entries first.

    Raises DataProblem when the text has too few different pieces, or `size` does not hold its characters.
    """
    counts = Counter(word for line in lines for word in words(line))
    spelt: dict[str, Pieces] = {word: (word[0], *(CONTINUED + c for c in word[1:])) for word in counts}
    entries = [*SPECIALS, *sorted({piece for pieces in spelt.values() for piece in pieces})]
    known = set(entries)
    while len(entries) < size:
        pair = _most_frequent(counts, spelt)
        if pair is None:
            break
        joined = pair[0] + pair[1].removeprefix(CONTINUED)
        spelt = {word: _merged(pieces, pair, joined) for word, pieces in spelt.items()}
        if joined not in known:
            entries.append(joined)
            known.add(joined)
    if len(entries) != size:
        raise DataProblem(f"expected text that makes {size} vocabulary entries, found {len(entries)}",
                          hint="Change model.vocabulary or make more text.")
    return entries


def _most_frequent(counts: Mapping[str, int], spelt: Mapping[str, Pieces]) -> tuple[str, str] | None:
    pairs: Counter[tuple[str, str]] = Counter()
    for word, pieces in spelt.items():
        for pair in pairwise(pieces):
            pairs[pair] += counts[word]
    return min(pairs, key=lambda pair: (-pairs[pair], pair), default=None)


def _merged(pieces: Pieces, pair: tuple[str, str], joined: str) -> Pieces:
    if pair[0] not in pieces:
        return pieces
    result: list[str] = []
    for piece in pieces:
        if result and (result[-1], piece) == pair:
            result[-1] = joined
        else:
            result.append(piece)
    return tuple(result)
