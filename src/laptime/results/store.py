"""The store: one SQLite file with what is known of rounds, entries and runs. How it is made, opened, changed, dumped.

Tables stand in schema.sql, values that follow from them in views.sql; docs/results.md describes both. Every key is
made from the data, never counted, so that two stores of the same results are equal whatever the order of work.
"""

import hashlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from laptime.errors import UserError

APPLICATION: Final = 0x4C415054  # "LAPT", in the header of the file: SQLite's application id
VERSION: Final = 2  # of the schema
KEY_BITS: Final = 52  # whole numbers that JavaScript holds exactly
Value = str | int | float | None
Row = tuple[Value, ...]

OF_ROUND: Final = ("round", "benchmark", "target", "reference", "band")
OF_ENTRY: Final = ("run", "evaluation", "hyperparameter", "finding", "score")
TABLES: Final = (*OF_ROUND, "submitter", "system", "entry", *OF_ENTRY, "package", "package_finding", "published")
_HERE: Final = Path(__file__).parent
_PATIENCE: Final = 30.0  # seconds that a writer waits for another one
_MOST_TEXT: Final = 20_000  # characters of one value; what is longer is cut
_MOST_DIGITS: Final = 2**63


@dataclass(frozen=True)
class EntryRows:
    """Everything about one entry. `entry`, `system`: one row; `of_entry`: table -> rows whose first value is the id."""

    id: int
    entry: Row
    system: Row
    submitter: Row
    of_entry: Mapping[str, Sequence[Row]] = field(default_factory=dict)


@dataclass(frozen=True)
class PackageRows:
    """Everything about one submission. `package`: one row; `findings`: rows whose first value is the id."""

    id: int
    package: Row
    findings: Sequence[Row] = ()


def key_number(text: str) -> int:
    """The number of a key: the same for the same text in every store."""
    return int.from_bytes(hashlib.sha256(text.encode(errors="replace")).digest()[:8]) >> (64 - KEY_BITS)


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """The store at `path` to be changed; made where there is none. Raises UserError for anything but a store."""
    with _told(path), closing(sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)) as connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        _prepare(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")  # what was committed survives a kill
        yield connection
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with suppress(sqlite3.OperationalError):  # somebody is reading; the next ingest will do it
            connection.execute("PRAGMA journal_mode = DELETE")  # one file again


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """The store at `path`, which cannot be changed through this connection. Raises UserError for anything else."""
    if not path.is_file():
        raise UserError(f"expected a store of results, found nothing at {path}",
                        hint="Make one: laptime ingest PATH... --store FILE.")
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with _told(path), closing(sqlite3.connect(uri, uri=True, timeout=_PATIENCE, isolation_level=None)) as connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        check_version(connection, path)
        connection.execute("PRAGMA query_only = ON")
        connection.row_factory = sqlite3.Row
        yield connection


def check_version(connection: sqlite3.Connection, path: Path) -> None:
    """Raises UserError where the file is of another program or of another version of this one."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION:
        raise UserError(f"expected a store of results, found a database of another program at {path}",
                        hint="Give another file by --store.")
    if version != VERSION:
        raise UserError(f"expected a store of version {VERSION}, found version {version} at {path}",
                        hint="A store is made from logs: ingest them into a new file (laptime ingest PATH... --store "
                             "FILE), or use the version of this program that made this one.")


def fingerprints(connection: sqlite3.Connection) -> dict[str, str]:
    """Key -> fingerprint of every entry."""
    return dict(connection.execute("SELECT key, fingerprint FROM entry"))


def package_fingerprints(connection: sqlite3.Connection) -> dict[str, str]:
    """Key -> fingerprint of every submission."""
    return dict(connection.execute("SELECT key, fingerprint FROM package"))


def replace(connection: sqlite3.Connection, rows: EntryRows) -> None:
    """Put one entry into the store in place of what is known of it, as one change."""
    with _change(connection):
        for table in OF_ENTRY:
            connection.execute(f"DELETE FROM {table} WHERE entry = ?", (rows.id,))
        _insert(connection, "submitter", [rows.submitter])
        _insert(connection, "system", [rows.system])
        _insert(connection, "entry", [rows.entry])
        for table in OF_ENTRY:
            _insert(connection, table, rows.of_entry.get(table, ()))


def replace_package(connection: sqlite3.Connection, rows: PackageRows) -> None:
    """Put what was found in one submission in place of what is known of it, as one change."""
    with _change(connection):
        connection.execute("DELETE FROM package_finding WHERE package = ?", (rows.id,))
        _insert(connection, "package", [rows.package])
        _insert(connection, "package_finding", rows.findings)


def put_published(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Put published minutes into the store, in place of those of the same results."""
    with _change(connection):
        _insert(connection, "published", rows)


def replace_rounds(connection: sqlite3.Connection, tables: Mapping[str, Sequence[Row]]) -> None:
    """Put the rows about rounds in place of those there are, and take away what no entry needs any more."""
    with _change(connection):
        for table in OF_ROUND:
            connection.execute(f"DELETE FROM {table}")
            _insert(connection, table, tables.get(table, ()))
        connection.execute("DELETE FROM system WHERE id NOT IN (SELECT system FROM entry)")
        connection.execute("DELETE FROM submitter WHERE name NOT IN (SELECT submitter FROM entry)")


def rounds_held(connection: sqlite3.Connection) -> tuple[str, ...]:
    """The rounds that entries and submissions are of."""
    return tuple(name for (name,) in connection.execute(
        "SELECT round FROM entry WHERE round IS NOT NULL UNION SELECT round FROM package WHERE round IS NOT NULL "
        "ORDER BY 1"))


def counts(connection: sqlite3.Connection) -> dict[str, int]:
    """Table -> rows."""
    return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}


