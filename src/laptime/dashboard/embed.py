"""Values as a script that a page loads by a tag: the only way that works from disk, where browsers refuse fetch.

Whatever a submission says is inside: no sign that ends a script, opens a tag or breaks a line of code leaves this file
unescaped. Numbers keep nine digits: no clock measured more.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import orjson

from laptime.config import Json

DIGITS: Final = 9
_FEW: Final = 0.5  # a column with fewer distinct texts than this share of its rows is written as a dictionary
_UNSAFE: Final = re.compile(r"[<>&\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def script(kind: str, key: str, value: Json) -> str:
    """One call that hands `value` to the page under `kind` and `key`."""
    return f"Laptime.receive({as_code(kind)}, {as_code(key)}, {as_code(value)});\n"


def as_code(value: Json) -> str:
    """JSON that is also JavaScript, and that no HTML parser takes for anything else."""
    return _UNSAFE.sub(lambda sign: f"\\u{ord(sign[0]):04x}", orjson.dumps(short(value)).decode())


def short(value: Json) -> Json:
    """`value` with its numbers at `DIGITS` significant digits; whole ones without a point."""
    if isinstance(value, float):
        rounded = float(f"{value:.{DIGITS}g}")
        return int(rounded) if rounded.is_integer() and abs(rounded) < 2**53 else rounded
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, Mapping):
        return {name: short(one) for name, one in value.items()}
    if isinstance(value, Sequence):
        return [short(one) for one in value]
    return value


def columns(names: Sequence[str], rows: Iterable[Sequence[Json]]) -> dict[str, Json]:
    """Rows as columns: name -> {values} or, where texts repeat, {words, codes}; code -1: none."""
    lists = [list(values) for values in zip(*rows, strict=True)] or [[] for _ in names]
    return {name: _column(values) for name, values in zip(names, lists, strict=True)}


def _column(values: list[Json]) -> Json:
    texts = {value for value in values if isinstance(value, str)}
    if not texts or any(not isinstance(value, str | None) for value in values) or len(texts) > _FEW * len(values):
        return {"values": values}
    words = sorted(texts)
    place = {word: at for at, word in enumerate(words)}
    return {"words": list(words), "codes": [place[value] if isinstance(value, str) else -1 for value in values]}
