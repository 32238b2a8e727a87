"""Our rule data against the tables of facts extracted from the public rules, row by row, wherever these are at hand.

Constraints are compared by behaviour: the fact's text becomes a predicate here, and both judge the same probes.
"""

import itertools
import re
from collections import Counter
from functools import lru_cache

import pytest
from facts import ABSENT, FACTS, facts, predicate, table
from good_logs import SIZES, Kind, values

from laptime.rules.formula import FormulaError
from laptime.rules.load import by_log_name, identities, load_round, round_names
from laptime.rules.ranges import is_official

pytestmark = pytest.mark.skipif(not FACTS.is_dir(), reason=ABSENT)

OFFICIAL = tuple(name for name in round_names() if is_official(name))
CHECKED = OFFICIAL[1:]  # no checker exists for the first round
COUNTS = {"EXACTLY_ONE": "exactly_one", "AT_LEAST_ONE": "at_least_one", "AT_LEAST(2)": "at_least_two", "none": "optional",
          "OPTIONAL": "optional"}
NUMBERS = (-1, 0, 0.0, 1, 2, 2.0, 3, 4, 0.5, 1e-4, 2e-4, 4e-4, 3e-4, 5e-5, 1.25e-5, 0.1, 0.017, 0.02, 0.0175, 0.9, 0.94, 7.4,
           10.5, 16, 50, 64, 128.5, 256, 1000, 1500, 8192, 15360, 1.0, 1.5, 11996, 1199999, 0.95, 1e-8, 1e-5, 2e-5, 3e-5)
OTHERS = (True, False, "sgd", "lars", "adam", "adamw", "", "x", [], [30, 60], [40, 50], [44, 55], float("inf"))


def probes(*texts):
    """Values to ask both sides about: common ones, and every number and word that a constraint names."""
    words = {word for text in texts for word in re.findall(r"[0-9.]+(?:e-?[0-9]+)?", text) if re.fullmatch(r"[0-9.e-]+", word)}
    named = [float(word) for word in words if re.fullmatch(r"[0-9]+(\.[0-9]+)?(e-?[0-9]+)?", word)]
    allowed = [word for text in texts if text.startswith(("=", "in ")) for word in text.removeprefix("in ").strip("=").split("|")]
    return (*NUMBERS, *OTHERS, *named, *(number * 1.5 for number in named), *allowed)


def accepted(rules, value, names, metadata=None):
    names = {"global_batch_size": 2048, "opt_name": "-", **names, "metadata": metadata or {}, "occurrence": 1}
    return all(_accepted(rule, value, names) for rule in rules)


def _accepted(rule, value, names):
    try:
        return rule.constraint.violation(value, names) is None
    except FormulaError:
        return False


def assert_same_verdicts(rules, text, names, more=(), only=lambda value: True):
    """Both sides judge the same values, at several batch sizes."""
    judge = predicate(text)
    for batch in (names.get("global_batch_size", 2048), 8, 2048, 32768):
        at = {**names, "global_batch_size": batch}
        for value in filter(only, (*probes(text), *more)):
            assert accepted(rules, value, at, {"method": "truncate"}) == bool(judge(value, at)), (rules[0].key, text, value, batch)


def resnet(name):
    return load_round(name).benchmarks["resnet"]


def kind_of(row, division="closed"):
    """The kind of log that a row speaks of. `resnet_lars` is a file for one optimizer."""
    name, _, optimizer = row["benchmark"].removesuffix("_lars").removesuffix("_sgd"), "", row["benchmark"].rpartition("_")[2]
    optimizer = optimizer if optimizer in ("lars", "sgd") else row.get("optimizer", "any").partition("|")[0]
    rules = by_log_name(load_round(row["round"]), name)
    return rules and Kind(row["round"], rules.name, division, optimizer if rules.name == "resnet" else "")


@lru_cache(maxsize=4096)
def applying(kind, authority="checker"):
    names = {"opt_name": kind.optimizer or next(iter(words_of(kind)), "-")}
    return kind.rules.applying(kind.division, authority, names)