def content_hash(connection: sqlite3.Connection) -> str:
    """A hash of every value in every table, the same for the same content however it came there."""
    found = hashlib.sha256()
    for table in TABLES:
        width = len(connection.execute(f"SELECT * FROM {table} LIMIT 0").description)
        order = ", ".join(str(column + 1) for column in range(width))
        for row in connection.execute(f"SELECT * FROM {table} ORDER BY {order}"):
            found.update(f"{table} {tuple(row)!r}\n".encode(errors="surrogatepass"))
    return found.hexdigest()


def storable(value: Value) -> Value:
    """A value that the database takes: text cut and without signs it cannot hold, whole numbers of 64 bits."""
    if isinstance(value, str):
        text = value if len(value) <= _MOST_TEXT else value[:_MOST_TEXT] + "..."
        return text.encode(errors="replace").decode().replace("\0", "\ufffd")
    if isinstance(value, int) and not -_MOST_DIGITS <= value < _MOST_DIGITS:
        return float("inf") if value > 0 else float("-inf")
    return value


def _insert(connection: sqlite3.Connection, table: str, rows: Sequence[Row]) -> None:
    if rows:
        places = ", ".join("?" * len(rows[0]))
        connection.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({places})",
                               [tuple(map(storable, row)) for row in rows])


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables of a new store; check those of an old one, and renew its views where the program's differ."""
    wanted = _statements("views.sql")
    with _change(connection):  # looked at inside it: another ingest may begin at the same moment
        if not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
            for statement in _statements("schema.sql"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
        check_version(connection, path)
        held = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'view'"))
        if sorted(held.values()) != sorted(wanted):
            for name in held:
                connection.execute(f"DROP VIEW {_quoted(name)}")
            for statement in wanted:
                connection.execute(statement)


def _statements(name: str) -> list[str]:
    """The statements of a file, without the comments before them."""
    lines = [line for line in (_HERE / name).read_text().splitlines() if not line.startswith("--")]
    return [part.strip() for part in "\n".join(lines).split(";\n") if part.strip(" \n;")]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def _change(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Errors of the database as one line."""
    try:
        yield
    except sqlite3.Error as problem:
        raise UserError(f"expected a store of results at {path}, the database says: {problem}",
                        hint="Check the path, its permissions and the space on the disk; an ingest that was "
                             "interrupted can be repeated.") from None
