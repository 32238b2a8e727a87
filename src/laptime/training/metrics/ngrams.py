"""A counting model of text: n-grams with Witten-Bell interpolation (Witten & Bell 1991), for shortcuts."""

from collections import Counter, defaultdict
from collections.abc import Sequence

Tokens = Sequence[int]


class Ngrams:
    """How often each token follows the `order` - 1 tokens before it, and fewer. Token ids are below `vocabulary`."""

    def __init__(self, order: int, vocabulary: int) -> None:
        self.order, self.vocabulary = order, vocabulary
        self._following: list[dict[tuple[int, ...], Counter[int]]] = [defaultdict(Counter) for _ in range(order)]
        self._totals: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(order)]

    def learn(self, tokens: Tokens) -> None:
        """Count every token of one text."""
        for end in range(len(tokens)):
            self.add(tokens, end)

    def add(self, tokens: Tokens, end: int) -> None:
        """Count the token at `end` after those before it."""
        for length in range(min(self.order, end + 1)):
            context = tuple(tokens[end - length:end])
            self._following[length][context][tokens[end]] += 1
            self._totals[length][context] += 1

    def probability(self, tokens: Tokens, end: int, base: float | None = None) -> float:
        """Of the token at `end` after those before it: every order is mixed with the next lower one by its number of
        different tokens. `base`: what the lowest order is mixed with; None: all ids alike."""
        value = 1.0 / self.vocabulary if base is None else base
        for length in range(min(self.order, end + 1)):
            context = tuple(tokens[end - length:end])
            found = self._following[length].get(context)
            if found is None:
                break
            value = (found[tokens[end]] + len(found) * value) / (self._totals[length][context] + len(found))
        return value
