"""What the official checker does otherwise than the text of the rules, in words, by rule of the catalogue or log key.

Log format facts, section 5; facts on submission packages, sections 4 to 6; facts on reference points, section 10. The
level "official" judges with these quirks, the level "rules" without them.
"""

from collections.abc import Mapping

_UNTESTED = "does not test this from the third round on"

QUIRKS: Mapping[str, str] = {
    "run-status": "a run with status aborted passes; success is judged by the evaluations alone, and only in the "
                  "second round the status itself is tested",
    "target-missed": "one evaluation anywhere in the file that meets the target is enough, even one after run_stop",
    "stopped-late": "does not look at when the target was first met",
    "interval-pairs": _UNTESTED, "interval-nesting": _UNTESTED, "eval-overlap": _UNTESTED,
    "eval-outside": "evaluations need not be logged as intervals where blocks are",
    "epoch-numbers": "numbers of epochs may have gaps", "block-numbers": "numbers of blocks may have gaps",
    "eval-position": "positions may go back",
    "eval-missing": "does not test how often a run evaluates, but for a few benchmarks of the latest round",
    "eval-extra": "does not test how often a run evaluates",
    "event-type": "takes any event type", "time-order": "time stamps may run backwards",
    "cache-order": "caches may be cleared after the run", "cache_clear": "any value is taken, even false",
    "late-key": "hyperparameters may be logged after run_stop",
    "key-on-clock": "hyperparameters may be logged at any time",
    "init-limit": "exactly the limit fails: the test is 'less than'; a longer allowance of one benchmark in one round "
                  "is not known to it",
    "clock-start": "does not compare run_start with the allowance",
    "clock-order": "goes by the order of lines in the file, not by their time stamps",
    "log-grammar": "one line that cannot be read fails the file; a line without key, value, time or metadata ends the "
                   "checker with a crash instead of a message",
    "log-odd": "reads only the last token of a line of the file",
    "log-dialect": "sees no lines in a log of another dialect and reports every key as missing",
    "tensors": "in the first round with such lists a difference was a warning at the time",
    "seed-missing": "the seed checker is a program apart, for the closed division",
    "seed-repeated": "compares file, line and value as they are logged; values alone may agree",
    "seed-twice": "a second line with the same seed counts as another run with that seed",
    "run-count": "runs that do not comply are counted, up to the droppable ones",
    "too-many-failures": "forgives one run with any error at all, not only one that missed its target",
    "convergence-check": "compares batch sizes only, never the hyperparameters, with those of the reference points",
    "scaling-file": "deletes a scaling file whose factor it does not compute itself",
    "scaling-differs": "reads the scaling file before its own convergence check rewrites it",
    "benchmark-unknown": "ends with a crash for a name it does not know",
    "submission_division": "compared letter by letter: 'Closed' is not closed; only the first line is looked at",
    "submission_org": "only the first line is looked at; one round does not ask for it, apparently by accident",
    "submission_platform": "only the first line is looked at; one round does not ask for it, apparently by accident",
    "submission_status": "only the first line is looked at",
    "submission_benchmark": "only the first line is looked at",
    "global_batch_size": "must be logged before the values that are computed from it, or the checker stops",
}


def quirk_of(rule: str, key: str = "") -> str:
    """The quirk about a rule: by its id, or by its log key, which the id of a key rule begins with; "" for none."""
    return QUIRKS.get(rule) or QUIRKS.get(key or rule.partition("-")[0], "")
