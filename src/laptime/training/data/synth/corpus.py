"""Generated articles as a text corpus in the layout of C4: lines of JSON, each a document with its text and address.

The text is `synth.text`'s: a function of the seed, equal on every machine. Documents carry no mark at their ends.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from laptime.errors import DataProblem
from laptime.training.data.synth.text import article


def write_corpus(path: Path, seed: int, numbers: Iterable[int]) -> None:
    """The articles of these numbers, one per line."""
    with path.open("w", encoding="utf-8") as file:
        for number in numbers:
            one = article(seed, number)
            document = {"text": "\n".join((one.title, *one.sentences)), "url": f"https://example.org/{seed}/{number}"}
            file.write(json.dumps(document) + "\n")


def texts(path: Path) -> Iterator[str]:
    """The documents of a file. Raises DataProblem for a line that holds none."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                text = json.loads(line)["text"]
            except (ValueError, KeyError, TypeError):
                text = None
            if not isinstance(text, str):
                raise DataProblem(f"expected a document with a text in line {number} of {path}, found none")
            yield text
