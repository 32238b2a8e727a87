"""What a figure shows, as data: a table with its words. A figure is drawn from nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from laptime.results.query import Answer
from laptime.results.store import Row, Value

UNVERIFIED = "unverified"
NOT_VERIFIED = ("Computed by laptime from public or own logs. Results not verified by MLCommons Association; those it "
                "has verified are on its site.")


@dataclass(frozen=True)
class Choice:
    """What a reader wants to see; "" or None: as the figure thinks best. Names as the store has them."""

    round: str = ""
    benchmark: str = ""
    earlier: str = ""
    later: str = ""
    division: str = "closed"
    chips: int = 16
    accelerator: str = ""
    submitter: str = ""
    system: str = ""


@dataclass(frozen=True)
class Sheet:
    """The data of a figure. `table`: every drawn number; `facts`: single ones, such as the target; `notes`: what a
    reader must know, one sentence each; `rounds`: where the numbers come from."""

    name: str
    title: str
    subtitle: str
    table: Answer
    facts: Mapping[str, Value] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    rounds: tuple[str, ...] = ()

    def column(self, name: str) -> list[Value]:
        """The values of one column, row by row."""
        place = self.table.columns.index(name)
        return [row[place] for row in self.table.rows]

    def numbers(self, name: str) -> list[float]:
        """A column of numbers. ValueError where one is none."""
        return [number(value) for value in self.column(name)]

    def texts(self, name: str) -> list[str]:
        return [str(value) for value in self.column(name)]

    def where(self, **wanted: Value) -> "Sheet":
        """With the rows only that hold these values."""
        places = {self.table.columns.index(name): value for name, value in wanted.items()}
        return self.with_rows(tuple(row for row in self.table.rows
                                    if all(row[place] == value for place, value in places.items())))

    def with_rows(self, rows: tuple[Row, ...]) -> "Sheet":
        table = Answer(self.table.columns, rows, self.table.cut)
        return Sheet(self.name, self.title, self.subtitle, table, self.facts, self.notes, self.rounds)

    @property
    def source(self) -> str:
        """Where the numbers come from, for the foot of a figure."""
        rounds = f" Rounds: {', '.join(self.rounds)}." if self.rounds else ""
        return f"{NOT_VERIFIED}{rounds}"


def number(value: Value) -> float:
    """A stored number. ValueError where it is none."""
    if isinstance(value, int | float):
        return float(value)
    raise ValueError(f"expected a number, found {value!r}")


def distinct(values: list[str]) -> list[str]:
    """Each once, in the order of their first appearance."""
    return list(dict.fromkeys(values))
