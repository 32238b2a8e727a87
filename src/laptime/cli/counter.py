"""A count of what is done, on stderr while a command works on many things; nothing where nobody watches."""

import sys
from collections.abc import Callable

Progress = Callable[[int, int], None]
FEWEST = 3  # things that are worth counting


def counter(what: str) -> Progress | None:
    """Says "judged 12 of 201 results" on one line of the terminal; None where stderr is none."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        if total < FEWEST:
            return
        end = "\r" + " " * 60 + "\r" if done == total else ""
        sys.stderr.write(f"\r{what.format(done=done, total=total)}{end}")
        sys.stderr.flush()
    return show
