"""A review: results of a submission beside the rules, the reference points and other submissions."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from laptime.compliance.finding import Finding, Level
from laptime.compliance.package import check_package
from laptime.compliance.result import BUILT_IN
from laptime.config import SuitePath
from laptime.layout import find_submissions
from laptime.rules.load import load_round
from laptime.submission.borrowing import Loan, loans
from laptime.submission.evidence import Entry, entries
from laptime.submission.suspicions import Suspicion, around_results, suspicions

# Keys that no rule asks for and that many published logs carry (log format facts, section 3.3).
INFORMAL = frozenset({
    "tracked_stats", "target_accuracy", "throughput", "d_batch_size", "local_batch_size", "status", "s_optimizer",
    "s_network", "config_filename", "trained_samples", "max_steps", "max_samples", "init_checkpoint_step",
    "power_measurement_start", "power_measurement_stop", "power_reading", "conversion_eff", "interconnect_power_est",
    "laptime_round", "seed", "submission_poc_name", "submission_poc_email", "submission_entry", "eval_target",
    "micro_batch_size", "tensor_parallelism", "pipeline_parallelism", "context_parallelism", "expert_parallelism",
})


@dataclass(frozen=True)
class Review:
    """What a report is written from. `others`: results of other submissions, judged at the same level."""

    entries: tuple[Entry, ...]
    others: tuple[Entry, ...]
    names: frozenset[str]  # submitters that paths of source files could name
    level: Level
    around: tuple[Finding, ...] = ()  # about the submission beside its results: descriptions, names, code, power

    @property
    def submitter(self) -> str:
        return next((entry.submitter for entry in self.entries if entry.submitter), "")

    @property
    def rounds(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(entry.result.round for entry in self.entries))

    @cached_property
    def points(self) -> tuple[Suspicion, ...]:
        """What to look into."""
        return (*suspicions(self.entries, self.others, self.names), *around_results(self.around, self.submitter))

    @cached_property
    def borrowed(self) -> tuple[Loan, ...]:
        """Values that the submission could borrow from the others."""
        return loans(self.entries, self.others)

    @cached_property
    def lent(self) -> tuple[Loan, ...]:
        """Values that the others could borrow from the submission."""
        return loans(self.others, self.entries)

    def beside(self, entry: Entry) -> tuple[Entry, ...]:
        """Other results of the same benchmark and round, those of the nearest batch size first."""
        alike = [other for other in (*self.others, *self.entries) if other is not entry
                 and (other.result.round, other.result.benchmark) == (entry.result.round, entry.result.benchmark)]
        return tuple(sorted(alike, key=lambda other: (other.submitter == entry.submitter, _distance(entry, other))))


def review(path: Path, against: Sequence[Path] = (), *, round_name: str | None = None, level: Level = "rules",
           suite: SuitePath = BUILT_IN, progress: Callable[[int, int], None] | None = None) -> Review:
    """Read and judge a submission (or a part of one) and those it is compared with. Raises UserError."""
    mine = entries(path, round_name=round_name, level=level, suite=suite, progress=progress)
    places = {entry.place for entry in mine}
    others = tuple(entry for other in against
                   for entry in entries(other, round_name=round_name, level=level, suite=suite, progress=progress)
                   if entry.place not in places)
    return Review(mine, others, frozenset(_names([*mine, *others])), level, tuple(_around(path, mine, level, suite)))


def unusual_keys(entry: Entry) -> dict[str, int]:
    """Keys that neither the rules of the round nor common habit know, with the number of logs that carry them."""
    if entry.rules is None:
        return {}
    known = {rule.key for rule in entry.rules.keys} | INFORMAL | {"weights_initialization"}
    counts: dict[str, int] = {}
    for log in entry.logs:
        for key in log.values.keys() - known:
            counts[key] = counts.get(key, 0) + 1
    return dict(sorted(counts.items()))


def _around(path: Path, mine: Sequence[Entry], level: Level, suite: SuitePath) -> Iterator[Finding]:
    """What the judge says of a whole submission; nothing where `path` is a part of one."""
    for found in find_submissions(path) if path.is_dir() else ():
        results = [entry.result for entry in mine if found.home in entry.result.folder.path.parents]
        if results:
            yield from check_package(found, load_round(results[0].round, suite), level, results)


def _names(found: Iterable[Entry]) -> set[str]:
    """Submitters at hand, and those whose folders stand beside theirs in the round."""
    names = set()
    for entry in found:
        names.add(entry.submitter)
        home = next((folder for folder in entry.result.folder.path.absolute().parents
                     if folder.name == entry.submitter), None)
        if home is not None and home.name:
            names |= {folder.name for folder in home.parent.iterdir() if (folder / "results").is_dir()}
    return names - {""}


def _distance(entry: Entry, other: Entry) -> float:
    mine, theirs = entry.batch_size, other.batch_size
    return max(mine, theirs) / min(mine, theirs) if mine and theirs else 1e9