def words_of(kind):
    return [values(kind)["opt_name"]] if "opt_name" in values(kind) else []


def ours(name, authority, optimizer, division="closed"):
    """Our rules of one round of resnet by key: those of the benchmark, and what the closed common file adds."""
    by_key = {}
    for rule in resnet(name).applying(division, authority, {"opt_name": optimizer}):
        own = not rule.common and rule.key not in ("eval_accuracy", "weights_initialization")
        if own or rule.key == "gradient_accumulation_steps":
            by_key.setdefault(rule.key, []).append(rule)
    return by_key


@pytest.mark.parametrize("name", CHECKED)
def test_hyperparameters_of_the_checker(name):
    """Every row: as often as it says, in its division, the same values."""
    checked = 0
    for row in facts("hyperparameters.csv", round=[name]):
        if (name, row["benchmark"]) == ("v0.6", "resnet"):
            continue  # the test below
        division = "closed" if row["division"] == "any" else row["division"]
        kind = kind_of(row, division)
        rules = [rule for rule in applying(kind) if rule.key == row["key"] and rule.occurrences == "every"]
        assert Counter(rule.count for rule in rules if rule.count != "optional") == (
            {} if COUNTS[row["req_mode"]] == "optional" else {COUNTS[row["req_mode"]]: 1}), row
        assert {rule.division for rule in rules} <= {row["division"], "any"} or name == "v0.6", row
        assert_same_verdicts(rules, row["constraint"], values(kind) | {"global_batch_size": SIZES["global_batch_size"]})
        checked += 1
    assert checked == len(facts("hyperparameters.csv", round=[name])) - (13 if name == "v0.6" else 0) or name == "v0.6"


@pytest.mark.parametrize("division", ["closed", "open"])
def test_hyperparameters_of_the_first_checker(division):
    """v0.6: one file for both divisions and optimizers; a last test there pairs the optional keys with the optimizer."""
    rows = {row["key"]: row for row in facts("hyperparameters.csv", round=["v0.6"], benchmark=["resnet"])}
    lars, sgd = (ours("v0.6", "checker", optimizer, division) for optimizer in ("lars", "sgd"))
    assert lars.keys() | sgd.keys() == rows.keys()
    for key, row in rows.items():
        wanted = key in lars and any(rule.count == "exactly_one" for rule in lars[key])
        rules = [rule for rule in (lars if wanted else sgd)[key] if not rule.id.endswith("-pairing")]
        assert [rule.count for rule in rules] == ["exactly_one"]
        paired = row["required"] == "no"
        assert (rules[0].when is not None) == paired == any(rule.id == f"{key}-pairing" for rule in (sgd if wanted else lars).get(key, []))
        assert_same_verdicts(rules, row["constraint"], {})


