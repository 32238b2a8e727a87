"""Points that a reviewer should look into: broken rules, and equalities and differences that need an explanation.

A suspicion is a question, not a verdict: partners share code and machines, and seeds may meet by chance. Review facts:
process facts, sections 3 and 8; copied metadata and timing disputes are what reviewers have objected to most.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import PurePosixPath

from laptime.compliance.finding import Finding, printable, shown
from laptime.compliance.grouping import grouped
from laptime.config import Json
from laptime.layout import below_round
from laptime.submission.evidence import Entry, LogFacts
from laptime.submission.hyperparameters import mixed

FEW_BITS = 1 << 20  # seeds below this meet by chance in rounds of thousands of runs
MANY_SHARED = 3  # seeds that two results share are no chance from here on, whatever their size
SAME_STEP = 1.1  # intervals of evaluations within this ratio are one, rounded to batches (timing facts, section 4)
WHOLE_SECOND = 1000.0  # milliseconds
CHANCE = 0.05  # equal times that come about more often than this by chance are no point
MOST_PLACES = 12
_SHORTEST_NAME = 4  # of a submitter, to be found in paths
_WORDS = re.compile(r"[a-z0-9]+")
_REVIEW = "submission rules, review"
_NOTED = frozenset({"folder-submitter", "seed-repeated", "seed-twice", "round-differs"})  # always worth a question
MOST_ALIKE = 100  # logs with one mark that are compared with each other

TITLES: Mapping[str, str] = {
    "rule": "A finding of the judge",
    "copied-log": "Two files hold the same log",
    "same-rhythm": "Two logs have the same times between all their lines",
    "same-start": "Two runs started in the same millisecond",
    "same-duration": "Two runs of a result took the same time to the millisecond",
    "shared-seeds": "Results of different runs share seeds",
    "mixed-values": "Runs of one result differ in a hyperparameter",
    "mixed-platform": "Runs of one result name different platforms",
    "mixed-cadence": "Runs of one result evaluate at different intervals",
    "foreign-platform": "The platform in the log names another submitter",
    "foreign-files": "Source files in the log lie in folders that name another submitter",
}


@dataclass(frozen=True)
class Suspicion:
    """One point. `against`: a submitter; `subject`: what the id is made of beside the kind, stable across reruns.

    `places`: files, relative to the round's folder, with lines where there are any.
    """

    kind: str
    against: str
    system: str
    benchmark: str
    subject: tuple[str, ...]
    text: str
    places: tuple[str, ...]
    source: str = _REVIEW

    @property
    def id(self) -> str:
        """Such as "copied-log-3f0a9c21": the same as long as kind and subject are."""
        marks = "\0".join((self.kind, self.against, self.system, self.benchmark, *self.subject))
        return f"{self.kind}-{hashlib.sha256(marks.encode(errors='surrogateescape')).hexdigest()[:8]}"

    @property
    def title(self) -> str:
        return TITLES[self.kind]


def suspicions(entries: Sequence[Entry], others: Sequence[Entry], names: Iterable[str]) -> tuple[Suspicion, ...]:
    """Every point about `entries`, on their own and beside `others`. `names`: submitters that paths could name."""
    found: list[Suspicion] = []
    for entry in entries:
        found += [*_rules(entry), *_values(entry), *_platforms(entry), *_cadence(entry), *_durations(entry)]
    found += _copies(entries, others)
    found += _starts(entries, others)
    found += _seeds(entries, others)
    found += _foreign(entries, sorted(set(names)))
    unique = {one.id: one for one in found}
    return tuple(sorted(unique.values(), key=lambda one: (list(TITLES).index(one.kind), one.system, one.benchmark,
                                                          one.subject)))


def around_results(findings: Sequence[Finding], submitter: str) -> Iterator[Suspicion]:
    """Errors about a submission beside its results; each rule once."""
    for rule, found in _by_rule(findings, frozenset()).items():
        places = (f"{below_round(one.path).as_posix()}{f':{one.line}' if one.line else ''}" for one in found)
        yield Suspicion("rule", submitter, "", "", (rule,), printable(f"{rule}: {found[0].said}"), _places(places),
                        found[0].source or _REVIEW)


def _rules(entry: Entry) -> Iterator[Suspicion]:
    """Errors of the judge, and what it notes about seeds and names; each rule once per result."""
    for rule, found in _by_rule(entry.findings, _NOTED).items():
        yield _about(entry, "rule", (rule,), f"{rule}: {found[0].said}",
                     (f"{entry.place}/{one.place}" for one in found), source=found[0].source or _REVIEW)


def _by_rule(findings: Sequence[Finding], noted: frozenset[str]) -> dict[str, list[Finding]]:
    """Roots that are errors, or under a rule that is always noted, by their rule."""
    found: dict[str, list[Finding]] = {}
    for group in grouped(findings):
        if group.first.severity == "error" or group.first.rule in noted:
            found.setdefault(group.first.rule, []).extend(group.findings)
    return found


def _values(entry: Entry) -> Iterator[Suspicion]:
    for name, values in mixed(entry).items():
        yield _about(entry, "mixed-values", (name,), f"{name} is {_listed(values)}", [log.place for log in entry.logs])


def _platforms(entry: Entry) -> Iterator[Suspicion]:
    names = dict.fromkeys(str(log.values["submission_platform"]) for log in entry.logs
                          if "submission_platform" in log.values)
    if len(names) > 1:
        yield _about(entry, "mixed-platform", (), f"the logs say {_listed(tuple(names))}",
                     [log.place for log in entry.logs])


def _cadence(entry: Entry) -> Iterator[Suspicion]:
    """The interval between evaluations that most of a run keeps, which should be the same in all runs."""
    steps = {log.place: step for log in entry.logs if (step := usual_step(log.positions)) is not None}
    if steps and max(steps.values()) > SAME_STEP * min(steps.values()):
        told = ", ".join(f"{step:g}" for step in sorted(set(steps.values())))
        yield _about(entry, "mixed-cadence", (), f"evaluations come every {told}", steps)


def usual_step(positions: Sequence[float]) -> float | None:
    """The most frequent distance between neighbouring evaluations; None for fewer than three of them."""
    steps = [round(after - before, 6) for before, after in pairwise(positions)]
    return max(steps, key=lambda step: (steps.count(step), step)) if len(steps) > 1 else None


def _durations(entry: Entry) -> Iterator[Suspicion]:
    """Equal times that are no chance: few pairs of runs, times far apart, and a clock that counts milliseconds."""
    times = [(log, log.times.run) for log in entry.logs if log.times.run is not None]
    spread = max((time for _, time in times), default=0.0) - min((time for _, time in times), default=0.0)
    step = WHOLE_SECOND if all(map(_coarse, entry.logs)) else 1.0
    if len(times) * (len(times) - 1) / 2 * step > CHANCE * spread > 0:
        return
    for same in _alike(times):
        if len({log.digest for log in same}) > 1:  # copies are another matter
            names = [log.place for log in same]
            yield _about(entry, "same-duration", tuple(sorted(names)),
                         f"{len(same)} runs took {(same[0].times.run or 0) / 60000:.5f} min each", names)


def _coarse(log: LogFacts) -> bool:
    """Whether the clock of a log may count whole seconds only."""
    return all(stamp is None or stamp % WHOLE_SECOND == 0 for stamp in (log.started_ms, log.stopped_ms))


def _copies(entries: Sequence[Entry], others: Sequence[Entry]) -> Iterator[Suspicion]:
    for kind, mark in (("copied-log", _digest), ("same-rhythm", _rhythm)):
        for entry, other, pairs in _pairs(entries, others, mark):
            told = [(one, two) for one, two in pairs if kind == "copied-log" or one.digest != two.digest]
            if told:
                yield _between(entry, other, kind, told, f"{len(told)} pairs")


def _starts(entries: Sequence[Entry], others: Sequence[Entry]) -> Iterator[Suspicion]:
    for entry, other, pairs in _pairs(entries, others, lambda log: log.started_ms):
        apart = [(one, two) for one, two in pairs if one.digest != two.digest and one.rhythm != two.rhythm
                 and not _coarse(one)]
        if apart:
            yield _between(entry, other, "same-start", apart, f"{len(apart)} pairs of runs")


def _seeds(entries: Sequence[Entry], others: Sequence[Entry]) -> Iterator[Suspicion]:
    """Within a result seeds are the judge's business; between results a few small ones may meet by chance."""
    owners: dict[str, list[tuple[Entry, LogFacts]]] = defaultdict(list)
    for entry in (*entries, *others):
        for log in entry.logs:
            for seed in log.seeds:
                owners[seed].append((entry, log))
    shared: dict[tuple[str, str], list[tuple[str, LogFacts, LogFacts]]] = defaultdict(list)
    known = {entry.place: entry for entry in (*entries, *others)}
    mine = {entry.place for entry in entries}
    for seed, users in owners.items():
        for (one, log), (two, other) in combinations(users[:MOST_ALIKE], 2):
            if one.place != two.place and log.digest != other.digest and (one.place in mine or two.place in mine):
                first = one.place in mine
                pair = (one.place, two.place) if first else (two.place, one.place)
                shared[pair].append((seed, log, other) if first else (seed, other, log))
    for (place, other_place), found in shared.items():
        if len({seed for seed, _, _ in found}) >= MANY_SHARED or any(_is_large(seed) for seed, _, _ in found):
            seeds = sorted({seed for seed, _, _ in found})
            yield _between(known[place], known[other_place], "shared-seeds", [(a, b) for _, a, b in found],
                           f"{len(seeds)} seeds in common ({_listed(tuple(seeds[:4]))})")


