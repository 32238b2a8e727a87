"""A complete, converged log of any benchmark in any round since v0.6, made from the rules of the round alone.

Values of keys are found by trying: the first candidate that every rule of the key accepts. Nothing here knows a
benchmark by name, except for sizes that its rules do not name (`GIVEN`).
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import count

from laptime.log.record import Record
from laptime.log.write import LogWriter, format_line
from laptime.rules.formula import FormulaError
from laptime.rules.load import load_round, round_names
from laptime.rules.ranges import is_official

CHECKED = tuple(name for name in round_names() if is_official(name))[1:]  # no checker exists for the first round
STEP_MS = 1000
GIVEN = {  # batch sizes at which every formula has a value, and training sets that fractions of an epoch refer to
    "gpt3": {"global_batch_size": 2048}, "llama31_405b": {"global_batch_size": 1152},
    "deepseekv3_671b": {"global_batch_size": 16384}, "qwen35_397b_grpo": {"global_batch_size": 256, "num_prompts_per_step": 16},
    "maskrcnn": {"global_batch_size": 16}, "unet3d": {"global_batch_size": 56},
    "dlrm": {"train_samples": 4195197692, "global_batch_size": 32768},
    "dlrm_dcnv2": {"train_samples": 4195197692, "global_batch_size": 32768},
    "rgat": {"train_samples": 94605581, "global_batch_size": 4096}, "bert": {"global_batch_size": 448},
}
SIZES = {"train_samples": 1_000_000, "eval_samples": 5000, "global_batch_size": 16}
PLAIN = (1, 0.5, 0.9, 2, 16, 0.1, 0.0001, 0, 0.01, 8192, 15360, 1024, True, False, "text", [60000, 80000], [40, 50], [1])


@dataclass(frozen=True)
class Kind:
    """What a log is of."""

    round: str
    folder: str
    division: str = "closed"
    optimizer: str = ""

    @property
    def rules(self):
        return load_round(self.round).benchmarks[self.folder]

    def __str__(self):
        return "-".join(part for part in (self.round, self.folder, self.division, self.optimizer) if part)


@lru_cache
def kinds(round_name):
    """Every (benchmark, division, optimizer) of a round; two optimizers where the keys depend on it."""
    found = []
    for folder, rules in load_round(round_name).benchmarks.items():
        for division in ("closed", "open"):
            apart = any(rule.when and "opt_name" in rule.when.names() and rule.division in ("any", division)
                        for rule in rules.keys)
            found += [Kind(round_name, folder, division, name) for name in (("lars", "sgd") if apart else ("",))]
    return tuple(found)


def good_records(kind):
    """The records of the log, one second apart."""
    return [record(key, value, time, metadata)
            for (key, value, metadata), time in zip(_lines(kind), count(1_700_000_000_000, STEP_MS))]


def record(key, value, time_ms, metadata):
    ends = {"start": "INTERVAL_START", "stop": "INTERVAL_END"}
    kind = ends.get(key.rpartition("_")[2], "POINT_IN_TIME")
    return Record(key, value, time_ms, kind, {"file": "run.py", "lineno": 10, **metadata})


def write_log(path, records, round_name):
    dialect = load_round(round_name).dialect
    path.write_text("".join(format_line(each, dialect) + "\n" for each in records))
    return path


def write_by_our_writer(path, records, round_name):
    """The same through the writer of runs, which brings every line to the disk."""
    with LogWriter(path, load_round(round_name).dialect) as writer:
        for each in records:
            writer.write(each)
    return path


@lru_cache(maxsize=1024)
def values(kind):
    """Key -> value of every key that the log needs, in log order; structure apart."""
    rules, round_ = kind.rules, load_round(kind.round)
    structure = {round_.vocabulary[moment] for moment in round_.vocabulary
                 if moment.rpartition("_")[2] in ("start", "stop", "accuracy")} | {"weights_initialization"}
    names = SIZES | GIVEN.get(kind.folder, {})
    if kind.optimizer:
        names["opt_name"] = kind.optimizer
    found = {}
    for rule in rules.keys:
        asked = [each for each in rules.applying(kind.division, "both", names | found) if each.key == rule.key]
        if rule.key in found or rule.key in structure or rule.key.startswith("aggregated_") or rule.or_key \
                or not _wanted(rule, asked):
            continue
        if any("metadata." in str(each.constraint.formula) or "in metadata" in str(each.constraint.formula)
               for each in asked) and rule.key not in ("max_sequence_length", "data_train_max_duration"):
            asked = [each for each in asked if not each.constraint.formula]
        found[rule.key] = _value(rule.key, asked, names | found, names)
        names.setdefault(rule.name, found[rule.key])
    return found


def _wanted(rule, asked):
    """Keys that must be logged, and optional ones that every benchmark of the round may log."""
    free = rule.common and rule.count == "optional" and rule.authority == "both" and not rule.id.startswith("cache")
    return free or any(each.count in ("exactly_one", "at_least_one") for each in asked)


def _value(key, rules, names, given):
    for candidate in (*([given[key]] if key in given else ()), *_candidates(key, rules, names)):
        if all(_accepts(rule, candidate, names) for rule in rules):
            return candidate
    raise AssertionError(f"no value found for {key}: {[str(rule.constraint) for rule in rules]}")


def _accepts(rule, value, names):
    try:
        return rule.constraint.violation(value, {**names, "metadata": {"method": "truncate"}, "occurrence": 1}) is None
    except FormulaError:
        return False


def _candidates(key, rules, names):
    for rule in rules:
        it = rule.constraint
        yield from it.one_of
        for bound, step in ((it.equals, 0), (it.at_least, 0), (it.at_most, 0), (it.above, 1), (it.below, -1)):
            if bound is not None:
                yield bound + step if step else bound
    if key.startswith("submission_"):
        yield "acme"
    yield from PLAIN
    batch, warmup, base = (names.get(name, 1) for name in (
        "global_batch_size", "opt_learning_rate_warmup_steps", "opt_base_learning_rate"))
    if not all(isinstance(number, int | float) for number in (batch, warmup, base)):
        return
    yield from (math.ceil(1200000 * 1152 / batch) - math.ceil(8000 * 1152 / batch), 1200000 - warmup, 12000 - warmup,
                math.ceil(108600 * 1536 / batch), math.ceil(265 * 1536 / batch), math.ceil(8000 * 1152 / batch),
                math.ceil(4000 * 1536 / batch), 8e-5 * batch / 1152, 2.4e-5 * math.sqrt(batch / 16384),
                1e-6 * math.sqrt(batch / 256), 0.125 * math.sqrt(256 / batch),
                0.1 * base, 2e-5, 3e-5, batch // 16)


def evaluation_points(rules, names):
    """(samples or epochs, position) of the first two prescribed evaluations."""
    first = [point.value(names) for point in rules.evaluations.points]
    if rules.evaluations.step is not None and len(first) < 2:
        first.append(first[-1] + rules.evaluations.step.value(names))
    batch, found = names.get("global_batch_size", 1), []
    for point in first[:2]:
        samples = math.ceil(point / batch) * batch
        at = {"epoch": point if rules.evaluations.unit == "epochs" else math.ceil(samples / names["samples_per_epoch"]),
              "samples": samples, "step": samples // batch}
        found.append((point, rules.position.value.value(names | at)))
    return found


def passing(kind):
    """A value per metric that meets the target, and whatever an open division's test asks for beside it."""
    rules = [rule for rule in kind.rules.applying(kind.division, "checker", {"global_batch_size": 1})
             if rule.occurrences == "any" and rule.key.endswith("eval_accuracy")]
    near = {name: interval.low if interval.low is not None else interval.high * 0.9999
            for name, interval in kind.rules.target.items()}
    for each in (near, {name: value * 1.001 for name, value in near.items()}, dict.fromkeys(near, 0.9)):
        value = each if len(each) > 1 else each.get("eval_accuracy")
        if all(_accepts(rule, value, {"global_batch_size": 1, "target_accuracy": 0.69}) for rule in rules):
            return each
    raise AssertionError(f"no passing value for {kind}")