# rules text: names that logs carry under another name, (family, name) -> key
KEYS = {
    "sequence_length": "max_sequence_length", "opt_init_checkpoint_step": "init_checkpoint_step",
    "data_train_speed_perturbation_max": "data_speed_perturbaton_max",
    "data_train_speed_perturbation_min": "data_speed_perturbaton_min",
}
FAMILIES = {"resnet50": "resnet", "ssd_resnet34": "ssd"}
NOT_LOGGED = "no key of the round carries it"
# rows of the rules text that our rules do not repeat, (family, name) -> why
UNSAID = {
    ("resnet50", "truncated norm initialization"): NOT_LOGGED,
    ("maskrcnn", "opt_learning_rate_decay_steps"): "two steps in one list, rounded: a formula that allows for rounding",
    ("maskrcnn", "num_image_candidates"): "the number of batches per chip is not logged",
    ("rnnt", "opt_gradient_accumulation_steps"): "the logs' gradient_accumulation_steps",
    ("rnnt", "model_weights_initialization_scale"): NOT_LOGGED,
    ("unet3d", "opt_learning_rate_warmup_steps"): "logged in epochs, opt_learning_rate_warmup_epochs",
    ("unet3d", "opt_initial_learning_rate"): NOT_LOGGED,
    ("unet3d", "opt_learning_rate_decay_steps"): "logged in epochs, opt_learning_rate_decay_boundary_epochs",
    ("unet3d", "training_oversampling"): "logged as oversampling",
    ("unet3d", "evaluation_overlap"): "logged as validation_overlap",
    ("unet3d", "evaluation_input_shape"): "logged as validation_input_shape",
    ("unet3d", "data_train_samples"): "logged as train_samples",
    ("unet3d", "data_eval_samples"): "logged as eval_samples",
    ("bert", "opt_epsilon"): "logged as opt_lamb_epsilon from v2.1 on",
    ("gpt3", "opt_base_learning_rate"): "a table of batch sizes: test_base_learning_rate_of_the_tables",
    ("llama31_405b", "opt_base_learning_rate"): "a table of batch sizes: test_base_learning_rate_of_the_tables",
    ("llama2_70b_lora", "sequence_length"): "8196 is a misprint for 8192, which the reference uses",
    ("llama2_70b_lora", "opt_weight_decay"): "logged as opt_adamw_weight_decay",
    ("llama2_70b_lora", "opt_learning_rate_warmup_ratio"): NOT_LOGGED,
}
SAID_ONCE = {("bert", "opt_epsilon", name) for name in ("v0.7", "v1.0", "v1.1", "v2.0")}


@pytest.mark.parametrize(("folder", "batch", "value", "right"), [
    ("gpt3", 1536, 2e-5, True), ("gpt3", 3072, 3e-5, False), ("gpt3", 3584, 2e-5, True), ("gpt3", 3584, 3e-5, True),
    ("gpt3", 4096, 2e-5, False), ("gpt3", 8192, 3e-5, True), ("llama31_405b", 1152, 8e-5, True),
    ("llama31_405b", 2304, 16e-5, True), ("llama31_405b", 9216, 64e-5, True), ("llama31_405b", 2304, 8e-5, False),
    ("llama31_405b", 1500, 0.00010417, True), ("llama31_405b", 1500, 0.000105, False)])
def test_base_learning_rate_of_the_tables(folder, batch, value, right):
    name = "v4.0" if folder == "gpt3" else "v6.0"
    rules = [rule for rule in applying(Kind(name, folder), "rules") if rule.key == "opt_base_learning_rate"]
    assert accepted(rules, value, {"global_batch_size": batch}) == right


@pytest.mark.parametrize("name", OFFICIAL[2:-1])
def test_hyperparameters_of_the_rules_text(name):
    """Every row is what level "rules" says, or stands in the list of those that it cannot say."""
    for row in facts("hyperparameters_rules_text.csv", round=[name]):
        if (row["family"], row["name"]) in UNSAID and (row["family"], row["name"], name) not in SAID_ONCE:
            continue
        folder = FAMILIES.get(row["family"], row["family"])
        for optimizer in row["optimizer"].split("|") if folder == "resnet" else [""]:
            kind = Kind(name, folder, "closed", optimizer)
            assert text_is_ours(kind, row), row


def text_is_ours(kind, row):
    setting = row["name"].replace(" ", "_")
    if setting in kind.rules.settings:
        return all((kind.rules.settings[setting].violation(value, {}) is None) == predicate(row["constraint"])(value, {})
                   for value in NUMBERS)
    key = KEYS.get(row["name"], row["name"])
    rules = [rule for rule in applying(kind, "rules") if rule.key == key and rule.occurrences == "every"]
    if not rules:
        return False
    if row["constraint"] == "expr equal to the reference":
        return True
    names = values(kind)
    return same_where_said(rules, row["constraint"], names | {"batch_size": names.get("global_batch_size")})


def same_where_said(rules, text, names):
    """Ours may ask more than the text (what the checker asks too), never less, and accepts something."""
    judge, found = predicate(text), 0
    for value in (*probes(text), *names.values()):
        ok = accepted(rules, value, names, {"method": "truncate"})
        if ok and not judge(value, names):
            return False
        found += ok
    return found > 0


