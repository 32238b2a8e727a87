"""From folders and archives to the store: every result judged once, in worker processes, and written by one writer.

A result is known by its round, label and place below the round's folder. Its fingerprint covers the bytes that a
verdict depends on and the judge itself; a result with the fingerprint that the store holds is left alone, a changed
one replaces what was held in one transaction. So an ingest that was interrupted is simply repeated.
"""

import hashlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path

from laptime.compliance.finding import Level, printable
from laptime.compliance.parallel import as_they_come, processes_worth
from laptime.compliance.result import energy_of, judge_result
from laptime.config import SuitePath
from laptime.errors import UserError
from laptime.layout import ResultFolder, Submission, description_of, find_results, rounds_in_path
from laptime.results import packages, store
from laptime.results.archive import is_archive, unpacked
from laptime.results.packages import submissions_at
from laptime.results.published import published_rows
from laptime.results.rounds import round_rows
from laptime.results.rows import Known, entry_rows, place_of
from laptime.results.store import EntryRows, PackageRows
from laptime.rules.load import folders, resolve, round_names

BUILT_IN = SuitePath()
Progress = Callable[[int, int], None]
_BLOCK = 1 << 20
_PACKAGE = Path(__file__).parents[1]
_JUDGE = ("log", "rules", "scoring", "compliance", "submission", "layout.py", "results/rows.py", "results/systems.py",
          "results/packages.py", "results/schema.sql")  # what a row depends on
_SOURCES = ("*.py", "*.toml", "*.csv", "*.sql")
_RULES = ("rules.toml", "keys.toml", "rcp.csv")  # of each benchmark
_BESIDE = ("scaling.json", "package_checker_params")  # files beside the logs that a verdict depends on


@dataclass(frozen=True)
class Ask:
    """How to judge. `round_name`: in full, None: as logs and paths say; `label`: told apart by it."""

    round_name: str | None = None
    level: Level = "official"
    label: str = ""
    suite: SuitePath = BUILT_IN


@dataclass(frozen=True)
class Ingested:
    """What became of the results: `new`, `changed`, `unchanged` are numbers; `left_out`: (place, why)."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    left_out: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class _Item:
    """One result or submission to look at. `known`: the fingerprint in the store, None: it holds none."""

    key: str
    found: ResultFolder | Submission
    known: str | None

    @property
    def size(self) -> tuple[int, int]:
        """Logs and their bytes; a submission as a whole is quickly looked at, and last."""
        logs = self.found.logs if isinstance(self.found, ResultFolder) else ()
        return len(logs), sum(map(_size, logs))


@dataclass(frozen=True)
class _Answer:
    """`rows`: None where the fingerprint is the known one or `problem` says why there are none."""

    rows: EntryRows | PackageRows | None = None
    problem: str = ""


def ingest(paths: Sequence[Path], file: Path, ask: Ask | None = None, *, processes: int | None = None,
           progress: Progress | None = None, published: Sequence[Path] = ()) -> Ingested:
    """Put every result at `paths` (rounds, submissions, folders of runs, archives) into the store `file`.

    `processes`: as many judge side by side, None: as many as pay; `progress`: called with (done, all) results and
    submissions; `published`: tables of published minutes. Raises UserError where there is nothing to find or the store
    cannot be used; one bad result is left out and told.
    """
    ask = ask or Ask()
    if ask.round_name is not None:
        ask = replace(ask, round_name=resolve(ask.round_name))
    with ExitStack() as stack:
        minutes = [row for path in published for row in published_rows(path)]
        places = [stack.enter_context(unpacked(path)) if _packed(path) else path for path in paths]
        found = [result for place in places for result in find_results(place)]
        with store.writing(file) as connection:
            known, held = store.fingerprints(connection), store.package_fingerprints(connection)
        items, doubles = _items(found, known, ask)
        items += _packages([one for place in places for one in submissions_at(place)], held, ask)
        answers = stack.enter_context(closing(_answers(items, ask, processes, progress)))
        first = next(answers, None)  # the workers are copies of this process: they begin while no store is open in it
        with store.writing(file) as connection:
            done = Ingested(left_out=tuple(doubles))
            for item, answer in chain([first] if first else [], answers):
                if isinstance(answer.rows, EntryRows):
                    store.replace(connection, answer.rows)
                elif answer.rows is not None:
                    store.replace_package(connection, answer.rows)
                done = _counted(done, item, answer)
            store.put_published(connection, minutes)
            store.replace_rounds(connection, round_rows(store.rounds_held(connection), ask.suite))
    return done


def key_of(found: ResultFolder, ask: Ask) -> str:
    """What a result is known by: round where it is asked for or in the path, label, and place."""
    return _key(found.path, place_of(found).as_posix(), ask)


def _key(path: Path, place: str, ask: Ask) -> str:
    round_name = ask.round_name or next((name for name in rounds_in_path(path) if name in round_names()), "")
    return printable("/".join(part for part in (round_name, ask.label, place) if part))


def fingerprint(found: ResultFolder, ask: Ask) -> str:
    """Of every file that a result's rows depend on, and of the judge."""
    whole = hashlib.blake2b(judge_digest(ask.suite).encode(), digest_size=24)
    whole.update(repr((ask.round_name, ask.level, ask.label, found.submitter, found.system, found.benchmark)).encode())
    for path in _files(found):
        whole.update(f"{path.name}\0".encode(errors="surrogatepass"))
        with suppress(OSError):
            whole.update(_hashed(path))
    return whole.hexdigest()