def failing(kind):
    return {name: interval.low * 0.9 if interval.low is not None else interval.high * 1.1
            for name, interval in kind.rules.target.items()}


def _lines(kind):
    round_, rules, logged = load_round(kind.round), kind.rules, values(kind)
    say = _Log(round_)
    opening = ("cache_clear", *(f"submission_{name}" for name in ("org", "platform", "poc_name", "entry", "division",
                                                                   "status", "benchmark")))
    fixed = {"submission_division": kind.division, "submission_benchmark": rules.log_name, "cache_clear": True}
    for moment in opening:
        say(moment, fixed.get(moment, logged.get(moment, "acme")))
    say("init_start")
    for key, value in logged.items():
        if key not in opening and key not in ("save_model", "eval_result"):
            more = {"method": "truncate"} if key in ("max_sequence_length", "data_train_max_duration") else {}
            say.raw(key, value, **more, **({"samples_count": 1} if key == "averaged_validation_loss" else {}))
    for name, value in ({"seed": 7} | SIZES).items():
        if name != "global_batch_size" and round_.vocabulary.get(name) not in logged:
            say(name, value)
    for tensor in rules.tensors if kind.division == "closed" else ():
        say.raw("weights_initialization", tensor=tensor)
    say("init_stop")
    say("run_start")
    _train(say, kind, logged)
    say("run_stop", status="success")
    return say.lines