METADATA = ("epoch_num", "epoch_count", "first_epoch_num", "step_num", "samples_count", "tensor", "status")
ORDER = re.compile("seen|less than|open|started|printed|logged|saved|equals|initi|expected|^metadata.epoch_num equals")
METRICS = {"maskrcnn": ["BBOX", "SEGM"], "stable_diffusion": ["FID", "CLIP"]}  # names in the logs


def metadata_predicate(text):
    """The fact table's test of a line's metadata. Order in time is no data here; the value's own test is elsewhere."""
    tests = []
    for clause in re.split(r"; ?", text):
        if match := re.fullmatch(r"metadata\.(\w+) or metadata\.(\w+) present", clause):
            tests.append(lambda m, a=match[1], b=match[2]: a in m or b in m)
        elif match := re.fullmatch(r"metadata\.(\w+) present", clause):
            tests.append(lambda m, a=match[1]: a in m)
        elif match := re.fullmatch(r"metadata\.(\w+) present when (\w+) is", clause):
            tests.append(lambda m, a=match[1], b=match[2]: b not in m or a in m)
        elif match := re.fullmatch(r"(?:metadata\.)?(\w+) (>=?) 0( when present)?", clause):
            least = 1 if match[2] == ">" else 0
            tests.append(lambda m, a=match[1], n=least, free=bool(match[3]): m[a] >= n if a in m else free)
        else:
            assert ORDER.search(clause) or re.search(r"value|^$|expr |^in |^=", clause), clause
    return lambda metadata: all(test(metadata) for test in tests)


@lru_cache
def metadata_probes():
    return tuple(_metadata_probes())


def _metadata_probes():
    for size in range(3):
        for names in itertools.combinations(METADATA, size):
            for value in (1, 0, -1):
                yield dict.fromkeys(names, value)


def log_key_rules(row):
    """Our rules that together say what a row of the table of log keys says, and a log's other values."""
    common = row["benchmark"] == "(common)"
    division = "closed" if row["division"] == "any" else row["division"]
    kind = Kind(row["round"], next(iter(load_round(row["round"]).benchmarks)), division) if common else kind_of(row, division)
    if kind is None:
        return None, {}
    rules = kind.rules.keys if common else applying(kind)
    return [rule for rule in rules if rule.key == row["key"] and rule.common == common and rule.occurrences == "every"
            and rule.authority != "rules" and rule.division in ("any", division)], values(kind) if not common else {}


@pytest.mark.parametrize("name", CHECKED)
def test_log_keys_of_the_checker(name):
    left_out = {row["benchmark"] for row in facts("log_keys.csv", round=[name]) if log_key_rules(row)[0] is None}
    assert left_out <= {"dlrm", "minigo", "bert"}  # files that a round ships for benchmarks it has no more
    for row in facts("log_keys.csv", round=[name]):
        rules, _ = log_key_rules(row)
        if rules is None or (name == "v0.6" and row["benchmark"] == "resnet"):
            continue
        alternative = re.fullmatch(r"AT_LEAST_ONE_OR\((\w+)\)", row["req_mode"])
        wanted = ("at_least_one", alternative[1]) if alternative else (COUNTS[row["req_mode"]], "")
        if wanted[0] == "optional" or (name == "v0.6" and row["benchmark"] == "minigo" and not rules):
            continue
        assert [(rule.count, rule.or_key) for rule in rules if rule.count != "optional"] == [wanted], row
        if name != "v0.6" and "metadata" in row["every_occurrence"] and not re.search("value|expr|equals", row["every_occurrence"]):
            wants = metadata_predicate(row["every_occurrence"])
            assert all(accepted(rules, 1, {}, probe) == wants(probe) for probe in metadata_probes()), row


