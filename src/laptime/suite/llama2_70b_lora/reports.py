"""Generated reports with summaries: what somebody found out about a building of a town, and what a reader must know.

The words are those of the articles that the frozen weights were trained on (`training.data.synth.text`); the kind of
document, its sentences and the form of the summary are not. Every fact of a summary is told in its report, in other
words. Text is a function of the key alone: equal on every machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from laptime.training.data.synth import text
from laptime.training.data.synth.draw import Stream

GENERATOR = f"{text.GENERATOR}, reports 1"  # name and version; another version makes other text

BUILDINGS = ("bridge", "market", "museum", "house", "wall", "street", "ship", "road")
REASONS = ("fire", "storm", "water", "river")
OPENING = "The people of {town} wanted to know what became of the {building}."
TOLD = (  # always, in any order
    "The {building} was made by {friend} in {built}.",
    "{name}, a {trade} from {city}, came in {year}.",
    "After the {reason} only {count} bricks were left.",
)
ALSO = (  # perhaps one of them
    "Most people in {town} live from {goods}.",
    "{last} stayed near the {river} for {few} days.",
    "The road to {city} is {miles} miles long.",
    "{friend} died before {last} came.",
    "The {colour} flag of {town} is kept there.",
)
SUMMARIES = (
    "In {town} the {building} was made by {friend} in {built}, and only {count} bricks were left. "
    "A {trade} from {city} came in {year}.",
    "A {trade} from {city} came in {year}. After the {reason} only {count} bricks were left of the {building} "
    "made by {friend} in {built}.",
)


@dataclass(frozen=True)
class Report:
    """A text and its summary."""

    text: str
    summary: str


def report(*key: int) -> Report:
    """The report of a key (two numbers at most)."""
    stream = Stream(*key)
    facts = _facts(stream)
    others = _shuffled(stream, ALSO)[:stream.integer(0, 1)]
    lines = (OPENING, *_shuffled(stream, (*TOLD, *others)))
    return Report("\n".join(line.format_map(facts) for line in lines), _one(stream, SUMMARIES).format_map(facts))


def _facts(stream: Stream) -> dict[str, str]:
    """Everything that a report may say."""
    built, last, town = stream.integer(1700, 1799), _surname(stream), _place(stream)
    return {
        "name": f"{_one(stream, text.WOMEN + text.MEN)} {last}", "last": last, "town": town, "city": _place(stream),
        "friend": f"{_one(stream, text.WOMEN + text.MEN)} {_surname(stream)}", "trade": _one(stream, text.TRADES),
        "river": _one(stream, text.RIVERS), "goods": _one(stream, text.GOODS), "building": _one(stream, BUILDINGS),
        "reason": _one(stream, REASONS), "colour": _one(stream, text.COLOURS), "built": str(built),
        "year": str(built + stream.integer(18, 90)), "count": text.number_in_words(stream.integer(11, 99)),
        "few": text.number_in_words(stream.integer(2, 9)), "miles": text.number_in_words(stream.integer(20, 220)),
    }


def _surname(stream: Stream) -> str:
    return _one(stream, text.SURNAME_HEADS) + _one(stream, text.SURNAME_TAILS)


def _place(stream: Stream) -> str:
    return _one(stream, text.PLACE_HEADS) + _one(stream, text.PLACE_TAILS)


def _one(stream: Stream, choices: Sequence[str]) -> str:
    return choices[stream.integer(0, len(choices) - 1)]


def _shuffled(stream: Stream, items: Sequence[str]) -> list[str]:
    """A random order (Fisher and Yates)."""
    order = list(items)
    for last in range(len(order) - 1, 0, -1):
        other = stream.integer(0, last)
        order[last], order[other] = order[other], order[last]
    return order
