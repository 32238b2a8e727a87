"""Token files as language models are trained from: documents of token ids in a pair of files, memory-mapped.

`NAME.bin`: the ids of all documents, one after another, little-endian. `NAME.idx` (Megatron's "mmap" layout): 9 bytes
of magic, version (u64), kind of number (u8), number of sequences S (u64), length of the document index D (u64), then
tokens per sequence (S x i32), byte position of each (S x i64) and the document index (D x i64: the first sequence of
each document, and S). Here a document is one sequence, as in every published set that we read: D = S + 1.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from laptime.errors import DataProblem
from laptime.training.data.store import Store

Tokens = NDArray[np.integer]

HEADER = Struct("<9sQBQQ")
MAGIC, VERSION = b"MMIDIDX\0\0", 1
KINDS = {code: np.dtype(name) for code, name in ((1, "u1"), (2, "i1"), (3, "<i2"), (4, "<i4"), (5, "<i8"), (8, "<u2"))}
SMALL_VOCABULARY = 65500  # below it the published tools write 16-bit numbers
AGAIN = "Get the pair of files again, or make the data again: `laptime prepare --force`."
CHUNK = 1 << 24  # tokens that a scan holds at a time


def kind_for(vocabulary: int) -> np.dtype:
    """The kind of number that the published tools take for a vocabulary."""
    return KINDS[8] if vocabulary < SMALL_VOCABULARY else KINDS[4]


def pair(folder: Path, name: str) -> tuple[Path, Path]:
    """The index and the content of the token file `name` in `folder`."""
    return folder / f"{name}.idx", folder / f"{name}.bin"


@dataclass(frozen=True)
class TokenFile:
    """Documents of token ids. `sizes`: tokens of each (n), `starts`: its first token (n), `tokens`: all, mapped."""

    sizes: NDArray[np.int32]
    starts: NDArray[np.int64]
    tokens: Tokens

    @classmethod
    def load(cls, index: Path, content: Path) -> "TokenFile":
        """Raises DataProblem for files that are missing, of another layout, cut off, or do not belong together."""
        sizes, pointers, kind = _read_index(index)
        starts = np.zeros(len(sizes), np.int64)
        np.cumsum(sizes[:-1], out=starts[1:], dtype=np.int64)
        if not np.array_equal(pointers, starts * kind.itemsize):
            raise DataProblem(f"expected documents back to back in {index}, found other byte positions", hint=AGAIN)
        return cls(sizes, starts, _map_tokens(content, kind, int(starts[-1]) + int(sizes[-1])))

    @classmethod
    def of(cls, store: Store, name: str) -> "TokenFile":
        """The pair `name` of a prepared data set. Raises DataTouchedTooEarly until the clock runs, and DataProblem."""
        return cls.load(store.data(f"{name}.idx"), store.data(f"{name}.bin"))

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, document: int) -> Tokens:
        """The ids of one document, as they are on disk."""
        return self.part(document, 0, int(self.sizes[document]))

    def part(self, document: int, start: int, stop: int) -> Tokens:
        """Ids start..stop-1 of one document; both must lie inside it."""
        first = int(self.starts[document])
        return self.tokens[first + start:first + stop]

    def chunks(self) -> Iterator[Tokens]:
        """All ids in order, some millions at a time."""
        return (self.tokens[start:start + CHUNK] for start in range(0, len(self.tokens), CHUNK))


def check_vocabulary(tokens: TokenFile, vocabulary: int, where: Path) -> None:
    """Read every id once. Raises DataProblem for one outside 0..vocabulary-1."""
    for chunk in tokens.chunks():
        low, high = int(chunk.min()), int(chunk.max())
        if low < 0 or high >= vocabulary:
            raise DataProblem(f"expected token ids 0 to {vocabulary - 1} in {where}, found {low if low < 0 else high}",
                              hint="Were these files made with another tokenizer?")


def write_tokens(folder: Path, name: str, documents: Iterable[Sequence[int] | Tokens], kind: np.dtype) -> int:
    """Write the pair `name` in `folder`, whole or not at all; returns the number of documents.

    Documents without tokens are left out, as the published tools do. Raises DataProblem for an id that does not fit.
    """
    index, content = pair(folder, name)
    sizes = []
    with _temporary(content).open("wb") as file:
        for ids in documents:
            if len(ids):
                file.write(_fitting(np.asarray(ids, np.int64), kind, content).tobytes())
                sizes.append(len(ids))
        _settle(file)
    with _temporary(index).open("wb") as file:
        file.write(_index_bytes(np.array(sizes, np.int64), kind))
        _settle(file)
    _temporary(content).replace(content)
    _temporary(index).replace(index)
    return len(sizes)


def _read_index(path: Path) -> tuple[NDArray[np.int32], NDArray[np.int64], np.dtype]:
    """Tokens per document, byte positions, kind of number. Nothing is allocated that the file's size does not cover."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataProblem(f"cannot read {path}: {error.strerror}", hint=AGAIN) from None
    if len(content) < HEADER.size:
        raise DataProblem(f"expected at least {HEADER.size} bytes in {path}, found {len(content)}", hint=AGAIN)
    magic, version, code, sequences, documents = HEADER.unpack_from(content)
    if magic != MAGIC or version != VERSION:
        raise DataProblem(f"expected an index of token files, version {VERSION}, in {path}, found other bytes",
                          hint=AGAIN)
    if code not in KINDS:
        raise DataProblem(f"expected a kind of number out of {', '.join(map(str, KINDS))} in {path}, found {code}",
                          hint="Token ids are whole numbers; make the files with another kind.")
    expected = HEADER.size + 12 * sequences + 8 * documents
    if len(content) != expected or sequences < 1:
        raise DataProblem(f"expected {expected} bytes for {sequences} sequences and at least one sequence in {path}, "
                          f"found {len(content)}", hint=AGAIN)
    sizes = np.frombuffer(content, "<i4", sequences, HEADER.size)
    pointers = np.frombuffer(content, "<i8", sequences, HEADER.size + 4 * sequences)
    starts = np.frombuffer(content, "<i8", documents, HEADER.size + 12 * sequences)
    if int(sizes.min()) < 0 or not np.array_equal(starts, np.arange(sequences + 1)):
        raise DataProblem(f"expected one sequence of no negative size per document in {path}, found other",
                          hint="Make the files without splitting documents.")
    return sizes, pointers, KINDS[code]


