"""Paths of a submission tree as values: submitter, system, benchmark, run. Contents of files are not its business.

Layout: submission package facts, section 1 (v0.6 on) and, for v0.5, the sheet on older forms, section 1.5. Names are
taken from the path element `results`, never from depth.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from laptime.errors import UserError

_RESULT = re.compile(r"result_.*\.txt")
_DIGITS = re.compile(r"(\d+)")
_ROUND = re.compile(r"(?:training_results_)?(v\d+\.\d+)(?:\.\d+)?|([a-z]+-\d+)")
_RESULTS = "results"


@dataclass(frozen=True)
class SubmissionPaths:
    """Where the parts of one submitter's submission stand under `root`."""

    root: Path
    submitter: str

    @property
    def home(self) -> Path:
        return self.root / self.submitter

    def system(self, system: str) -> Path:
        """The description of a system."""
        return self.home / "systems" / f"{system}.json"

    def scripts(self, benchmark: str, system: str) -> Path:
        """The folder of what is particular to a benchmark on a system."""
        return self.home / "benchmarks" / benchmark / system

    def results(self, system: str, benchmark: str) -> Path:
        """The folder of the logs of one result. `benchmark` is the log name of the round."""
        return self.home / _RESULTS / system / benchmark


@dataclass(frozen=True)
class ResultFolder:
    """The logs of one result, in natural order of their names. Names are "" where the path does not tell."""

    path: Path
    submitter: str
    system: str
    benchmark: str  # the folder's name: the log name of the round
    logs: tuple[Path, ...]


def result_name(run: int) -> str:
    return f"result_{run}.txt"


def find_results(path: Path) -> tuple[ResultFolder, ...]:
    """The results at `path`: a log, a result's folder, a system's, a submission, or a whole round.

    Links are followed only to files inside `path`. Raises UserError when there is nothing to find.
    """
    if path.is_file():
        return (_folder(path.parent, (path,)),)
    if not path.is_dir():
        raise UserError(f"expected a log or a folder of results, found nothing at {path}",
                        hint="Give a file such as result_0.txt, or a folder above such files.")
    logs: dict[Path, list[Path]] = defaultdict(list)
    for log in _logs(path):
        logs[log.parent].append(log)
    if not logs:
        raise UserError(f"expected logs named result_0.txt, result_1.txt, ..., found none under {path}",
                        hint="Give a folder that holds the results of a submission.")
    return tuple(_folder(folder, tuple(sorted(logs[folder], key=natural)))
                 for folder in sorted(logs, key=natural))


def rounds_in_path(path: Path) -> tuple[str, ...]:
    """Names of round form among the elements of a path, innermost first: v4.0 in .../training_results_v4.0/...

    By form only (a system may be called box-2): the caller knows which rounds exist.
    """
    matches = (_ROUND.fullmatch(part) for part in reversed(path.absolute().parts))
    return tuple(match[1] or match[2] for match in matches if match)


def natural(path: Path) -> tuple[tuple[str, int, str], ...]:
    """A sort key under which result_10 comes after result_9."""
    pieces = _DIGITS.split(str(path))
    return tuple((text, int(number[:18] or 0), number)
                 for text, number in zip(pieces[::2], [*pieces[1::2], ""], strict=True))


def _logs(top: Path) -> Iterator[Path]:
    root = top.resolve()
    for folder, _, names in os.walk(top):  # does not enter linked folders
        for name in names:
            if _RESULT.fullmatch(name):
                log = Path(folder, name)
                if not log.is_symlink() or (log.is_file() and log.resolve().is_relative_to(root)):
                    yield log


def _folder(path: Path, logs: tuple[Path, ...]) -> ResultFolder:
    parts = path.absolute().parts
    places = [place for place, part in enumerate(parts[:-1]) if part == _RESULTS]
    if not places:
        return ResultFolder(path, "", "", path.absolute().name, logs)
    place = places[-1]
    inner = parts[place + 1:]
    system = inner[0] if len(inner) > 1 else ""
    return ResultFolder(path, _submitter(parts[:place]), system, inner[-1] if len(inner) < 3 else inner[1], logs)


def _submitter(above: tuple[str, ...]) -> str:
    """The element below that of the round (v0.5 has more levels between), else the one just above `results`."""
    for place in range(len(above) - 1, 0, -1):
        match = _ROUND.fullmatch(above[place - 1])
        if match and match[1]:
            return above[place]
    return above[-1] if len(above) > 1 else ""
