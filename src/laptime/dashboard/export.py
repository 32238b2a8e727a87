"""The site: pages, their code, and the data of a store as scripts. It opens from disk, without network and server.

data/index.js is all that the first page waits for; results, benchmarks, reference points and questions have files of
their own, loaded when somebody opens them. A site that is exported again is written file by file, each whole at every
moment, so that a page that is open can go on reading; what did not change is left alone, what is gone is taken away.
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from laptime.config import Json
from laptime.dashboard.answers import answers
from laptime.dashboard.embed import as_code, script
from laptime.dashboard.entries import entry, entry_numbers
from laptime.dashboard.index import file_of, index
from laptime.errors import UserError
from laptime.results.store import reading

SITE: Final = Path(__file__).parent / "site"
MARK: Final = "laptime-dashboard.txt"  # says that a folder is ours to write over
_MARK_TEXT: Final = "Made by `laptime dashboard export`, which writes over this folder. Open index.html.\n"


@dataclass
class Exporter:
    """Writes the site of a store into a folder, again and again: what has not changed since is not written again."""

    store: Path
    folder: Path
    _entries: dict[int, str] = field(default_factory=dict)  # id -> fingerprint of what was written
    _written: dict[str, str] = field(default_factory=dict)  # place -> hash of what was written

    def write(self, made: str) -> "Exported":
        """Bring the folder up to date. `made`: when the store was last written, in words. Raises UserError."""
        _claim(self.folder)
        try:
            with copied(self.store) as connection:
                self._write_all(connection, made)
        except OSError as problem:
            raise UserError(f"cannot write the site to {self.folder}: {problem.strerror or problem}",
                            hint="Check its permissions and the space on the disk.") from None
        return self._exported()

    def _write_all(self, connection: sqlite3.Connection, made: str) -> None:
        """Everything; the index and the version last, so that whoever reads them finds the rest."""
        wanted = {*self._site(), "data/index.js"}
        entries = dict(entry_numbers(connection))
        for number, fingerprint in entries.items():
            place = f"data/entry/{number:x}.js"
            wanted.add(place)
            if self._entries.get(number) != fingerprint:
                self._put(place, script("entry", f"{number:x}", entry(connection, number)))
        self._entries = entries
        for place, text in _shared(connection):
            wanted.add(place)
            self._put(place, text)
        value = index(connection, made)
        version = hashlib.sha256(f"{as_code(value)}{entries!r}".encode()).hexdigest()[:16]
        self._put("data/index.js", script("index", "", {**value, "version": version}))
        self._put("data/version.json", as_code({"version": version}) + "\n")
        self._clean(wanted)

    def _site(self) -> list[str]:
        """Pages and code, which come with the program."""
        self._put(MARK, _MARK_TEXT)
        places = [path.relative_to(SITE).as_posix() for path in sorted(SITE.rglob("*")) if path.is_file()]
        for place in places:
            self._put(place, (SITE / place).read_text())
        return places

    def _put(self, place: str, text: str) -> None:
        digest = hashlib.sha256(text.encode()).hexdigest()
        if self._written.get(place) == digest:
            return
        path = self.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(text)
        os.replace(partial, path)
        self._written[place] = digest

    def _clean(self, wanted: set[str]) -> None:
        """Take away data that an earlier export wrote and the store no longer has."""
        for path in (self.folder / "data").rglob("*.js"):
            if path.relative_to(self.folder).as_posix() not in wanted:
                path.unlink()

    def _exported(self) -> "Exported":
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return Exported(len(self._entries), len(files), sum(path.stat().st_size for path in files),
                        (self.folder / "data/index.js").stat().st_size)


@dataclass(frozen=True)
class Exported:
    """What an export wrote. `index`: bytes that the first page waits for, beside its code."""

    results: int
    files: int
    size: int
    index: int


@contextmanager
def copied(store: Path) -> Iterator[sqlite3.Connection]:
    """The store in memory, its view `results` computed once: the questions ask it some hundred times."""
    with closing(sqlite3.connect(":memory:")) as connection:
        with reading(store) as source:
            source.backup(connection)
        connection.row_factory = sqlite3.Row
        connection.execute("CREATE TEMP TABLE computed AS SELECT * FROM results")
        connection.execute("DROP VIEW results")
        connection.execute("CREATE TABLE results AS SELECT * FROM computed")
        connection.execute("CREATE INDEX results_by_benchmark ON results (benchmark, round)")
        connection.execute("PRAGMA query_only = ON")
        yield connection


def _shared(connection: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    """(Place, text) of what is about several results: a benchmark, a question."""
    for (name,) in connection.execute("SELECT DISTINCT benchmark FROM results ORDER BY benchmark").fetchall():
        key = file_of(name)
        yield f"data/runs/{key}.js", script("runs", key, _single_runs(connection, name))
        yield f"data/rcp/{key}.js", script("rcp", key, _references(connection, name))
    catalogue: dict[str, Json] = {}
    for name, answer in answers(connection):
        catalogue[name] = answer["text"]
        yield f"data/question/{name}.js", script("question", name, answer)
    yield "data/questions.js", script("questions", "", catalogue)


def _single_runs(connection: sqlite3.Connection, benchmark: str) -> dict[str, Json]:
    """Result -> [minutes, what it is to the score, status] of each run."""
    found: dict[str, list[Json]] = {}
    for row in connection.execute("""
            SELECT runs.entry, minutes, counts, status FROM runs JOIN entry ON entry.id = runs.entry
            WHERE entry.benchmark = ? ORDER BY runs.entry, runs.number""", (benchmark,)):
        found.setdefault(f"{row['entry']:x}", []).append([row["minutes"], row["counts"], row["status"]])
    return dict(found)


def _references(connection: sqlite3.Connection, benchmark: str) -> dict[str, Json]:
    """Round -> reference points, and the band in which sets of runs pass: [batch size, mean, least mean]."""
    found: dict[str, dict[str, list[Json]]] = {}
    for table, columns in (("reference", "name, batch_size, mean, deviation, runs, unit, used, verdict"),
                           ("band", "batch_size, mean, least")):
        for row in connection.execute(f"SELECT round, {columns} FROM {table} WHERE benchmark = ? "
                                      "ORDER BY round, batch_size", (benchmark,)):
            held = found.setdefault(row["round"], {"points": [], "band": []})
            if table == "band":
                held["band"].append(list(row)[1:])
            else:
                held["points"].append(dict(row))
    return {name: dict(one) for name, one in found.items()}


def _claim(folder: Path) -> None:
    """Raises UserError where writing would mix with files of somebody else."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"expected a folder to write the site to, found a file at {folder}")
    if folder.is_dir() and not (folder / MARK).is_file() and any(folder.iterdir()):
        raise UserError(f"expected an empty folder or an earlier export, found other files in {folder}",
                        hint="Name a folder that does not exist yet.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MARK).write_text(_MARK_TEXT)
    except OSError as problem:
        raise UserError(f"cannot write to {folder}: {problem.strerror or problem}",
                        hint="Check its permissions and the space on the disk.") from None
