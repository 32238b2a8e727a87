"""Published results that predictions are fitted to and tested on (published.csv), and how they are taken from a store.

One row for each closed entry of a benchmark whose work is known, on accelerators that are known: figures only, computed
from public logs by `python -m laptime.planning.calibration --store FILE`, not verified by anybody.
"""

import csv
import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from importlib.resources import files
from pathlib import Path

from laptime.errors import UserError
from laptime.planning.accelerators import recognised

FILE = "published.csv"
_QUERY = """
SELECT round, submitter, system, benchmark, accelerator, chips, batch_size, unit, samples_to_converge, measured_minutes
FROM results WHERE division = 'closed' AND round_kind = 'official' AND measured_minutes IS NOT NULL
AND samples_to_converge IS NOT NULL AND batch_size IS NOT NULL AND chips IS NOT NULL AND accelerator IS NOT NULL
ORDER BY round, benchmark, submitter, system, entry
"""


@dataclass(frozen=True)
class Entry:
    """One published result. `samples`: to the target, mean of the runs; `minutes`: mean of the runs, as measured."""

    round: str
    submitter: str
    system: str
    benchmark: str
    accelerator: str
    count: int
    batch: float
    samples: float
    minutes: float

    @property
    def step_seconds(self) -> float:
        """Seconds for one global batch, evaluations and everything else included."""
        return self.minutes * 60 * self.batch / self.samples

    @property
    def for_fitting(self) -> bool:
        """Half of the entries, chosen by a hash of who and what, so that nobody chooses."""
        name = f"{self.round}/{self.submitter}/{self.system}/{self.benchmark}"
        return hashlib.blake2b(name.encode(), digest_size=1).digest()[0] % 2 == 0


def entries() -> tuple[Entry, ...]:
    """The committed table."""
    text = files(__package__).joinpath(FILE).read_text(encoding="utf-8")
    return tuple(_entry(row) for row in csv.DictReader(text.splitlines()))


def taken(store: Path, samples_of: Mapping[tuple[str, str], float]) -> Iterator[Entry]:
    """Entries of a results store. `samples_of`: (benchmark, unit) -> samples in one unit of convergence.

    Raises UserError for what is no store.
    """
    if not store.is_file():
        raise UserError(f"expected a results store at {store}, found none", hint="Make one: laptime ingest ROUND...")
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as connection:
        for row in connection.execute(_QUERY):
            round_, submitter, system, benchmark, kind, count, batch, unit, samples, minutes = row
            known, factor = recognised(kind), samples_of.get((benchmark, unit))
            if known is not None and factor is not None:
                yield Entry(round_, submitter, system, benchmark, known.name, int(count), batch, samples * factor,
                            round(minutes, 4))


def write(rows: Iterable[Entry], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, [f.name for f in fields(Entry)], lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(row) for row in rows)


def _entry(row: Mapping[str, str]) -> Entry:
    return Entry(row["round"], row["submitter"], row["system"], row["benchmark"], row["accelerator"], int(row["count"]),
                 float(row["batch"]), float(row["samples"]), float(row["minutes"]))
