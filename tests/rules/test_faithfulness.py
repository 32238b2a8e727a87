"""Our rule data against the tables of facts extracted from the public rules, row by row, wherever these are at hand.

Constraints are compared by behaviour: the fact's text becomes a predicate here, and both judge the same probes.
"""

import csv
import itertools
import math
import re
from collections import Counter
from pathlib import Path

import pytest

from laptime.rules.load import by_log_name, identities, load_round, round_names
from laptime.rules.ranges import is_official

FACTS = Path(__file__).resolve().parents[3] / "shared" / "facts" / "rules"
pytestmark = pytest.mark.skipif(not FACTS.is_dir(), reason="the tables of facts (../shared/facts/rules) are not at hand")

OFFICIAL = tuple(name for name in round_names() if is_official(name))
CHECKED = OFFICIAL[1:]  # no checker exists for the first round
RESNET = tuple(name for name in OFFICIAL if "resnet" in load_round(name).suite)
TABLED = RESNET[2:]  # hyperparameter tables of the rules text
COUNTS = {"EXACTLY_ONE": "exactly_one", "AT_LEAST_ONE": "at_least_one", "none": "optional"}
PROBES = (-1, 0, 0.0, 1, 2, 2.0, 3, 0.5, 1e-4, 2e-4, 4e-4, 3e-4, 5e-5, 1.25e-5, 0.1, 0.017, 0.0175, 0.9, 0.94, 7.4, 10.5, 64, 128.5,
          0.759, 0.7589, 1.0, 1.5, "sgd", "lars", "adam", "", "x", [], [30, 60])


def facts(name, **where):
    with (FACTS / name).open(newline="") as file:
        return [row for row in csv.DictReader(file) if all(row[key] in values for key, values in where.items())]


def resnet(name):
    return load_round(name).benchmarks["resnet"]


def number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def near_integer(value):
    return abs(value - round(value)) <= 1e-5


EXPRESSIONS = {
    "v > 0": lambda v, gbs: number(v) and v > 0,
    "v >= 0": lambda v, gbs: number(v) and v >= 0,
    "v is a non-empty list": lambda v, gbs: isinstance(v, list) and len(v) > 0,
    "v is not the empty string": lambda v, gbs: v != "",
    "log2(v/0.0001) is an integer": lambda v, gbs: number(v) and v > 0 and near_integer(math.log2(v / 0.0001)),
    "v/0.001 is an integer": lambda v, gbs: number(v) and near_integer(v / 0.001),
    "v is an integer and v >= 0": lambda v, gbs: number(v) and near_integer(v) and v >= 0,
    "v == 0.9 if global_batch_size < 32768 else any": lambda v, gbs: gbs >= 32768 or (number(v) and v == 0.9),
}


def predicate(text):
    """The fact table's constraint as a function of (value, global batch size)."""
    if text in ("any", ""):
        return lambda v, gbs: True
    if text.startswith("="):
        return lambda v, gbs: number(v) and v == float(text[1:])
    if text.startswith("in "):
        allowed = text[3:].split("|")
        return lambda v, gbs: v in allowed or (number(v) and v in [float(a) for a in allowed if re.fullmatch(r"[0-9.]+", a)])
    return EXPRESSIONS[text.removeprefix("expr ").replace(" (within 1e-5)", "")]


def accepted(rules, value, gbs, metadata=None):
    names = {"global_batch_size": gbs, "opt_name": "-", "metadata": metadata or {}}
    return all(rule.constraint.violation(value, names) is None for rule in rules)


def assert_same_verdicts(rules, text, probes=PROBES):
    for value, gbs in itertools.product(probes, (2048, 32768)):
        assert accepted(rules, value, gbs) == predicate(text)(value, gbs), (rules[0].key, text, value, gbs)


def ours(name, authority, optimizer, division="closed"):
    """Our rules of one round by key: those of the benchmark, and what the closed common file of the checker adds."""
    by_key = {}
    for rule in resnet(name).applying(division, authority, {"opt_name": optimizer}):
        own = not rule.common and rule.key not in ("eval_accuracy", "weights_initialization")
        if own or rule.key == "gradient_accumulation_steps":
            by_key.setdefault(rule.key, []).append(rule)
    return by_key


@pytest.mark.parametrize("optimizer", ["lars", "sgd"])
@pytest.mark.parametrize("name", TABLED)
def test_hyperparameters_of_the_checker(name, optimizer):
    rows = {row["key"]: row for row in facts("hyperparameters.csv", round=[name], benchmark=["resnet"], optimizer=[optimizer])}
    found = ours(name, "checker", optimizer)
    assert found.keys() == rows.keys()
    for key, row in rows.items():
        assert Counter(rule.count for rule in found[key] if rule.count != "optional") == {COUNTS[row["req_mode"]]: 1}
        assert {rule.division for rule in found[key]} == {row["division"]}
        assert_same_verdicts(found[key], row["constraint"])


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
        assert_same_verdicts(rules, row["constraint"])


