"""Submissions as wholes: what is found in the tree of each, judged once and stored beside the results that lie in it.

The fingerprint covers the names and sizes of everything in the tree, what is read of it, and the judge.
"""

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from laptime.compliance.finding import Finding, Level, printable
from laptime.compliance.package import check_package
from laptime.compliance.rounds import round_of
from laptime.compliance.run import catalogued
from laptime.config import SuitePath
from laptime.errors import UserError
from laptime.layout import Submission, below_round, find_submissions, rounds_in_path
from laptime.log.read import read_log
from laptime.results.rows import finding_values
from laptime.results.store import PackageRows, key_number
from laptime.rules.load import load_round, round_names

_BLOCK: Final = 1 << 20
_READ: Final = (".json", "package_checker_params")  # ends of names of files that the checks open
_LARGEST_SOURCE: Final = 2 << 20  # bytes; larger sources are not looked into
MOST_FINDINGS: Final = 2000  # of one submission


def submissions_at(path: Path) -> tuple[Submission, ...]:
    """The submissions at `path` that hold results: itself or those below it."""
    return tuple(one for one in find_submissions(path) if one.results)


def place_of(found: Submission) -> str:
    """The submission's folder below that of its round."""
    return printable(below_round(found.home / "results" / "log").parent.parent.as_posix())


def package_rows(key: str, fingerprint: str, found: Submission, *, round_name: str | None, level: Level, label: str,
                 suite: SuitePath) -> PackageRows:
    """Everything about one submission. `round_name`: in full, None: as its path or its logs say."""
    number, name = key_number(f"package {key}"), round_name or _round_of(found)
    findings: Sequence[Finding] = ()
    if name is None:
        findings = (catalogued("package-unreadable", "expected the round in the logs or the path, found none: say it "
                                                     "by --round", found.home),)
    else:
        findings = tuple(check_package(found, load_round(name, suite), level))
    package = (number, key, fingerprint, label, name, printable(found.submitter), level, len(found.results),
               place_of(found), 0)
    return PackageRows(number, package, tuple((number, place, *finding_values(finding))
                                              for place, finding in enumerate(findings[:MOST_FINDINGS])))


def tree_digest(found: Submission, level: Level) -> bytes:
    """Of the names and sizes in a submission's tree, and of the content of the files that checks open."""
    whole = hashlib.blake2b(digest_size=24)
    for path in _tree(found.home):
        with suppress(OSError):
            facts = path.lstat()
            size = facts.st_size if stat.S_ISREG(facts.st_mode) else 0
            whole.update(f"{path.relative_to(found.home)}\0{stat.S_IFMT(facts.st_mode)}\0{size}\0".encode(
                errors="surrogatepass"))
            if stat.S_ISREG(facts.st_mode) and _is_read(path, size, level):
                whole.update(_content(path))
    return whole.digest()


def _tree(home: Path) -> Iterator[Path]:
    for folder, inner, names in os.walk(home):
        inner.sort()
        yield from (Path(folder, name) for name in sorted((*inner, *names)))


def _is_read(path: Path, size: int, level: Level) -> bool:
    return path.name.endswith(_READ) or (level == "rules" and size <= _LARGEST_SOURCE)


def _content(path: Path) -> bytes:
    found = hashlib.blake2b(digest_size=24)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.digest()


def _round_of(found: Submission) -> str | None:
    """The round in the path, else that of the first log that tells one."""
    if (name := next((name for name in rounds_in_path(found.home) if name in round_names()), None)) is not None:
        return name
    for result in found.results:
        with suppress(UserError):
            return round_of(read_log(result.logs[0]))
    return None
