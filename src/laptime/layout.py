"""Paths of a submission tree as values: submitter, system, benchmark, run. Contents of files are not its business.

Layout: submission package facts, section 1 (v0.6 on) and, for v0.5, the sheet on older forms, section 1.5. Names are
taken from the path element `results`, never from depth.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from laptime.errors import UserError

_RESULT = re.compile(r"result_.*\.txt")
_DIGITS = re.compile(r"(\d+)")
_ROUND = re.compile(r"(?:training_results_)?(v\d+\.\d+)(?:\.\d+)?|([a-z]+-\d+)")
_RESULTS, _SYSTEMS, _ENTRY = "results", "systems", "entry.json"
_DEEPEST = 4  # levels below a round's folder at which submissions are looked for (v0.5 has them at the third)


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


@dataclass(frozen=True)
class Submission:
    """A folder that holds `results` or `systems`, and what lies where in it.

    `descriptions`: system -> its description file (systems/<system>.json, in v0.5 results/<system>/entry.json);
    `results`: folders with logs, at whatever depth; `benchmarks`: every folder at results/<system>/<benchmark>, with
    its logs or without any; `systems`: folders under `results`.
    """

    home: Path
    submitter: str
    descriptions: Mapping[str, Path]
    systems: tuple[str, ...]
    results: tuple[ResultFolder, ...]
    benchmarks: tuple[ResultFolder, ...]

    def system_of(self, result: ResultFolder) -> str:
        """The system of a result, also of one whose logs lie in the system's folder itself."""
        inner = self.place(result)
        return inner[0] if inner else ""

    def place(self, result: ResultFolder) -> tuple[str, ...]:
        """The folders from `results` down to those of a result."""
        return result.path.relative_to(self.home / _RESULTS).parts


def find_submissions(path: Path) -> tuple[Submission, ...]:
    """The submissions at `path`: itself or those below it, in natural order; none where nothing looks like one.

    Links to folders are not followed.
    """
    return tuple(_submission(home) for home in sorted(_homes(path, _DEEPEST), key=natural))


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


def description_of(result: ResultFolder) -> Path | None:
    """Where the description of a result's system lies in its submission; None where there is none."""
    parts = result.path.parts
    places = [place for place, part in enumerate(parts[:-1]) if part == _RESULTS]
    if not places:
        return None
    top, system = Path(*parts[:places[-1] + 1]), parts[places[-1] + 1]
    candidates = (top.parent / _SYSTEMS / f"{system}.json", top / system / _ENTRY)
    return next((path for path in candidates if os.path.lexists(path)), None)


def rounds_in_path(path: Path) -> tuple[str, ...]:
    """Names of round form among the elements of a path, innermost first: v4.0 in .../training_results_v4.0/...

    By form only (a system may be called box-2): the caller knows which rounds exist.
    """
    matches = (_ROUND.fullmatch(part) for part in reversed(path.absolute().parts))
    return tuple(match[1] or match[2] for match in matches if match)


def below_round(path: Path) -> Path:
    """`path` relative to the folder of its round: what stands below the innermost name of round form above `results`.

    Without such a name: below the folder that holds the submitter's; without `results`: the last two elements.
    """
    parts = path.absolute().parts
    places = [place for place, part in enumerate(parts[:-1]) if part == _RESULTS]
    if not places:
        return Path(*parts[-2:])
    rounds = [place for place, part in enumerate(parts[:places[-1]])
              if (match := _ROUND.fullmatch(part)) and match[1]]
    return Path(*parts[rounds[-1] + 1 if rounds else max(1, places[-1] - 1):])


def natural(path: Path) -> tuple[tuple[str, int, str], ...]:
    """A sort key under which result_10 comes after result_9."""
    pieces = _DIGITS.split(str(path))
    return tuple((text, int(number[:18] or 0), number)
                 for text, number in zip(pieces[::2], [*pieces[1::2], ""], strict=True))


def _homes(path: Path, levels: int) -> Iterator[Path]:
    """Folders with `results` or `systems` in them; what lies below such a folder is part of it."""
    inner = folders(path)
    if _RESULTS in inner or _SYSTEMS in inner:
        yield path
    elif levels:
        for name in inner:
            yield from _homes(path / name, levels - 1)


def _submission(home: Path) -> Submission:
    top = home / _RESULTS
    systems = folders(top)
    found = tuple(_in(top)) if systems else ()
    held = {result.path: result for result in found}
    places = [top / system / name for system in systems for name in folders(top / system)]
    described = {file.stem: file for file in files(home / _SYSTEMS) if file.suffix == ".json"}
    described |= {name: top / name / _ENTRY for name in systems if os.path.lexists(top / name / _ENTRY)}
    return Submission(home, _submitter((*home.absolute().parts,)), described, systems, found,
                      tuple(held.get(place) or _folder(place, ()) for place in places))


def _in(top: Path) -> Iterator[ResultFolder]:
    """The results under `top`, none where there are no logs."""
    try:
        yield from find_results(top)
    except UserError:
        return


def folders(path: Path) -> tuple[str, ...]:
    """Names of the folders in `path`, links left out, in natural order; none where it cannot be read."""
    return tuple(entry.name for entry in _entries(path) if entry.is_dir(follow_symlinks=False))


def files(path: Path) -> tuple[Path, ...]:
    """Everything in `path` that is no folder, links too, in natural order; nothing where it cannot be read."""
    return tuple(path / entry.name for entry in _entries(path) if not entry.is_dir(follow_symlinks=False))


def _entries(path: Path) -> "list[os.DirEntry[str]]":
    try:
        with os.scandir(path) as entries:
            return sorted(entries, key=lambda entry: natural(Path(entry.name)))
    except OSError:
        return []


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