@pytest.mark.parametrize("name", CHECKED)
def test_nothing_is_asked_that_the_checker_does_not_ask(name):
    said = {}
    for row in facts("log_keys.csv", round=[name]):
        kind = None if row["benchmark"] == "(common)" else kind_of(row)
        for division in ("closed", "open") if row["division"] == "any" else (row["division"],):
            said.setdefault((kind.folder if kind else "", division), set()).add(row["key"])
    for folder, rules in load_round(name).benchmarks.items():
        for division in ("closed", "open"):
            asked = {rule.key for rule in rules.keys if rule.authority != "rules" and rule.division in ("any", division)}
            assert asked <= said.get((folder, division), set()) | said[("", division)] | {"submission_benchmark"}, (folder, division)


@pytest.mark.parametrize("name", CHECKED)
def test_words_of_submission_keys(name):
    round_ = load_round(name)
    some = next(iter(round_.benchmarks.values()))
    one_of = {rule.key: set(rule.constraint.one_of) for rule in some.keys if rule.common}
    for row in facts("log_keys.csv", round=[name], benchmark=["(common)"]):
        if row["every_occurrence"].startswith("in "):
            allowed = set(row["every_occurrence"].removeprefix("in ").split("|"))
            if row["key"] == "submission_benchmark":  # the checker's lists also keep names that a round had dropped
                assert one_of[row["key"]] - {"minigo", "llama2_70b_lora"} <= allowed
                assert one_of[row["key"]] == set(round_.suite)
            else:
                assert one_of[row["key"]] == allowed


@pytest.mark.parametrize("name", CHECKED)
def test_initialisation_minutes_are_those_of_the_checker(name):
    (row,) = [row for row in facts("log_keys.csv", round=[name], benchmark=["(common)"]) if row["key"] == "init_stop"]
    minutes = [float(text) for text in re.findall(r"(\d+) min", row["every_occurrence"])]
    assert load_round(name).init_minutes == {"closed": minutes[0], "open": minutes[-1]}


@pytest.mark.parametrize("name", CHECKED)
def test_targets_of_the_checker(name):
    """The words of each test of at least one line, as bounds, accept the same evaluations as our rules."""
    checked = 0
    for row in facts("log_keys.csv", round=[name]):
        kind = None if row["benchmark"] == "(common)" else kind_of(row, row["division"])
        if not row["at_least_one_occurrence"] or kind is None:
            continue
        rules = [rule for rule in applying(kind) if rule.key == row["key"] and rule.occurrences == "any"]
        assert rules, row
        for value, names in target_probes(row):
            wanted = at_least_one(row["at_least_one_occurrence"])({**names, "v": value, **(value if isinstance(value, dict) else {})})
            assert accepted(rules, value, names) == wanted, (row, value, names)
        checked += 1
    assert checked or name == "v0.6"


def target_probes(row):
    text = row["at_least_one_occurrence"]
    bounds = [float(word) for word in re.findall(r"[0-9]+\.?[0-9]*", text)] + [0.69]
    near = sorted({value + step for value in bounds for step in (-1e-4, 0.0, 1e-4)})
    for batch in (64, 8192):
        for value in near:
            if "BBOX" in text or "FID" in text:
                first, second = ("BBOX", "SEGM") if "BBOX" in text else ("FID", "CLIP")
                yield from (({first: value, second: other}, {"global_batch_size": batch}) for other in near)
            else:
                yield value, {"global_batch_size": batch}


def at_least_one(text):
    assert re.fullmatch(r"[\w\s().<>=]+", text)  # bounds of our own tables
    code = compile(text, "fact", "eval")
    return lambda names: bool(eval(code, {"__builtins__": {}}, {"target_accuracy": 0.69, **names}))


UNITS = {  # the table says how a fraction is counted, we name the unit
    "1 + fraction of the epoch": "epochs", "fraction of an epoch": "epochs", "epochs (no RCP check)": "epochs",
}
SAMPLES = {("v3.1", "unet3d"), ("v4.0", "unet3d")}  # the table says epochs, but its own convergence values are samples
SCALES = {("v0.7", "gnmt"): 100, ("v0.7", "transformer"): 100}  # rules in BLEU points, logs in BLEU / 100


def rows_of_rounds():
    rows = facts("rounds.csv") if FACTS.is_dir() else []
    return [pytest.param(row, id=f"{row['round']}-{row['benchmark']}") for row in rows]


