"""Reading game records in SGF (FF[4]): the moves of the main line of one game, and nothing else.

A file may come from anybody: its size is limited, nothing recurses, and every move is played by the rules.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from laptime.errors import DataProblem
from laptime.suite.minigo.board import Boards

MOST_BYTES = 1 << 20
TOKEN = re.compile(r"\s*(?:([();])|([A-Za-z]+)|\[((?:\\.|[^\]\\])*)\])", re.DOTALL)
AGAIN = "Replace this file by a whole record of one game."


def read(path: Path, size: int) -> list[int]:
    """The moves of a game on a board of `size`, passes as size * size. Raises DataProblem that says where."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataProblem(f"cannot read {path}: {error.strerror}", hint=AGAIN) from None
    if len(data) > MOST_BYTES:
        raise DataProblem(f"expected a game record of at most {MOST_BYTES} bytes, found {len(data)} in {path}")
    try:
        moves = list(_moves(data.decode("utf-8", "replace"), size))
    except ValueError as error:
        raise DataProblem(f"{path} is no record of a game on {size}x{size}: {error}", hint=AGAIN) from None
    _check(path, moves, size)
    return moves


def _moves(text: str, size: int) -> Iterator[int]:
    """Moves in turn, Black first. Raises ValueError."""
    turn, known = "B", False
    for name, value in _properties(text):
        if name == "SZ":
            known = True
            if value != str(size):
                raise ValueError(f"its board is {value[:20]!r}")
        elif name in ("AB", "AW", "AE"):
            raise ValueError("it begins with stones on the board")
        elif name in ("B", "W"):
            if name != turn:
                raise ValueError(f"two moves of {name} in a row")
            turn = "W" if turn == "B" else "B"
            yield _move(value, size)
    if not known and size != 19:  # the format's default
        raise ValueError("it does not say how large its board is")


def _properties(text: str) -> Iterator[tuple[str, str]]:
    """(name, first value) along the first variation. Raises ValueError."""
    at, name, opened, begun, whole = 0, "", 0, False, False
    while match := TOKEN.match(text, at):
        at = match.end()
        mark, word, value = match.groups()
        if mark == "(":
            opened, begun, name = opened + 1, True, ""
        elif mark == ")":
            whole = True
            break  # the end of the first variation
        elif mark == ";":
            name = ""
        elif word is not None:
            name = "".join(letter for letter in word if letter.isupper())
        elif name:
            yield name, value
            if name not in ("AB", "AW", "AE"):
                name = name if name == "" else f"{name}*"  # further values of a list are no further moves
        else:
            raise ValueError(f"a value without a name at character {at}")
    if not begun or not opened:
        raise ValueError("it does not begin with '('")
    if not whole:
        raise ValueError(f"it is damaged or cut short at character {at}")


def _move(value: str, size: int) -> int:
    if value == "" or (value == "tt" and size <= 19):
        return size * size
    if len(value) != 2 or not all("a" <= letter < chr(ord("a") + size) for letter in value):
        raise ValueError(f"{value[:20]!r} is no point of the board")
    return (ord(value[1]) - ord("a")) * size + ord(value[0]) - ord("a")


def _check(path: Path, moves: list[int], size: int) -> None:
    board = Boards.empty(size, 1)
    for number, move in enumerate(moves, 1):
        if move < size * size and not board.legal(simple_ko=True)[move, 0]:
            raise DataProblem(f"move {number} of {path} is not legal", hint=AGAIN)
        board.play(np.array([move], np.intp))
    if not moves:
        raise DataProblem(f"expected moves in {path}, found none", hint=AGAIN)
