"""What a logged value must satisfy: a closed vocabulary, and the words for a value that does not."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from laptime.config import Json
from laptime.rules.formula import Formula, FormulaError, is_integer, same


@dataclass(frozen=True)
class Constraint:
    """Every given part must hold. A truth value is never a number, as the rules ask for numbers.

    `above`, `below`: open ends. `multiple_of`: the quotient is an integer up to the official checker's tolerance 1e-5.
    `formula` is over `v` (the value), `metadata` (of its line) and other logged keys of the same log; `text` says in
    words what the constraint expects.
    """

    equals: Json | None = None
    one_of: tuple[Json, ...] = ()
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None
    multiple_of: float | None = None
    formula: Formula | None = None
    text: str = ""

    def __bool__(self) -> bool:
        """Whether anything is asked at all."""
        parts = (self.equals, self.at_least, self.at_most, self.above, self.below, self.multiple_of, self.formula)
        return bool(self.one_of) or any(part is not None for part in parts)

    def __str__(self) -> str:
        """What is expected, in words."""
        if self.text:
            return self.text
        parts = [] if self.equals is None else [_shown(self.equals)]
        if self.one_of:
            parts.append(" or ".join(map(_shown, self.one_of)))
        bounds = ((">=", self.at_least), (">", self.above), ("<=", self.at_most), ("<", self.below))
        parts += [f"{sign} {bound:g}" for sign, bound in bounds if bound is not None]
        if self.multiple_of is not None:
            parts.append(f"a multiple of {self.multiple_of:g}")
        if self.formula is not None:
            parts.append(self.formula.text)
        return " and ".join(parts) or "any value"

    def violation(self, value: Json, names: Mapping[str, object]) -> str | None:
        """None when `value` satisfies the constraint, else words such as "is 0.2, expected >= 1"."""
        if not self._holds_plainly(value):
            return f"is {_shown(value)}, expected {self}"
        if self.formula is None:
            return None
        try:
            holds = self.formula.holds({**names, "v": value})
        except FormulaError as error:
            return f"is {_shown(value)}, expected {self} ({error})"
        return None if holds else f"is {_shown(value)}, expected {self}"

    def _holds_plainly(self, value: Json) -> bool:
        if self.equals is not None and not same(value, self.equals):
            return False
        if self.one_of and not any(same(value, allowed) for allowed in self.one_of):
            return False
        if self.at_least is None and self.at_most is None and self.above is None and self.below is None \
                and self.multiple_of is None:
            return True
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        try:
            return self._within(value)
        except OverflowError:  # an integer beyond any float
            return False

    def _within(self, value: float) -> bool:
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
            and (self.multiple_of is None or is_integer(value / self.multiple_of))
        )


def _shown(value: Json) -> str:
    """A value as a log shows it, cut where it is long."""
    text = f"'{value}'" if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
