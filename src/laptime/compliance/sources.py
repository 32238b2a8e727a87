"""Submitted source files: lines that seed a generator with a constant. A hint for a person, never a verdict.

Suffixes of source files: submission package facts, section 5. Rule: training rules, section Random Numbers.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from laptime.compliance import reading
from laptime.compliance.finding import Finding
from laptime.compliance.run import catalogued

SUFFIXES = frozenset({".py", ".cc", ".cpp", ".cxx", ".c", ".h", ".hh", ".hpp", ".hxx", ".sh", ".sub", ".cu", ".cuh"})
_MOST_FILES, _LARGEST_BYTES, _MOST_FINDINGS = 20_000, 2 << 20, 50
_LONGEST_LINE = 1000  # characters; longer lines are generated, not written
_CONSTANT = re.compile(r"""(?ix) \b (?: (?:manual_|set_|random_)? seed (?:_all|_everything)? \s* \( \s* \d+ \s* \)
                                    | (?:--)? (?:random_)? seed \s* = \s* \d+ \s* (?:[;\#].*)? $ )""")


def check_sources(folder: Path) -> Iterator[Finding]:
    """Constant seeds in the sources below `folder`, at most a few dozen; links are not followed."""
    told = 0
    for count, path in enumerate(_sources(folder)):
        if count >= _MOST_FILES or told >= _MOST_FINDINGS:
            return
        for line, text in _constants(path):
            told += 1
            yield catalogued("seed-constant", f"a constant seed: {text}", path, line, "note")


def _sources(folder: Path) -> Iterator[Path]:
    if folder.is_symlink():
        return
    for place, inner, names in os.walk(folder):
        inner.sort()
        yield from (Path(place, name) for name in sorted(names) if Path(name).suffix.lower() in SUFFIXES)


def _constants(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of constant seeds in a file; nothing in one that cannot be read or is too large."""
    try:
        lines = reading.text(path, _LARGEST_BYTES).splitlines()
    except ValueError:
        return
    for number, line in enumerate(lines, 1):
        if "seed" in line.lower() and len(line) <= _LONGEST_LINE and not line.lstrip().startswith(("#", "//")) \
                and _CONSTANT.search(line):
            yield number, line.strip()[:60]
