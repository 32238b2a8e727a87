"""Malformed and odd logs of real rounds: all are read, and what is odd about them is seen, in file order.

The archives lie beside the checkout (../shared/rounds) where they are at hand.
"""

from collections import Counter
from dataclasses import dataclass

import pytest
from public_rounds import ROUNDS, expected_rows, whole_round

from laptime.log.read import read_log

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not ROUNDS.exists(), reason="the public rounds are not at hand")]


@dataclass
class Odd:
    """What a reader sees of a kind of oddness; most kinds concern text outside the log lines, of which nothing is seen."""

    problems: bool = False  # that are not harmless
    harmless: bool = False
    empty: bool = False


KINDS = {"bad-json": Odd(problems=True), "no-token-lines": Odd(empty=True), "binary-in-results": Odd(empty=True),
         "time_s": Odd(harmless=True)}


def test_odd_logs_are_read():
    seen = Counter()
    for row in expected_rows("odd_files.csv"):
        path = whole_round(f"v{row['round']}").parent / f"v{row['round']}" / row["path"]
        if row["category"].startswith("pkg") or not path.is_file():
            continue
        log, kind = read_log(path), KINDS.get(row["category"], Odd())
        assert bool(log.records) != kind.empty, path
        assert any(not problem.harmless for problem in log.problems) == kind.problems, path
        assert any(problem.harmless for problem in log.problems) == kind.harmless, path
        seen[row["category"]] += 1
    assert sum(seen.values()) >= 45, seen
    assert len(seen) >= 18