def _map_tokens(path: Path, kind: np.dtype, count: int) -> Tokens:
    try:
        found = path.stat().st_size
        if found != count * kind.itemsize or not count:
            raise DataProblem(f"expected {count} tokens of {kind.itemsize} bytes and at least one in {path}, "
                              f"found {found} bytes", hint=AGAIN)
        mapped: Tokens = np.memmap(path, kind, "r")
    except OSError as error:
        raise DataProblem(f"cannot read {path}: {error.strerror}", hint=AGAIN) from None
    return mapped


def _fitting(ids: NDArray[np.int64], kind: np.dtype, where: Path) -> Tokens:
    bounds, low, high = np.iinfo(kind), ids.min(), ids.max()
    if low < bounds.min or high > bounds.max:
        raise DataProblem(f"expected token ids {bounds.min} to {bounds.max} for {where}, found {low} to {high}")
    return ids.astype(kind)


def _index_bytes(sizes: NDArray[np.int64], kind: np.dtype) -> bytes:
    code = next(code for code, known in KINDS.items() if known == kind)
    pointers = np.concatenate([[0], np.cumsum(sizes)[:-1]])[:len(sizes)] * kind.itemsize
    parts = (sizes.astype("<i4"), pointers.astype("<i8"), np.arange(len(sizes) + 1, dtype="<i8"))
    return HEADER.pack(MAGIC, VERSION, code, len(sizes), len(sizes) + 1) + b"".join(one.tobytes() for one in parts)


def _settle(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _temporary(path: Path) -> Path:
    return path.with_name(path.name + ".part")