class _Log:
    """Lines under the round's names; a moment that the round does not log is left out."""

    def __init__(self, round_):
        self.round, self.lines = round_, []

    def __call__(self, moment, value=None, **metadata):
        if moment in self.round.vocabulary:
            self.raw(self.round.vocabulary[moment], value, **metadata)

    def raw(self, key, value=None, **metadata):
        self.lines.append((key, value, metadata))


def _train(say, kind, logged):
    rules, round_ = kind.rules, say.round
    names = {**{rule.name: logged[rule.key] for rule in rules.keys if rule.key in logged}, "evaluation_offset": 0,
             "max_sequence_length": 2048, **SIZES, **GIVEN.get(kind.folder, {}), **logged}
    size = names["train_samples"]
    names["samples_per_epoch"] = size // names["global_batch_size"] * names["global_batch_size"]
    key, begun = rules.position.key, 0
    whole = key == "epoch_num" and str(rules.position.value) == "epoch"
    for number, (_, place) in enumerate(evaluation_points(rules, names)):
        point = int(place) if whole else place
        at = {key: place}
        if whole:
            block = {"first_epoch_num": begun + round_.first_epoch, "epoch_count": point - begun}
        else:
            block = {key: begun} if key != "epoch_num" else {"first_epoch_num": number + 1, "epoch_count": 1}
        say("block_start", **block)
        for epoch in range(begun + 1, point + 1) if whole and round_.strict_structure else range(1, 2 - number):
            say("epoch_start", epoch_num=epoch - 1 + round_.first_epoch)
            if "save_model" in logged:
                say.raw("save_model", {"iteration": epoch})
            say("epoch_stop", epoch_num=epoch - 1 + round_.first_epoch)
        say("block_stop", **{name: value for name, value in block.items() if name != "epoch_count"})
        say("eval_start", **at)
        _accuracies(say, kind, at, passing(kind) if number else failing(kind))
        say("eval_stop", **at)
        begun = point
    if "eval_result" in logged:
        start = next(place for place, line in enumerate(say.lines) if line[0] == "run_start")
        saved = [place for place, line in enumerate(say.lines) if line[0] == "save_model"]
        say.raw("eval_result", None, iteration=2, timestamp=(saved[-1] - start) * STEP_MS / 1000)


def _accuracies(say, kind, at, found):
    rules, more = kind.rules, {}
    asked = [str(rule.constraint.formula) for rule in rules.applying(kind.division, "both", {})
             if rule.key.endswith("eval_accuracy")]
    if "epoch_num" not in at and "'epoch_num' in metadata" in asked:
        more["epoch_num"] = 1  # what some open divisions ask for beside the position
    if rules.metric_key:
        for name, value in found.items():
            say("eval_accuracy", value, **at, **more, **{rules.metric_key: name})
    else:
        value = dict(found) if len(found) > 1 else next(iter(found.values()))
        say("eval_accuracy", value, **at, **more)