def _foreign(entries: Sequence[Entry], names: Sequence[str]) -> Iterator[Suspicion]:
    """Names of other submitters in paths of source files and in the platform; one point per name and submitter."""
    wanted = {name: _letters(name) for name in names if len(_letters(name)) >= _SHORTEST_NAME}
    files: dict[tuple[str, str], list[tuple[Entry, LogFacts, str]]] = defaultdict(list)
    for entry in entries:
        for name, letters in wanted.items():
            if letters in _letters(entry.submitter):
                continue
            platforms = [log for log in entry.logs
                         if letters in _letters(str(log.values.get("submission_platform", "")))]
            if platforms:
                said = str(platforms[0].values.get("submission_platform"))
                yield _about(entry, "foreign-platform", (name,), f"submission_platform is {said!r}, which names {name}",
                             [log.place for log in platforms])
            for log in entry.logs:
                files[entry.submitter, name] += [(entry, log, file) for file in log.files if _names(file, letters)]
    for (submitter, name), found in files.items():
        if found:
            some = ", ".join(sorted({file for _, _, file in found})[:3])
            yield Suspicion("foreign-files", submitter, "", "", (name,), f"paths such as {some} name {name}",
                            _places(log.place for _, log, _ in found))


def _names(file: str, letters: str) -> bool:
    """Whether a folder in the path of a source file is called so."""
    return any(letters in _WORDS.findall(part.lower()) for part in PurePosixPath(file).parts[:-1])


