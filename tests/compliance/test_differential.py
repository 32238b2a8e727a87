"""Level "official" against the official checker itself: for every row of the tables of facts, logs that keep and break it.

Each log is a good one, made from our rule data, with one edit. Both judges must agree on every log; what they do not
agree on stands in docs/differences.md, which is read here: no difference without a line there, no line without one.
"""

import functools
import itertools
import re
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path

import facts
import pytest
from good_logs import CHECKED, Kind, failing, good_records, kinds, passing, write_by_our_writer, write_log
from log_edits import (
    after_the_run,
    changed,
    changed_last,
    doubled,
    init_takes,
    labelled,
    moved,
    stamped,
    unlabelled,
    without,
)

from laptime.compliance.causes import roots
from laptime.compliance.result import judge_log
from laptime.rules.load import load_round

official = pytest.importorskip("official", reason="dev extra not installed")
pytestmark = pytest.mark.skipif(not facts.FACTS.is_dir(), reason=facts.ABSENT)

DOCUMENT = Path(__file__).parents[2] / "docs" / "differences.md"
PROBES = (-1, "nonsense", True, [1], 0.3333, None)
FOLDERS = tuple(dict.fromkeys(kind.folder for name in CHECKED for kind in kinds(name)))


def rows(kind):
    """The fact table's rows that hold for a kind of log."""
    benchmarks = {kind.rules.log_name, f"{kind.rules.log_name}_{kind.optimizer}"}
    return [row for row in facts.facts("log_keys.csv", round=[kind.round], division=["any", kind.division])
            if row["benchmark"] in benchmarks | {"(common)"}]


def first_of_division(kind):
    return kind == next(each for each in kinds(kind.round) if each.division == kind.division)


def edits(kind):
    """(key, name of the edit, function on the records) of every row, once each."""
    yield "-", "none", lambda records: None
    done = set()
    for row in rows(kind):
        if row["benchmark"] != "(common)" or first_of_division(kind):
            for name, edit in edits_of_row(row):
                if (row["key"], name) not in done:
                    done.add((row["key"], name))
                    yield row["key"], name, edit
    yield from edits_of_target(kind)
    if first_of_division(kind):
        yield from edits_of_order(kind)


def edits_of_row(row):
    key = row["key"]
    if row["req_mode"] not in ("none", "OPTIONAL"):
        yield "missing", without(key)
        if row["req_mode"].startswith("AT_LEAST_ONE_OR"):
            yield "both missing", without(key, re.search(r"\((\w+)\)", row["req_mode"])[1])
    if row["req_mode"] == "EXACTLY_ONE":
        yield "twice", doubled(key)
        yield "twice otherwise", doubled(key, "other")
    if not key.endswith(("_start", "_stop", "_accuracy")) and key != "weights_initialization":
        for probe in PROBES:
            yield f"value {probe!r}", changed(key, probe)
    for name in ("epoch_num", "samples_count", "step_num", "first_epoch_num", "epoch_count", "status", "tensor", "method"):
        if name in row["every_occurrence"]:
            yield f"no {name}", unlabelled(key, name)
            yield f"{name} negative", labelled(key, name, -1)


def edits_of_target(kind):
    good, bad = passing(kind), failing(kind)
    key = "eval_accuracy"
    for name in good:
        one = {**good, name: bad[name]}
        yield key, f"{name} missed", changed_last(kind, one)
        yield key, f"{name} exactly met", changed_last(kind, {n: bound(kind, n) for n in good})
        yield key, f"{name} beyond", changed_last(kind, {**good, name: 1e6})
        yield key, f"{name} below", changed_last(kind, {**good, name: -1.0})
        yield key, f"{name} text", changed_last(kind, {**good, name: "high"})
        yield key, f"{name} true", changed_last(kind, {**good, name: True})
    yield key, "met at first", lambda records: changed_last(kind, bad)(records[::-1] and records)
    yield key, "after the run", after_the_run


def bound(kind, name):
    interval = kind.rules.target[name]
    return interval.low if interval.low is not None else interval.high


def edits_of_order(kind):
    minutes = load_round(kind.round).init_minutes[kind.division]
    for name, wanted in (("just within", minutes - 0.001), ("at the limit", minutes), ("over", minutes + 1)):
        yield "init_stop", f"init {name}", init_takes(wanted)
    for key, after in (("init_start", "init_stop"), ("init_start", "run_start"), ("init_stop", "run_start"),
                       ("run_start", "submission_org"), ("run_stop", "init_start"), ("block_start", "init_start"),
                       ("cache_clear", "run_stop"), ("eval_start", "init_start"), ("epoch_start", "run_stop"),
                       ("train_samples", "run_stop"), ("global_batch_size", "run_stop")):
        yield key, f"after {after}", moved(key, after)
    yield "run_stop", "aborted", labelled("run_stop", "status", "aborted")
    yield "eval_stop", "all missing", without("eval_start", "eval_stop")
    yield "eval_stop", "time runs back", stamped("eval_stop", 0)
    yield "submission_benchmark", "unknown", changed("submission_benchmark", "unheard_of")
    yield "submission_division", "spelled otherwise", changed("submission_division", "Closed")
    yield "block_start", "epoch gap", labelled("block_start", "first_epoch_num", 77)
    yield "epoch_start", "number 7", labelled("epoch_start", "epoch_num", 7)