@lru_cache(maxsize=4)
def judge_digest(suite: SuitePath) -> str:
    """Of the code and the rules that verdicts come from: where they change, results are judged again."""
    tops = [_PACKAGE / name for name in _JUDGE]
    paths = [path for top in tops if top.is_file() or any(top.glob("__init__.py"))
             for pattern in _SOURCES for path in ([top] if top.is_file() else sorted(top.rglob(pattern)))]
    paths += [folder / name for _, folder in sorted(folders(suite).items()) for name in _RULES]
    whole = hashlib.blake2b(digest_size=24)
    for path in paths:
        if path.is_file():
            whole.update(path.name.encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()


def _packed(path: Path) -> bool:
    return path.is_file() and is_archive(path)


def _items(found: Sequence[ResultFolder], known: Mapping[str, str],
           ask: Ask) -> tuple[list[_Item], list[tuple[str, str]]]:
    """Each result once. Two folders of one key are a mistake of whoever asks; the first counts."""
    items: dict[str, _Item] = {}
    places: dict[str, Path] = {}
    doubles = []
    for result in found:
        key = key_of(result, ask)
        if key not in items:
            items[key], places[key] = _Item(key, result, known.get(key)), result.path.absolute()
        elif places[key] != result.path.absolute():
            doubles.append((key, "another folder of this call has the same name; give each set of runs a --label"))
    return list(items.values()), doubles


def _packages(found: Sequence[Submission], known: Mapping[str, str], ask: Ask) -> list[_Item]:
    """Each submission once; of two of one key, the first."""
    items: dict[str, _Item] = {}
    for one in found:
        key = _key(one.home, packages.place_of(one), ask)
        items.setdefault(key, _Item(key, one, known.get(key)))
    return list(items.values())


def _answers(items: Sequence[_Item], ask: Ask, processes: int | None,
             progress: Progress | None) -> Generator[tuple[_Item, _Answer], None, None]:
    sizes = [item.size for item in items]
    judge_digest(ask.suite)  # computed here once; worker processes inherit it where they are copies
    count = processes_worth(sizes) if processes is None else processes
    answers = as_they_come(partial(_work, ask=ask), items, [size for _, size in sizes], count)
    for done, (place, answer) in enumerate(answers, 1):
        yield items[place], answer
        if progress:
            progress(done, len(items))


def _work(item: _Item, ask: Ask) -> _Answer:
    """What a worker does with one item. Whatever is wrong with it, the others go on."""
    try:
        if isinstance(item.found, ResultFolder):
            return _Answer(_judged(item.key, item.found, item.known, ask))
        return _Answer(_looked_at(item.key, item.found, item.known, ask))
    except UserError as error:
        return _Answer(problem=str(error))
    except Exception as error:
        return _Answer(problem=f"this is a bug in laptime: {type(error).__name__}: {error}")


def _judged(key: str, found: ResultFolder, known: str | None, ask: Ask) -> EntryRows | None:
    """A result; None: as it is known."""
    now = fingerprint(found, ask)
    if now == known:
        return None
    result, runs = judge_result(found, round_name=ask.round_name, level=ask.level, suite=ask.suite)
    result = replace(result, energy=energy_of(result))
    return entry_rows(Known(key, now, ask.label, ask.level), result, runs, ask.suite)


def _looked_at(key: str, found: Submission, known: str | None, ask: Ask) -> PackageRows | None:
    """A submission as a whole; None: as it is known."""
    whole = hashlib.blake2b(judge_digest(ask.suite).encode(), digest_size=24)
    whole.update(repr((ask.round_name, ask.level, ask.label, found.submitter)).encode())
    whole.update(packages.tree_digest(found, ask.level))
    now = whole.hexdigest()
    return None if now == known else packages.package_rows(
        key, now, found, round_name=ask.round_name, level=ask.level, label=ask.label, suite=ask.suite)


def _counted(done: Ingested, item: _Item, answer: _Answer) -> Ingested:
    if answer.problem:
        return replace(done, left_out=(*done.left_out, (item.key, answer.problem)))
    if not isinstance(item.found, ResultFolder):
        return done
    if answer.rows is None:
        return replace(done, unchanged=done.unchanged + 1)
    return replace(done, new=done.new + 1) if item.known is None else replace(done, changed=done.changed + 1)


def _files(found: ResultFolder) -> Iterator[Path]:
    """Logs, switches and factors beside them, power readings, and the description of the system."""
    yield from found.logs
    for folder in (found.path, found.path.parent):
        yield from (folder / name for name in _BESIDE)
    yield from sorted(path for path in (found.path / "power").rglob("*.txt") if path.is_file())
    if (description := description_of(found)) is not None:
        yield description


def _hashed(path: Path) -> bytes:
    if not path.is_file():
        return b""
    found = hashlib.blake2b(digest_size=24)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.digest()


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0
