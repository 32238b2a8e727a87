"""Names of submitters, counts of nodes, seeds and sources: the parts of the package check by themselves."""

import json

import pytest

from laptime.compliance.consistency import alike
from laptime.compliance.result import judge_folder
from laptime.compliance.seeds import integer
from laptime.compliance.sources import check_sources
from laptime.compliance.system_description import Description, read_description
from laptime.rules.load import by_log_name, load_round, round_names


@pytest.mark.parametrize(("one", "other", "same"), [
    ("NVIDIA", "nvidia", True), ("Dell EMC", "DellEMC", True), ("CoreWeave + IBM + NVIDIA", "IBM+CoreWeave+NVIDIA", True),
    ("A_B", "B+A", True), ("Red Hat/Supermicro", "Red_Hat", True), ("NVIDIA", "Azure", False), ("A+B", "A+C", False)])
def test_names_of_submitters(one, other, same):
    assert alike(one, other) == alike(other, one) == same


def judged(tmp_path, make, *, system, org="acme", platform="1xbox", **fields):
    home = tmp_path / "v4.0" / "acme"
    (home / "systems").mkdir(parents=True)
    (home / "systems" / f"{system}.json").write_text(json.dumps(fields))
    records = make.records("v4.0", submitter=org)
    changed = [make.record(each.key, platform if each.key == "submission_platform" else each.value, each.time_ms,
                           dict(each.metadata)) for each in records]
    make.result(home / "results" / system / "resnet", "v4.0", [changed])
    (result,) = judge_folder(home, processes=1)
    return {(finding.rule, finding.severity) for finding in result.findings}


WRONG = ("log-system", "warning")


@pytest.mark.parametrize(("system", "platform", "nodes", "wrong"), [
    ("box", "16xBOX", "16", False), ("box", "16xBOX", 16, False), ("box", "16xBOX", 16.0, False),
    ("box", "16xBOX", "8", True), ("box", "BOX16", "8", False), ("box", "16xBOX", "many", False),
    ("box_n16_own", "BOX", "16", False), ("box_n16_own", "BOX", "8", True), ("box_ngpu64", "BOX", "16", False),
    ("box_ngpu72", "BOX", "16", True)])
def test_counts_of_nodes_agree(tmp_path, make, system, platform, nodes, wrong):
    found = judged(tmp_path, make, system=system, platform=platform, number_of_nodes=nodes, accelerators_per_node="4")
    assert (WRONG in found) == wrong


@pytest.mark.parametrize(("org", "rule"), [("acme inc.", None), ("Bolt", "folder-submitter"),
                                           ("SUBMISSION_ORG_PLACEHOLDER", "log-placeholder")])
def test_organisations_of_logs(tmp_path, make, org, rule):
    found = judged(tmp_path, make, system="box", org=org)
    assert {name for name, _ in found} & {"folder-submitter", "log-placeholder"} == ({rule} if rule else set())


@pytest.mark.parametrize(("value", "found"), [(7, 7), ("7", 7), (" 7 ", 7), (7.0, 7), (True, None), ("x", None), (None, None),
                                              ([7], None), (float("inf"), None), (float("nan"), None), ("9" * 5000, None)])
def test_seeds_as_integers(value, found):
    assert integer(value) == found


@pytest.mark.parametrize(("value", "severity"), [("x", "error"), ([[[]]], "error"), (3, None)])
def test_a_seed_that_is_no_integer(tmp_path, make, value, severity):
    records = [make.record(each.key, value if each.key == "seed" else each.value, each.time_ms, dict(each.metadata))
               for each in make.records("v4.0")]
    make.result(tmp_path / "resnet", "v4.0", [records])
    (result,) = judge_folder(tmp_path, round_name="v4.0", level="official", processes=1)
    assert {one.severity for one in result.findings if one.rule == "seed-integer"} == ({severity} if severity else set())


def test_several_seeds_of_a_run_are_noted(tmp_path, make):
    records = make.records("v4.0")
    place = next(index for index, each in enumerate(records) if each.key == "seed")
    make.result(tmp_path / "resnet", "v4.0", [[*records[:place], make.record("seed", 8, records[place].time_ms, {}),
                                               *records[place:]]])
    (result,) = judge_folder(tmp_path, round_name="v4.0", processes=1)
    assert ("seed-many", "note") in {(one.rule, one.severity) for one in result.findings}


@pytest.mark.parametrize(("line", "constant"), [
    ("torch.manual_seed(42)", True), ("random.seed( 0 )", True), ("set_seed(1)", True), ("SEED=1234  # fixed", True),
    ("python train.py --seed 7", False), ("seed = args.seed", False), ("torch.manual_seed(seed)", False),
    ("# torch.manual_seed(42)", False), ("reseeded = 3", False)])
def test_constant_seeds_in_sources(tmp_path, line, constant):
    (tmp_path / "train.py").write_text(f"import x\n{line}\n")
    (tmp_path / "train.txt").write_text("torch.manual_seed(42)\n")
    assert [finding.line for finding in check_sources(tmp_path)] == ([2] if constant else [])


def test_the_search_of_sources_is_bounded(tmp_path):
    (tmp_path / "a.py").write_text("random.seed(1)\n" * 3)
    (tmp_path / "b.py").write_bytes(b"random.seed(1)\n" * 200_000)
    (tmp_path / "c.sh").write_text("seed" * 300_000)
    (tmp_path / "d.py").symlink_to("a.py")
    assert len(list(check_sources(tmp_path))) == 3


def test_a_broken_description_is_read_line_by_line(tmp_path):
    path = tmp_path / "box.json"
    path.write_text('{\n "submitter": "acme"\n "number_of_nodes": 4,\n "notes": {"a": 1},\n')
    found = read_description(path)
    assert (found.text("submitter"), found.count("number_of_nodes"), [each.line for each in found.findings]) == ("acme", 4, [3])


@pytest.mark.parametrize(("value", "count"), [("8", 8), (8, 8), (8.0, 8), ("8.0", 8), (" 8 ", 8), ("8x", None), (True, None),
                                              pytest.param(10**5000, None, id="huge"), (None, None), ([8], None)])
def test_counts_in_descriptions(tmp_path, value, count):
    assert Description(tmp_path, {"number_of_nodes": value}).count("number_of_nodes") == count


def test_every_round_says_what_it_asks_of_a_submission():
    for name in round_names():
        package = load_round(name).package
        assert package.fields
        assert package.may_be_empty <= set(package.fields), name
        assert {*package.one_suffices, *package.joined_as_text} <= set(package.fields), name
        for values in package.statuses.values():
            assert set(values) == set(package.categories.values()), name


def test_another_name_of_a_benchmark_means_the_same_rules():
    for name in round_names():
        round_ = load_round(name)
        for other, log_name in round_.package.folder_names.items():
            assert log_name in round_.suite
            assert by_log_name(round_, other) is by_log_name(round_, log_name)
    assert load_round("v0.6").package.folder_names
