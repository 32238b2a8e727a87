"""Shell text: every word quoted once, so that no value can become a command."""

import shlex
from collections.abc import Iterable, Sequence


def command(words: Sequence[str], *, indent: str = "") -> str:
    """One command, a word per line where it is long."""
    line = indent + shlex.join(words)
    if len(line) <= 100:
        return line
    return indent + f" \\\n{indent}  ".join(_grouped(words))


def exports(pairs: Iterable[str]) -> list[str]:
    """`export` lines of NAME=VALUE."""
    return [f"export {name}={shlex.quote(value)}" for name, _, value in (pair.partition("=") for pair in pairs)]


def _grouped(words: Sequence[str]) -> list[str]:
    """Quoted words as lines: each option begins one."""
    lines: list[str] = []
    for word in words:
        if lines and not word.startswith("-"):
            lines[-1] += f" {shlex.quote(word)}"
        else:
            lines.append(shlex.quote(word))
    return lines