def _letters(name: str) -> str:
    return "".join(_WORDS.findall(name.lower()))


def _is_large(seed: str) -> bool:
    return seed.lstrip("-").isdigit() and (len(seed) > 18 or abs(int(seed)) >= FEW_BITS)


def _digest(log: LogFacts) -> str:
    return log.digest


def _rhythm(log: LogFacts) -> str:
    return log.rhythm


_Pairs = list[tuple[LogFacts, LogFacts]]


def _pairs(entries: Sequence[Entry], others: Sequence[Entry],
           mark: Callable[[LogFacts], str | float | None]) -> Iterator[tuple[Entry, Entry, _Pairs]]:
    """(entry, other, logs with one mark) for every two results, and within one, of which the first is of `entries`."""
    users: dict[str | float, list[tuple[Entry, LogFacts]]] = defaultdict(list)
    for entry in (*entries, *others):
        for log in entry.logs:
            if value := mark(log):
                users[value].append((entry, log))
    own = {entry.place for entry in entries}
    found: dict[tuple[str, str], tuple[Entry, Entry, _Pairs]] = {}
    for same in users.values():
        for (one, log), (two, other) in combinations(same[:MOST_ALIKE], 2):
            if one.place in own:
                found.setdefault((one.place, two.place), (one, two, []))[2].append((log, other))
    yield from found.values()


def _alike(times: Sequence[tuple[LogFacts, float]]) -> Iterator[list[LogFacts]]:
    users: dict[float, list[LogFacts]] = defaultdict(list)
    for log, time in times:
        users[time].append(log)
    yield from (logs for logs in users.values() if len(logs) > 1)


def _between(entry: Entry, other: Entry, kind: str, pairs: _Pairs, words: str) -> Suspicion:
    where = "within the result" if entry.place == other.place else f"with {other.place}"
    places = _places(f"{one.place} = {two.place}" for one, two in pairs)
    return Suspicion(kind, entry.submitter, entry.system, entry.benchmark, (other.place,), f"{words} {where}", places)


def _about(entry: Entry, kind: str, subject: tuple[str, ...], text: str, places: Iterable[str], *,
           source: str = _REVIEW) -> Suspicion:
    return Suspicion(kind, entry.submitter, entry.system, entry.benchmark, subject, printable(text), _places(places),
                     source)


def _places(places: Iterable[str]) -> tuple[str, ...]:
    listed = tuple(dict.fromkeys(map(printable, places)))
    more = len(listed) - MOST_PLACES
    return listed if more <= 0 else (*listed[:MOST_PLACES], f"and {more} more")


def _listed(values: Sequence[Json]) -> str:
    return " and ".join(shown(value) for value in values[:4]) + (" and others" if len(values) > 4 else "")
