"""From pairs of text and summary to packed samples, as the published ones were made (reference, scripts/utils.py).

A document is a prompt with the text, the summary, and an end; too long ones are dropped. Documents are laid back to
back in groups and cut into samples; what is left of a group is dropped. Nothing else marks a border.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from laptime.suite.llama2_70b_lora.columns import COLUMNS, Rows
from laptime.training.data.token_windows import IGNORED

BEGIN, END = 1, 2  # ids of Llama 2's tokenizer: begin of text, end of text
SPECIALS = 3  # ids of its special tokens, 0 (unknown) included
TOGETHER = 1000  # documents of a group

Tokenizer = Callable[[str], list[int]]


@dataclass(frozen=True)
class Document:
    """Ids, and a label for each of them: the id itself, or `IGNORED`."""

    tokens: Sequence[int]
    labels: Sequence[int]


def prompt(text: str) -> str:
    """What comes before the summary (reference)."""
    return f"### Summarize the following text:\n {text}\n ### Summary:\n"


def document(tokenizer: Tokenizer, text: str, summary: str, *, whole: bool) -> Document:
    """whole: every token counts (training); else those of the summary do, the end not (evaluation)."""
    before = [BEGIN, *tokenizer(prompt(text))]
    after = tokenizer(f" {summary}")
    tokens = [*before, *after, END]
    return Document(tokens, tokens if whole else [*[IGNORED] * len(before), *after, IGNORED])


def packed(documents: Iterable[Document], length: int) -> Iterator[Rows]:
    """Samples of `length` tokens, group by group."""
    kept = (one for one in documents if len(one.tokens) <= length)
    while group := list(islice(kept, TOGETHER)):
        columns = (chain.from_iterable(one.tokens for one in group), chain.from_iterable(one.labels for one in group))
        yield {name: _cut(list(values), length) for name, values in zip(COLUMNS, columns, strict=True)}


def _cut(values: Sequence[int], length: int) -> list[Sequence[int]]:
    return [values[start:start + length] for start in range(0, len(values) - length + 1, length)]
