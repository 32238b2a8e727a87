"""Captions as numbers: the byte-pair vocabulary of CLIP (Radford et al. 2021), read from its published merges file.

Every word ends in "</w>"; 256 byte letters, the same with the ending, one entry per merge, then start and end. A
caption is start, pieces, end, zeros, cut to the context length with the end kept.
"""

import gzip
import html
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from laptime.errors import DataProblem

END_OF_WORD = "</w>"
LETTERS = 256
ENDINGS = re.compile(r"'(?:s|t|re|ve|m|ll|d)", re.IGNORECASE)
BLANKS = re.compile(r"\s+")

Pair = tuple[str, str]


class BytePairs:
    """The vocabulary of a list of merges, in order of rank."""

    def __init__(self, merges: Sequence[Pair]) -> None:
        self._letters = letters()
        alphabet = list(self._letters.values())
        entries = [*alphabet, *(letter + END_OF_WORD for letter in alphabet), *("".join(pair) for pair in merges)]
        self._numbers = {entry: number for number, entry in enumerate(entries)}
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._known: dict[str, list[int]] = {}
        self.start, self.end = len(entries), len(entries) + 1

    def __len__(self) -> int:
        return self.end + 1

    @classmethod
    def load(cls, path: Path, size: int) -> "BytePairs":
        """The vocabulary of `size` entries from a gzipped merges file (first line: a heading). Raises DataProblem."""
        wanted = size - 2 * LETTERS - 2
        try:
            lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")[1:wanted + 1]
        except (OSError, EOFError, UnicodeDecodeError, ValueError) as error:
            raise DataProblem(f"expected a gzipped list of merges at {path}, found other ({error})",
                              hint=_AGAIN) from None
        merges = [(first, second) for first, _, second in (line.partition(" ") for line in lines)]
        if len(merges) != wanted or not all(first and second for first, second in merges):
            raise DataProblem(f"expected {wanted} merges in {path} for a vocabulary of {size}, found "
                              f"{sum(1 for first, second in merges if first and second)}", hint=_AGAIN)
        return cls(merges)

    def encoded(self, caption: str, length: int) -> NDArray[np.int32]:
        """(length,) numbers of a caption."""
        found = [self.start, *(number for word in split(cleaned(caption)) for number in self._word(word)), self.end]
        if len(found) > length:
            found = [*found[:length - 1], self.end]
        numbers = np.zeros(length, np.int32)
        numbers[:len(found)] = found
        return numbers

    def _word(self, word: str) -> list[int]:
        if word not in self._known:
            pieces = [self._letters[byte] for byte in word.encode("utf-8")]
            pieces[-1] += END_OF_WORD
            self._known[word] = [self._numbers[piece] for piece in self._merged(pieces)]
        return self._known[word]

    def _merged(self, pieces: list[str]) -> list[str]:
        """Merge the pair of the lowest rank, everywhere in the word, until none is left."""
        while len(pieces) > 1:
            best = min(pairwise(pieces), key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if best not in self._ranks:
                break
            joined: list[str] = []
            i = 0
            while i < len(pieces):
                whole = i + 1 < len(pieces) and (pieces[i], pieces[i + 1]) == best
                joined.append(pieces[i] + pieces[i + 1] if whole else pieces[i])
                i += 2 if whole else 1
            pieces = joined
        return pieces


def save_merges(merges: Iterable[Pair], path: Path) -> None:
    """Write merges in the published form, the same bytes every time."""
    lines = ["# merges", *(" ".join(pair) for pair in merges), ""]
    path.write_bytes(gzip.compress("\n".join(lines).encode("utf-8"), mtime=0))


def letters() -> dict[int, str]:
    """A printable letter for each byte (published table): itself where it is one, else one from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(LETTERS) if byte not in set(printable)]
    return {byte: chr(byte) for byte in printable} | {byte: chr(LETTERS + i) for i, byte in enumerate(others)}


def cleaned(caption: str) -> str:
    """Entities resolved (twice, as published), blanks single, small letters."""
    text = html.unescape(html.unescape(caption)).strip()
    return BLANKS.sub(" ", text).strip().lower()


def split(text: str) -> Iterator[str]:
    """Words as the published pattern finds them: English endings, runs of letters, single digits, runs of the rest."""
    i = 0
    while i < len(text):
        if (ending := ENDINGS.match(text, i)) is not None:
            yield ending.group()
            i = ending.end()
            continue
        kind, begun = _kind(text[i]), i
        i += 1
        while kind in "LO" and i < len(text) and _kind(text[i]) == kind:
            i += 1
        if kind != " ":
            yield text[begun:i]


def _kind(character: str) -> str:
    """"L" letter, "N" number, " " blank, "O" other."""
    category = unicodedata.category(character)[0]
    if category in "LN":
        return category
    return " " if character.isspace() else "O"


_AGAIN = "Download the published file again."