@functools.lru_cache
def good(kind):
    return tuple(good_records(kind))


def compared(kind, folder, every=1):
    """(key, edit, official verdict, ours) of every edit of a kind of log, or of one in `every`."""
    path = folder / "result_0.txt"
    for key, name, edit in itertools.islice(edits(kind), None, None, every):
        records = list(good(kind))
        edit(records)
        write_log(path, records, kind.round)
        findings = judge_log(path, round_name=kind.round, level="official").findings
        ours = "fail" if any(finding.severity == "error" for finding in findings) else "pass"
        yield key, name, official.verdict(path, kind.round, kind.folder), ours


def disagree(theirs, ours):
    return (theirs == "pass") != (ours == "pass")


@functools.lru_cache
def documented():
    """The lines of the table of exceptions: (id, patterns of round, benchmark, division, key, edit)."""
    text = DOCUMENT.read_text().partition("<!-- exceptions -->")[2].partition("<!-- end of exceptions -->")[0]
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in text.splitlines() if line.startswith("| E")]
    return tuple((row[0], tuple(cell.strip("`") for cell in row[1:6])) for row in cells)


def explained(kind, key, name):
    """The exceptions that cover a difference."""
    words = (kind.round, kind.folder, kind.division, key, name)
    return [number for number, patterns in documented()
            if all(any(fnmatchcase(word, part) for part in pattern.split(", ")) for word, pattern in zip(words, patterns, strict=True))]


def differing(kinds_, folder, every=1):
    tally, unexplained, used = Counter(), [], Counter()
    for kind in kinds_:
        for key, name, theirs, ours in compared(kind, folder, every):
            tally[theirs.partition(":")[0]] += 1
            if disagree(theirs, ours):
                why = explained(kind, key, name)
                used.update(why)
                if not why:
                    unexplained.append((str(kind), key, name, theirs, ours))
    return tally, unexplained, used


def latest(folder):
    """The last round of a benchmark."""
    return [kind for name in CHECKED for kind in kinds(name) if kind.folder == folder and kind.division == "closed"][-1]


def test_the_same_verdicts_on_a_sample(tmp_path):
    """One round, the last, of every benchmark, and one edit in eleven."""
    tally, unexplained, _ = differing([latest(folder) for folder in FOLDERS], tmp_path, every=11)
    assert unexplained == []
    assert min(tally["pass"], tally["fail"]) > 30


@pytest.mark.parametrize("folder", FOLDERS)
def test_one_fault_has_one_root(tmp_path, folder):
    """Whatever else is said of a log with one edit follows from one finding, at either level."""
    kind, path, found = latest(folder), tmp_path / "result_0.txt", 0
    for key, name, edit in edits(kind):
        if not name.startswith("value") or name == "value 'nonsense'":
            records = list(good(kind))
            edit(records)
            write_log(path, records, kind.round)
            for level in ("rules", "official"):
                findings = judge_log(path, round_name=kind.round, level=level).findings
                errors = [finding for finding in findings if finding.severity == "error"]
                top = [finding.text() for finding in roots(findings) if finding.severity == "error"]
                assert len(top) == bool(errors), (key, name, level, top)
                found += bool(errors)
    assert found > 20


@pytest.mark.slow
def test_the_same_verdicts_on_every_row(tmp_path):
    tally, unexplained, used = differing([kind for name in CHECKED for kind in kinds(name)], tmp_path)
    assert unexplained == []
    assert sum(tally.values()) > 9000
    assert {number for number, _ in documented()} == set(used)


def test_the_table_of_exceptions_is_short_and_whole():
    assert 0 < len(documented()) <= 40
    assert len({number for number, _ in documented()}) == len(documented())


@pytest.mark.parametrize("name", CHECKED)
def test_good_logs_are_good_for_all(tmp_path, name):
    """Every benchmark and division: no findings at level "rules"; "official" and the official checker agree with it."""
    for place, kind in enumerate(kinds(name)):
        path = tmp_path / f"result_{place}.txt"
        write_by_our_writer(path, good(kind), name)
        assert [finding.text() for finding in judge_log(path, round_name=name).findings] == []
        if not explained(kind, "-", "none"):
            found = judge_log(path, round_name=name, level="official").findings
            passed = not any(finding.severity == "error" for finding in found)
            assert passed == (official.verdict(path, name, kind.folder) == "pass"), (str(kind), found)


def test_every_row_of_the_facts_has_its_logs():
    """No row of the tables is left out: each belongs to a kind of log."""
    known = {(kind.round, row["division"], row["benchmark"], row["key"]) for name in CHECKED for kind in kinds(name) for row in rows(kind)}
    missing = {(row["round"], row["division"], row["benchmark"], row["key"]) for row in facts.table("log_keys.csv")} - known
    suites = {name: {Kind(name, folder).rules.log_name for folder in load_round(name).benchmarks} for name in CHECKED}
    assert {row for row in missing if row[2].removesuffix("_lars").removesuffix("_sgd") in suites[row[0]]} == set()
