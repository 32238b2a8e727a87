"""What a submission's tree may hold to be published in a git repository: names, sizes, links, nothing but files.

Submission package facts, section 6 (repository checker). Nothing is opened, links are not followed.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from laptime.compliance.finding import Finding, Level
from laptime.compliance.run import catalogued

LARGEST_BYTES = 50 * 1024**2  # repository checker
_MOST = 100  # findings of one rule; a tree of a million bad names is told as well by a hundred


def check_repository(home: Path, level: Level) -> Iterator[Finding]:
    """Everything in the tree below `home` that the repository would not take."""
    told: Counter[str] = Counter()
    for finding in _all(home, level):
        told[finding.rule] += 1
        if told[finding.rule] <= _MOST:
            yield finding


def _all(home: Path, level: Level) -> Iterator[Finding]:
    yield from _name(home)
    top = home.resolve()
    unreadable: list[OSError] = []
    for folder, inner, names in os.walk(home, onerror=unreadable.append):
        inner.sort()
        for name in inner:
            path = Path(folder, name)
            yield from _name(path)
            if path.is_symlink() and level == "rules":  # the official tool looks at links to files only
                yield from _link(path, top)
        for name in sorted(names):
            path = Path(folder, name)
            yield from _name(path)
            yield from _file(path, top, level)
    for problem in unreadable:
        yield catalogued("repository-kind", f"the folder cannot be read ({problem.strerror})", Path(problem.filename))


def _name(path: Path) -> Iterator[Finding]:
    if path.name.startswith(".") or " " in path.name:
        fault = "begins with a dot" if path.name.startswith(".") else "holds a blank"
        yield catalogued("repository-name", f"the name {path.name!r} {fault}", path)


def _file(path: Path, top: Path, level: Level) -> Iterator[Finding]:
    try:
        found = path.lstat()
    except OSError as problem:
        yield catalogued("repository-kind", f"it cannot be looked at ({problem.strerror})", path)
        return
    if stat.S_ISLNK(found.st_mode):
        yield from _link(path, top) if level == "rules" else _link_as_official(path)
    elif not stat.S_ISREG(found.st_mode):
        yield catalogued("repository-kind", "it is neither file nor folder", path)
    elif found.st_size > LARGEST_BYTES:
        yield catalogued("repository-size", f"expected at most {LARGEST_BYTES // 1024**2} MiB, found "
                                            f"{found.st_size / 1024**2:.1f}", path)


def _link(path: Path, top: Path) -> Iterator[Finding]:
    try:
        target = path.resolve()
        there = target.exists()
    except (OSError, RuntimeError):  # a loop
        there, target = False, path
    if not there:
        yield catalogued("repository-link", "the link leads nowhere", path)
    elif not target.is_relative_to(top):
        yield catalogued("repository-link", "the link leads out of the submission", path)


def _link_as_official(path: Path) -> Iterator[Finding]:
    """Quirk of the repository checker: relative links are looked up from its working directory, so good ones fail."""
    try:
        target = os.readlink(path)
        there = os.path.isabs(target) and os.path.exists(target)
    except OSError:
        target, there = "", False
    if not there:
        good = path.exists() and not os.path.isabs(target)
        reason = "is relative, which that tool cannot follow" if good else "leads nowhere"
        yield catalogued("repository-link", f"the official tool reports the link: it {reason}", path)
