"""YAML text of plain values: block style, text that is no simple word in double quotes; 1.1 and 1.2 read it alike."""

import re
from collections.abc import Mapping, Sequence

from laptime.config import Json

SIMPLE = re.compile(r"[A-Za-z/][\w./-]*", re.ASCII)
WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}  # YAML 1.1 takes them for other things than text
ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}


def documents(values: Sequence[Json]) -> str:
    """Several documents in one file."""
    return "---\n".join("\n".join(_lines(value)) + "\n" for value in values)


def _lines(value: Json) -> list[str]:
    if isinstance(value, Mapping) and value:
        return [line for name, item in value.items() for line in _entry(f"{_text(name)}:", item)]
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        return [line for item in value for line in _item(_lines(item))]
    return [_scalar(value)]


def _entry(name: str, value: Json) -> list[str]:
    if isinstance(value, str) or not isinstance(value, Mapping | Sequence) or not value:
        return [f"{name} {_scalar(value)}"]
    indent = "  " if isinstance(value, Mapping) else ""
    return [name, *(indent + line for line in _lines(value))]


def _item(lines: list[str]) -> list[str]:
    return [f"- {lines[0]}", *(f"  {line}" for line in lines[1:])]


def _scalar(value: Json) -> str:
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return "{}" if isinstance(value, Mapping) else "[]" if isinstance(value, Sequence) else str(value)


def _text(value: str) -> str:
    if SIMPLE.fullmatch(value) and value.lower() not in WORDS:
        return value
    return '"' + "".join(ESCAPES.get(sign) or _sign(sign) for sign in value) + '"'


def _sign(sign: str) -> str:
    if sign.isprintable():
        return sign
    number = ord(sign)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
