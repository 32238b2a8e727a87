"""Tables of results with the filters a reader thinks in: a row per result, or a row per system as MLCommons shows them.

Columns of the public table: process facts, section 1 of the dashboard notes and submission package facts, section 8.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from laptime.config import nearest
from laptime.errors import UnknownName, UserError
from laptime.results.query import Answer, ask
from laptime.results.store import Row, Value, reading

_REPOSITORY: Final = "https://github.com/mlcommons/training_results_"  # where published rounds lie
_RANGE: Final = re.compile(r"(\d{1,9})?(\.\.)?(\d{1,9})?")
LONG: Final = ("round", "division", "availability", "submitter", "system_name", "framework", "nodes", "processor",
               "processors", "accelerator", "accelerators", "benchmark", "minutes", "chip_minutes", "node_minutes",
               "factor", "minutes_low", "minutes_high", "published_minutes", "runs", "converged", "batch_size",
               "convergence", "unit", "rcp_verdict", "joules", "details", "code", "model", "notes", "label", "file")
_SYSTEM: Final = ("round", "division", "availability", "submitter", "system_name", "framework", "nodes", "processor",
                  "processors", "accelerator", "accelerators")
_END: Final = ("details", "code", "model", "notes")


@dataclass(frozen=True)
class Filters:
    """What to show. Names are compared without regard to case, those of hardware and software by any part of them.

    `accelerators`: (least, most) of the whole system, None: no bound.
    """

    rounds: tuple[str, ...] = ()
    divisions: tuple[str, ...] = ()
    availabilities: tuple[str, ...] = ()
    benchmarks: tuple[str, ...] = ()
    submitters: tuple[str, ...] = ()
    accelerator: str = ""
    framework: str = ""
    accelerators: tuple[int | None, int | None] = (None, None)


def count_range(text: str) -> tuple[int | None, int | None]:
    """Such as 8, 8.., ..64 or 8..64, ends included. Raises UserError."""
    match = _RANGE.fullmatch(text.strip())
    if not match or not (match[1] or match[3]) or (match[3] and not match[2]):
        raise UserError(f"expected a count such as 8, 8.., ..64 or 8..64, found '{text[:40]}'")
    low = int(match[1]) if match[1] else None
    high = int(match[3]) if match[3] else (None if match[2] else low)
    if low is not None and high is not None and low > high:
        raise UserError(f"expected a range from a smaller to a larger count, found '{text[:40]}'")
    return low, high


def results_table(file: Path, filters: Filters) -> Answer:
    """A row per result: columns `LONG`, benchmark by benchmark, the fastest first. Raises UserError."""
    where, values = _where(filters)
    found = ask(file, f"""
        SELECT round, division, availability, submitter, system_name, framework, nodes, processor, processors,
               accelerator, accelerators, benchmark, minutes, chip_minutes, node_minutes, factor,
               minutes_low, minutes_high, published_minutes, runs, converged,
               batch_size, convergence, unit, rcp_verdict, joules, description AS details, file AS code,
               model, trim(coalesce(hw_notes, '') || '; ' || coalesce(sw_notes, ''), '; ') AS notes, label, file,
               round_kind
        FROM results WHERE {where}
        ORDER BY benchmark, round_number, division, minutes IS NULL, minutes, submitter, system""", values)
    return Answer(LONG, tuple(map(_linked, found.rows)), found.cut)


def systems_table(file: Path, filters: Filters) -> Answer:
    """A row per submitter, system and software, with the minutes of each benchmark in a column of its own.

    The best of several results of one benchmark counts. Raises UserError.
    """
    long = results_table(file, filters)
    place = {name: at for at, name in enumerate(LONG)}
    names = sorted({str(row[place["benchmark"]]) for row in long.rows})
    held: dict[Row, dict[str, float]] = {}
    ends: dict[Row, Row] = {}
    for row in long.rows:
        system = tuple(row[place[name]] for name in _SYSTEM)
        ends.setdefault(system, tuple(_last(row[place[name]], name, row[place["division"]]) for name in _END))
        times, minutes = held.setdefault(system, {}), row[place["minutes"]]
        if isinstance(minutes, float):
            name = str(row[place["benchmark"]])
            times[name] = min(minutes, times.get(name, minutes))
    rows = [(*system, *(held[system].get(name) for name in names), *ends[system])
            for system in sorted(held, key=lambda system: [(value is None, str(value)) for value in system])]
    return Answer((*_SYSTEM, *names, *_END), tuple(rows), long.cut)


def values_of(file: Path, column: str) -> tuple[str, ...]:
    """What there is to choose from in a column of view results. `column`: a name of ours, never a user's."""
    with reading(file) as connection:
        return tuple(str(row[0]) for row in connection.execute(
            f"SELECT DISTINCT {column} FROM results WHERE {column} IS NOT NULL ORDER BY 1"))


def known_values(file: Path, column: str, chosen: Sequence[str]) -> tuple[str, ...]:
    """Names as the store has them in a column of view results. Raises UnknownName with the nearest one."""
    names = values_of(file, column) if chosen else ()
    held = {name.lower(): name for name in names}
    for one in chosen:
        if one.lower() not in held and (column != "round" or f"v{one.lower()}" not in held):
            raise UnknownName(f"the store has no {column} '{one}'.{nearest(one, names)}",
                              hint=f"It has: {', '.join(names[:30]) or 'none'}.")
    return tuple(held.get(one.lower()) or held[f"v{one.lower()}"] for one in chosen)


def _where(filters: Filters) -> tuple[str, dict[str, Value]]:
    """The condition and its values; texts of a user are values only."""
    parts, values = ["1"], dict[str, Value]()

    def one_of(column: str, chosen: Sequence[str]) -> None:
        if chosen:
            names = [f"{column}_{at}" for at in range(len(chosen))]
            parts.append(f"lower({column}) IN ({', '.join(f':{name}' for name in names)})")
            values.update(zip(names, map(str.lower, chosen), strict=True))

    def part_of(column: str, text: str) -> None:
        if text:
            parts.append(f"instr(lower({column}), :{column}) > 0")
            values[column] = text.lower()

    one_of("round", filters.rounds)
    one_of("division", filters.divisions)
    one_of("availability", filters.availabilities)
    one_of("benchmark", filters.benchmarks)
    one_of("submitter", filters.submitters)
    part_of("accelerator", filters.accelerator)
    part_of("framework", filters.framework)
    low, high = filters.accelerators
    for bound, sign in ((low, ">="), (high, "<=")):
        if bound is not None:
            name = "least" if sign == ">=" else "most"
            parts.append(f"accelerators {sign} :{name}")
            values[name] = bound
    return " AND ".join(parts), values


def _linked(row: Row) -> Row:
    """Where the description and the code lie: in the public repository of a published round, else below its folder."""
    values = dict(zip((*LONG, "round_kind"), row, strict=True))
    base = f"{_REPOSITORY}{values['round']}" if values["round_kind"] == "official" else ""
    home = str(values["code"] or "").partition("/results/")[0]
    values["code"] = f"{base}/tree/HEAD/{home}/benchmarks" if base else f"{home}/benchmarks"
    if values["details"] and base:
        values["details"] = f"{base}/blob/HEAD/{values['details']}"
    return tuple(values[name] for name in LONG)


def _last(value: Value, name: str, division: Value) -> Value:
    """Model and notes are told of the open division."""
    return value if name in ("details", "code") or division == "open" else None
