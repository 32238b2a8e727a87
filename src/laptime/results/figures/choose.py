"""What the store has of what a reader chose: names as it holds them, and what is shown where nothing was chosen."""

from pathlib import Path

from laptime.errors import UserError
from laptime.results.figures.sheet import Choice
from laptime.results.query import ask
from laptime.results.store import Row
from laptime.results.tables import known_values

_HELD = """SELECT round FROM results WHERE minutes > 0 AND (:benchmark = '' OR benchmark = :benchmark)
           GROUP BY round_number, round ORDER BY round_number"""


def benchmark_of(file: Path, choice: Choice) -> str:
    """The benchmark chosen; where the store has one only, that one. Raises UserError, UnknownName."""
    if choice.benchmark:
        return known_values(file, "benchmark", [choice.benchmark])[0]
    held = [str(row[0]) for row in ask(file, "SELECT DISTINCT benchmark FROM results ORDER BY 1").rows]
    if len(held) != 1:
        raise UserError("expected a benchmark, found none",
                        hint=f"Give --benchmark, one of {', '.join(held) or 'none'}.")
    return held[0]


def round_of(file: Path, choice: Choice, benchmark: str = "") -> str:
    """The round chosen, else the latest that has scores (of the benchmark). Raises UserError, UnknownName."""
    if choice.round:
        return known_values(file, "round", [choice.round])[0]
    held = rounds_with_scores(file, benchmark)
    if not held:
        raise UserError(f"the store has no score{f' of {benchmark}' if benchmark else ''} to draw")
    return held[-1]


def two_rounds(file: Path, choice: Choice) -> tuple[str, str]:
    """The earlier and the later round: those chosen, else the last two that have scores. Raises UserError."""
    held = rounds_with_scores(file)
    later = known_values(file, "round", [choice.later])[0] if choice.later else (held or [""])[-1]
    before = held[:held.index(later)] if later in held else held
    earlier = known_values(file, "round", [choice.earlier])[0] if choice.earlier else (before or [""])[-1]
    if not earlier or not later or earlier == later:
        raise UserError(f"expected two rounds with scores, the store has {', '.join(held) or 'none'}",
                        hint="Ingest another round, or give --earlier and --later.")
    return earlier, later


def rounds_with_scores(file: Path, benchmark: str = "") -> list[str]:
    """In order of time."""
    return [str(row[0]) for row in ask(file, _HELD, {"benchmark": benchmark}).rows if row[0] is not None]


def found(rows: tuple[Row, ...], what: str, hint: str = "Choose others; `laptime results` shows what there is.") -> \
        tuple[Row, ...]:
    """The rows. Raises UserError where there are none."""
    if not rows:
        raise UserError(f"the store has no {what} to draw", hint=hint)
    return rows