def test_table_of_rounds_is_whole():
    assert len(facts("rounds.csv")) == 113
    assert {row["round"] for row in facts("rounds.csv")} == set(OFFICIAL)


@pytest.mark.parametrize("row", rows_of_rounds())
def test_row_of_the_table_of_rounds(row):
    place = row["round"], row["benchmark"]
    rules = by_log_name(load_round(row["round"]), row["benchmark"])
    assert (rules.title, rules.area, rules.dataset, rules.model, rules.metric) == (
        row["problem"], row["area"], row["dataset"], row["model"], row["metric"])
    values = [float(value) / SCALES.get(place, 1) for value in row["target"].split(";")]
    directions = row["direction"].split(";")
    names = METRICS.get(row["benchmark"], ["eval_accuracy"])
    wanted = [f"{directions[at % len(directions)]} {value:g}" for at, value in enumerate(values)]
    assert {name: str(interval) for name, interval in rules.target.items()} == dict(zip(names, wanted, strict=True))
    unit = "samples" if place in SAMPLES else UNITS.get(row["convergence_unit"], row["convergence_unit"])
    assert (rules.first_converged or rules.runs, rules.drop, rules.drop, rules.convergence_unit) == (
        int(row["min_runs"]), int(row["drop_low"]), int(row["drop_high"]), unit)
    rounds = {identity.folder: identity.rounds for identity in identities()}[rules.name]
    assert [known for known in rounds if is_official(known)][-1] == row["latest_round"]


@pytest.mark.parametrize("name", OFFICIAL)
def test_entries_name_no_other_round(name):
    """A benchmark folder has an entry for a round exactly where the round's table has the benchmark."""
    entries = {identity.folder for identity in identities() if name in identity.rounds}
    assert entries == set(load_round(name).suite.values())


@pytest.mark.parametrize("name", OFFICIAL)
def test_suite_of_the_round(name):
    assert list(load_round(name).suite) == [row["benchmark"] for row in facts("rounds.csv", round=[name])]


def test_folders_are_families():
    """One folder per family and one family per folder, whatever the logs of a round call it."""
    pairs = {(load_round(row["round"]).suite[row["benchmark"]], row["family"]) for row in facts("rounds.csv", round=OFFICIAL)}
    assert len(pairs) == len({folder for folder, _ in pairs}) == len({family for _, family in pairs})


@pytest.mark.parametrize("name", OFFICIAL)
def test_reference_points(name):
    checked = 0
    for folder, rules in load_round(name).benchmarks.items():
        wanted = {row["rcp_name"]: row for row in facts("rcp.csv", round=[name], benchmark=[rules.log_name])}
        found = {point.name: point for point in rules.references}
        assert found.keys() == wanted.keys(), folder
        for point_name, row in wanted.items():
            point = found[point_name]
            assert (point.batch_size, point.unit) == (int(row["batch_size"]), UNITS.get(row["unit"], row["unit"]))
            assert list(point.values) == [float(value) for value in row["values"].split()]
            assert dict(point.hyperparameters) == dict(pair.partition("=")[::2] for pair in row["hyperparameters"].split(";") if pair)
            checked += 1
    assert load_round(name).rcp_check == bool(checked)


def test_every_reference_point_belongs_to_a_benchmark():
    held = {(name, point.name) for name in OFFICIAL for rules in load_round(name).benchmarks.values() for point in rules.references}
    left_out = [row for row in table("rcp.csv") if (row["round"], row["rcp_name"]) not in held]
    assert {(row["round"], row["benchmark"]) for row in left_out} == {("v5.1", "bert")}  # left behind in a round without it


@pytest.mark.parametrize("name", OFFICIAL)
def test_initialised_tensors(name):
    for rules in load_round(name).benchmarks.values():
        wanted = [row["tensor"] for row in facts("weights_initialization.csv", benchmark=[rules.log_name])
                  if name in row["rounds"].split()]
        assert Counter(rules.tensors) == Counter(wanted)
        assert not wanted or "weights_initialization" in load_round(name).vocabulary