@pytest.mark.parametrize("optimizer", ["lars", "sgd"])
@pytest.mark.parametrize("name", TABLED)
def test_hyperparameters_of_the_rules_text(name, optimizer):
    rows = {row["name"]: row["constraint"] for row in facts("hyperparameters_rules_text.csv", round=[name], family=["resnet50"])
            if optimizer in row["optimizer"].split("|")}
    found = ours(name, "rules", optimizer)
    smoothing = resnet(name).settings["label_smoothing"]
    assert all((smoothing.violation(v, {}) is None) == predicate(rows["label smoothing"])(v, 0) for v in PROBES)
    logged = rows.keys() - {"label smoothing", "truncated norm initialization"}  # these two are never logged
    assert found.keys() - {"gradient_accumulation_steps"} == logged
    for key in logged:
        if rows[key] == "expr equal to the reference":
            assert any(rule.constraint.equals is not None for rule in found[key])
        else:  # a batch size is positive, which the table does not spell out
            assert_same_verdicts(found[key], rows[key], [v for v in PROBES if key != "global_batch_size" or (number(v) and v > 0)])


METADATA = ("epoch_num", "epoch_count", "first_epoch_num", "step_num", "samples_count", "tensor", "status")


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
            assert re.search(r"seen|less than|value field|^$|expr |^in |^=", clause), clause
    return lambda metadata: all(test(metadata) for test in tests)


def metadata_probes():
    for size in range(4):
        for names in itertools.combinations(METADATA, size):
            for value in (1, 0, -1):
                yield dict.fromkeys(names, value)


def log_key_rules(name, row):
    """Our rules that together say what a row of the table of log keys says."""
    common = row["benchmark"] == "(common)"
    optimizer = row["benchmark"].partition("_")[2] or "lars"
    division = "closed" if row["division"] == "any" else row["division"]
    rules = resnet(name).keys if common else resnet(name).applying(division, "checker", {"opt_name": optimizer})
    return [rule for rule in rules if rule.key == row["key"] and rule.common == common and rule.occurrences == "every"
            and rule.authority != "rules"]


@pytest.mark.parametrize("name", TABLED)
def test_log_keys_of_the_checker(name):
    rows = facts("log_keys.csv", round=[name], benchmark=["(common)", "resnet", "resnet_lars", "resnet_sgd"])
    for row in rows:
        rules = log_key_rules(name, row)
        alternative = re.fullmatch(r"AT_LEAST_ONE_OR\((\w+)\)", row["req_mode"])
        wanted = ("at_least_one", alternative[1]) if alternative else (COUNTS[row["req_mode"]], "")
        assert [(rule.count, rule.or_key) for rule in rules if rule.count != "optional"] == [wanted], row
        if not row["every_occurrence"].startswith(("in ", "=", "expr")):
            wants = metadata_predicate(row["every_occurrence"])
            assert all(accepted(rules, 1, 2048, probe) == wants(probe) for probe in metadata_probes()), row
    said = {row["key"] for row in rows}
    asked = {rule.key for rule in resnet(name).keys if rule.count != "optional" and rule.authority != "rules"}
    assert asked == said


def test_log_keys_of_the_first_checker():
    rows = facts("log_keys.csv", round=["v0.6"], benchmark=["(common)"])
    for row in rows:
        assert [rule.count for rule in log_key_rules("v0.6", row) if rule.count != "optional"] == [COUNTS[row["req_mode"]]], row
    common = {rule.key for rule in resnet("v0.6").keys if rule.common and rule.authority != "rules"}
    assert common == {row["key"] for row in rows}


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


@pytest.mark.parametrize("division", ["closed", "open"])
@pytest.mark.parametrize("name", TABLED)
def test_target_of_the_checker(name, division):
    (row,) = [row for row in facts("log_keys.csv", round=[name], benchmark=["resnet"], division=[division]) if row["key"] == "eval_accuracy"]
    (rule,) = [rule for rule in resnet(name).applying(division, "checker", {}) if rule.key == "eval_accuracy" and rule.occurrences == "any"]
    low = re.search(r"v >= ([0-9.]+)", row["at_least_one_occurrence"])
    high = re.search(r"v < ([0-9.]+)", row["at_least_one_occurrence"])
    assert (rule.constraint.at_least, rule.constraint.below) == (float(low[1]) if low else None, float(high[1]))


UNITS = {  # the table says how a fraction is counted, we name the unit
    "1 + fraction of the epoch": "epochs", "fraction of an epoch": "epochs", "epochs (no RCP check)": "epochs",
}
SAMPLES = {("v3.1", "unet3d"), ("v4.0", "unet3d")}  # the table says epochs, but its own convergence values are samples
SCALES = {("v0.7", "gnmt"): 100, ("v0.7", "transformer"): 100}  # rules in BLEU points, logs in BLEU / 100
METRICS = {"maskrcnn": ["BBOX", "SEGM"], "stable_diffusion": ["FID", "CLIP"]}  # names in the logs


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


@pytest.mark.parametrize("name", RESNET)
def test_reference_points(name):
    wanted = {row["rcp_name"]: row for row in facts("rcp.csv", round=[name], benchmark=["resnet"])}
    found = {point.name: point for point in resnet(name).references}
    assert found.keys() == wanted.keys()
    for point_name, row in wanted.items():
        point = found[point_name]
        assert (point.batch_size, point.unit) == (int(row["batch_size"]), row["unit"])
        assert list(point.values) == [float(value) for value in row["values"].split()]
        assert dict(point.hyperparameters) == dict(pair.split("=") for pair in row["hyperparameters"].split(";"))
    assert load_round(name).rcp_check == bool(wanted)


@pytest.mark.parametrize("name", RESNET)
def test_initialised_tensors(name):
    wanted = [row["tensor"] for row in facts("weights_initialization.csv", benchmark=["resnet"]) if name in row["rounds"].split()]
    assert Counter(resnet(name).tensors) == Counter(wanted)
    assert ("weights_initialization" in load_round(name).vocabulary) == bool(wanted)
