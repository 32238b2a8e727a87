"""Packed samples as rows of two columns, however they are stored, and as arrays: checked once, before any run."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from laptime.errors import DataProblem
from laptime.training.data.token_windows import IGNORED

COLUMNS = ("input_ids", "labels")
AGAIN = "Get the published files again."

Rows = Mapping[str, Sequence[Sequence[int]]]  # some samples: column -> lists of whole numbers


def stacked(rows: Iterable[Rows], length: int, vocabulary: int, part: str) -> tuple[NDArray[np.int32], ...]:
    """The columns as arrays (samples, length). Raises DataProblem, with the number of the sample (from 0)."""
    parts: list[tuple[NDArray[np.int32], NDArray[np.int32]]] = []
    seen = 0
    for some in rows:
        tokens, labels = (_array(some, column, length, f"{part} samples from {seen} on") for column in COLUMNS)
        _check(tokens, labels, vocabulary, part, seen)
        parts.append((tokens, labels))
        seen += len(tokens)
    if not parts:
        raise DataProblem(f"expected {part} samples, found none", hint=AGAIN)
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def _array(rows: Rows, column: str, length: int, where: str) -> NDArray[np.int32]:
    values = rows.get(column)
    if values is None:
        raise DataProblem(f"expected a column '{column}' of {where}, found {', '.join(rows) or 'none'}", hint=AGAIN)
    wrong = next((len(one) for one in values if len(one) != length), None)
    if wrong is not None:
        raise DataProblem(f"expected {length} numbers in '{column}' of {where}, found {wrong}", hint=AGAIN)
    return np.array(values, np.int32).reshape(-1, length)


def _check(tokens: NDArray[np.int32], labels: NDArray[np.int32], vocabulary: int, part: str, first: int) -> None:
    if len(tokens) != len(labels):
        raise DataProblem(f"expected as many labels as tokens among {part} samples, found {len(labels)} and "
                          f"{len(tokens)}", hint=AGAIN)
    outside = (tokens < 0) | (tokens >= vocabulary) | ((labels != tokens) & (labels != IGNORED))
    for bad, what in ((outside, f"ids 0 to {vocabulary - 1}, and labels that are ids or {IGNORED}"),
                      ((labels[:, 1:] != IGNORED).sum(1, keepdims=True) == 0, "a label to predict")):
        if bad.any():
            raise DataProblem(f"expected {what} in {part} sample {first + int(np.argwhere(bad)[0, 0])}, found other",
                              hint=AGAIN)
