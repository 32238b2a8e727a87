"""Whole submissions: a complete one passes, each single fault is found, and hostile trees end in findings."""

import json
import os
import shutil

import pytest

from laptime.compliance.package import judge_packages
from laptime.compliance.power import check_power, energy
from laptime.layout import SubmissionPaths, find_submissions
from laptime.rules.load import load_round
from laptime.system.machine import describe
from laptime.system.submission import system_description

STATUS = "Available on-premise"
SCRIPTS = ("README.md", "setup.sh", "init_datasets.sh", "run_and_time.sh", "box_own.json")


def submission(root, make, round_name="v4.0", *, status=STATUS, submitter="acme", runs=5):
    """A complete submission of one result: description, logs, code and scripts. Returns its home."""
    paths = SubmissionPaths(root / round_name, submitter)
    name = "resnet"
    paths.system("box").parent.mkdir(parents=True)
    paths.system("box").write_text(json.dumps(described(submitter=submitter, status=status)))
    last = {"last": 11} if round_name.startswith("mini") else {}
    make.result(paths.results("box", name), round_name,
                [make.records(round_name, seed=100 + run, submitter=submitter, **last) for run in range(runs)])
    scripts = paths.scripts(name, "box")
    scripts.mkdir(parents=True)
    for script in SCRIPTS:
        (scripts / script).write_text("")
    code = paths.home / "benchmarks" / name / "implementations" / "own"
    code.mkdir(parents=True)
    (code / "train.py").write_text("import os\nseed = os.urandom(8)\n")
    return paths.home


def described(**changes):
    fields = dict.fromkeys(load_round("v4.0").package.fields, "something")
    return {**fields, "number_of_nodes": "1", "accelerators_per_node": "8", "division": "closed", **changes}


def report(home, level="rules", **more):
    (found,) = judge_packages(home, level=level, processes=1, **more)
    return found


def faults(found, *severities):
    return {finding.rule for finding in found.every() if finding.severity in (severities or ("error",))}


def with_fields(home, **changes):
    path = home / "systems" / "box.json"
    fields = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in fields.items() if value is not None}))


def result(home):
    return home / "results" / "box" / "resnet"


def with_logs(home, make, round_name, runs):
    shutil.rmtree(result(home))
    make.result(result(home), round_name, runs)


@pytest.mark.parametrize("level", ["official", "rules"])
def test_a_complete_submission_passes(tmp_path, make, level):
    found = report(submission(tmp_path, make), level)
    assert (found.ok, found.submitter, found.round) == (True, "acme", "v4.0")
    assert not faults(found, "error", "warning")


@pytest.mark.parametrize("level", ["official", "rules"])
def test_what_the_harness_writes_passes(tmp_path, make, level):
    home = submission(tmp_path, make, "mini-1")
    (home / "systems" / "box.json").write_text(json.dumps(system_description(
        describe(), submitter="acme", division="closed", status="research", system_name="box")))
    shutil.rmtree(home / "benchmarks" / "resnet" / "implementations")
    for name in ("record_0.json", "output_0.txt", "set.json"):
        (result(home) / name).write_text("")
    found = report(home, level)
    tree = {finding.rule for finding in found.findings if finding.severity != "note"}
    assert not tree, [finding.text() for finding in found.findings]


def remove(name):
    def edit(home):
        path = home / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return edit


def write(name, text="", size=None):
    def edit(home):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
        if size:
            os.truncate(home / name, size)
    return edit


def link(name, target):
    def edit(home):
        (home / name).symlink_to(target)
    return edit


def move(name, other):
    def edit(home):
        (home / other).parent.mkdir(parents=True, exist_ok=True)
        (home / name).rename(home / other)
    return edit


LOGS = "results/box/resnet/"
EDITS = {  # one edit -> the rule it breaks, how gravely at level "rules", and officially
    "no description": (remove("systems/box.json"), "system-missing", "error", "error"),
    "unused description": (write("systems/other.json", json.dumps(described(submitter="acme", status=STATUS))),
                           "system-unused", "warning", "warning"),
    "field missing": (lambda home: with_fields(home, cooling=None), "system-fields", "error", "error"),
    "no answer": (lambda home: with_fields(home, cooling=" "), "system-answers", "warning", None),
    "status in other words": (lambda home: with_fields(home, status="onprem"), "system-status", None, "error"),
    "status of no category": (lambda home: with_fields(home, status="soon"), "system-status", "warning", "error"),
    "division in capitals": (lambda home: with_fields(home, division="Closed"), "system-division", "error", "warning"),
    "number in a table field": (lambda home: with_fields(home, accelerators_per_node=8), "system-types", None, "error"),
    "another submitter": (lambda home: with_fields(home, submitter="Bolt"), "system-submitter", "warning", "warning"),
    "another division": (lambda home: with_fields(home, division="open"), "log-system", "error", "warning"),
    "another status": (lambda home: with_fields(home, status="Preview"), "log-system", "warning", "warning"),
    "description cut off": (write("systems/box.json", '{"submitter": "acme",\n "division": "clo'), "system-json", "error",
                            "error"),
    "a log too few": (remove(LOGS + "result_4.txt"), "run-count", "error", "error"),
    "a gap in the numbers": (move(LOGS + "result_0.txt", LOGS + "result_7.txt"), "package-numbers", "warning", "note"),
    "numbers of two digits": (move(LOGS + "result_0.txt", LOGS + "result_00.txt"), "package-numbers", "warning", "note"),
    "empty benchmark folder": (lambda home: (home / "results/box/bert").mkdir(), "run-count", "error", "error"),
    "unknown benchmark": (lambda home: (home / "results/box/resnett").mkdir(), "package-benchmark", "warning", "warning"),
    "logs in the system's folder": (move(LOGS, "results/box2/"), "package-place", "error", "warning"),
    "logs too deep": (write(LOGS + "raw/result_0.txt"), "package-place", "warning", "warning"),
    "stray file": (write(LOGS + "notes.txt"), "package-stray", "warning", "warning"),
    "no code at all": (remove("benchmarks"), "package-code", "warning", "warning"),
    "no implementation": (remove("benchmarks/resnet/implementations"), "package-code", "error", "warning"),
    "no scripts": (remove("benchmarks/resnet/box/setup.sh"), "package-scripts", "error", "warning"),
    "constant seed": (write("benchmarks/resnet/implementations/own/a.py", "torch.manual_seed(42)\n"), "seed-constant",
                      "note", None),
    "unknown switch": (write(LOGS + "package_checker_params", "rcp-bypas"), "package-switch", "warning", "warning"),
    "switch with a line end": (write(LOGS + "package_checker_params", "rcp-bypass\n"), "package-switch", "warning",
                               "warning"),
    "switch": (write(LOGS + "package_checker_params", "rcp-bypass"), "package-switch", "note", "note"),
    "hidden file": (write("benchmarks/.gitignore"), "repository-name", "error", "error"),
    "blank in a name": (write("benchmarks/read me.txt"), "repository-name", "error", "error"),
    "large file": (write("benchmarks/big.bin", size=50 * 1024**2 + 1), "repository-size", "error", "error"),
    "good relative link": (link("benchmarks/link", "resnet/box/README.md"), "repository-link", None, "error"),
    "broken link": (link("benchmarks/link", "nowhere"), "repository-link", "error", "error"),
    "link out of the tree": (link("benchmarks/link", "/etc/hostname"), "repository-link", "error", None),
    "loop of links": (link("benchmarks/link", "link"), "repository-link", "error", "error"),
    "pipe": (lambda home: os.mkfifo(home / "benchmarks/pipe"), "repository-kind", "error", "error"),
}


@pytest.mark.parametrize("name", EDITS)
def test_one_edit_is_found(tmp_path, make, name):
    edit, rule, by_rules, officially = EDITS[name]
    home = submission(tmp_path, make)
    edit(home)
    for level, expected in (("rules", by_rules), ("official", officially)):
        found = report(home, level)
        severities = {finding.severity for finding in found.every() if finding.rule == rule}
        assert severities == ({expected} if expected else set()), [finding.text() for finding in found.every()]
        assert found.ok or expected == "error" or faults(found)


def test_a_misspelled_field_is_named(tmp_path, make):
    home = submission(tmp_path, make)
    with_fields(home, division=None, divison="closed")
    (finding,) = (each for each in report(home).findings if each.rule == "system-fields")
    assert "Did you mean 'divison'?" in finding.message


def test_a_description_that_is_no_json_is_read_all_the_same(tmp_path, make):
    home = submission(tmp_path, make)
    text = json.dumps(described(submitter="acme", status="Preview"), indent=1)[:-2] + ",\n}"
    (home / "systems" / "box.json").write_text(text)
    found = report(home)
    (finding,) = (each for each in found.findings if each.rule == "system-json")
    assert finding.line == text.count("\n") + 1
    assert "log-system" in faults(found, "warning")  # the status could be compared


def test_a_seed_bypass_counts_where_the_official_checker_reads_it(tmp_path, make):
    home = submission(tmp_path, make)
    with_logs(home, make, "v4.0", [make.records("v4.0", seed=1) for _ in range(5)])
    assert not report(home, "official").ok
    (home / "results" / "box" / "package_checker_params").write_text("seed-checker-bypass\n")
    assert not report(home, "official").ok
    (home / "results" / "box" / "package_checker_params").write_text("seed-checker-bypass")
    assert report(home, "official").ok
    assert "seed-repeated" in faults(report(home, "official"), "warning")


def test_the_submitters_switches_may_be_spelled_either_way(tmp_path, make):
    home = submission(tmp_path, make)
    with_logs(home, make, "v4.0", [make.records("v4.0", seed=1) for _ in range(5)])
    (home / "package_checker_params").write_text("rcp_bypass\nseed_checker_bypass\n")
    assert report(home, "official").ok


def test_missing_seeds_are_what_the_official_tool_asks_for_since_the_first_round_with_the_check(tmp_path, make):
    def without(round_name):
        records = [[each for each in make.records(round_name) if each.key != "seed"] for _ in range(5)]
        home = submission(tmp_path, make, round_name)
        with_logs(home, make, round_name, records)
        return home

    old, new = without("v0.7"), without("v4.0")
    assert "seed-missing" not in faults(report(old, "official"))
    assert "seed-missing" in faults(report(new, "official"))
    assert "seed-missing" not in faults(report(new, "rules"))


def test_every_submitter_of_a_round_has_a_report(tmp_path, make):
    for submitter in ("acme", "Bolt", "IBM+Core"):
        submission(tmp_path, make, submitter=submitter)
    found = judge_packages(tmp_path / "v4.0", processes=1)
    assert [(each.submitter, each.ok) for each in found] == [("Bolt", True), ("IBM+Core", True), ("acme", True)]
    assert json.loads(json.dumps(found[0].to_json()))["results"][0]["ok"]


def test_names_of_joint_submitters_may_be_joined_in_any_order(tmp_path, make):
    home = submission(tmp_path, make, submitter="A+B")
    with_fields(home, submitter="B + a")
    assert "system-submitter" not in faults(report(home), "warning")


HOSTILE = (b"\xff\xfe\x00", b"[" * 100_000, b'{"a":' * 5000, b'{"division": {}, "status": [], "number_of_nodes": 1e999}',
           b"7" * 10_000, b'"text"', b'{"status": NaN}', b"," * 70_000, b'"' + b"\\" * 60_001)


@pytest.mark.parametrize("content", HOSTILE)
@pytest.mark.parametrize(("name", "rules"), [
    ("systems/box.json", {"system-json", "system-fields"}), ("package_checker_params", {"package-switch"}),
    ("results/box/resnet/scaling.json", {"scaling-file"}), ("results/box/resnet/package_checker_params", {"package-switch"})])
def test_hostile_files_end_in_findings(tmp_path, make, name, rules, content):
    home = submission(tmp_path, make, runs=1)
    (home / name).write_bytes(content)
    for level in ("official", "rules"):
        assert faults(report(home, level), "error", "warning") & rules


@pytest.mark.parametrize("name", ["systems/box.json", "package_checker_params", "results/box/resnet/result_0.txt"])
def test_pipes_in_place_of_files_end_in_findings(tmp_path, make, name):
    home = submission(tmp_path, make)
    (home / name).unlink(missing_ok=True)
    os.mkfifo(home / name)
    assert faults(report(home)) > {"repository-kind"} or name == "package_checker_params"


def test_descriptions_behind_links_are_not_read(tmp_path, make):
    home = submission(tmp_path, make)
    (home / "systems" / "box.json").rename(tmp_path / "secret.json")
    (home / "systems" / "box.json").symlink_to(tmp_path / "secret.json")
    assert {"system-json", "repository-link"} <= faults(report(home))


def test_results_whose_round_nobody_tells_are_findings(tmp_path, make):
    home = submission(tmp_path, make)
    home.rename(tmp_path / "acme")
    (home.parent).rmdir()
    found = report(tmp_path / "acme")
    assert (found.ok, found.results, faults(found)) == (False, (), {"package-unreadable"})
    assert report(tmp_path / "acme", round_name="4.0").ok


def test_an_empty_submission_and_one_without_a_round(tmp_path):
    (tmp_path / "acme" / "results").mkdir(parents=True)
    assert faults(report(tmp_path)) == {"package-empty", "package-unreadable"}
    assert "package-empty" in faults(report(tmp_path, round_name="4.0"))


def test_a_folder_without_submissions_has_no_reports(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert judge_packages(tmp_path) == ()


def test_links_to_folders_are_not_followed(tmp_path, make):
    home = submission(tmp_path, make)
    (home / "results" / "box2").symlink_to(tmp_path)
    (home.parent / "again").symlink_to(home)
    assert [each.home for each in find_submissions(tmp_path)] == [home]
    assert report(home).results[0].folder.path == result(home)


def power_log(path, *, start=0, stop=10_000, step=1000, watts=100.0, efficiency=None):
    lines = [] if start is None else [(start, "power_measurement_start", None)]
    if efficiency is not None:
        lines.append((start, "conversion_eff", efficiency))
    lines += [(time, "power_reading", watts) for time in range(step, 10_001, step)]
    lines += [] if stop is None else [(stop, "power_measurement_stop", None)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(":::MLLOG " + json.dumps({
        "namespace": "", "time_ms": 1_700_000_000_000 + time, "event_type": "POINT_IN_TIME", "key": key,
        "value": value, "metadata": {}}) + "\n" for time, key, value in lines))


def switch_log(path, watts, efficiency=None, late=False):
    line = {"namespace": "", "time_ms": 1, "event_type": "POINT_IN_TIME", "metadata": {}}
    lines = [{**line, "key": "interconnect_power_est", "value": watts}]
    if efficiency is not None:
        lines.insert(1 if late else 0, {**line, "key": "conversion_eff", "value": efficiency})
    path.write_text("".join(":::MLLOG " + json.dumps(each) + "\n" for each in lines))


@pytest.fixture
def measured(tmp_path, make):
    """The result folder of a submission with power readings of one node in each of its five runs."""
    home = submission(tmp_path, make)
    for run in range(5):
        power_log(result(home) / "power" / f"result_{run}" / "node_0.txt")
    (found,) = find_submissions(home)
    return found.benchmarks[0]


MINUTES = (1.0, 2.0, 3.0, 4.0, 5.0)


def node(found, run=2):
    return found.path / "power" / f"result_{run}" / "node_0.txt"


def test_energy_is_average_power_times_time_over_the_runs_that_count(measured):
    found = energy(measured, MINUTES, (1, 2, 3), 1.5)
    assert found.joules == pytest.approx([100 * 60 * minutes for minutes in MINUTES])
    assert (found.mean_joules, found.nodes, found.switches) == (pytest.approx(1.5 * 100 * 180), 1, 0)


def test_switches_and_conversion_are_counted(measured):
    power_log(node(measured), efficiency=0.5)
    switch_log(node(measured).with_name("sw_0.txt"), 10, 0.9)
    assert energy(measured, MINUTES).joules[2] == pytest.approx((50 + 9) * 180)
    switch_log(node(measured).with_name("sw_0.txt"), 10, 0.9, late=True)
    found = energy(measured, MINUTES)
    assert found.joules[2] == pytest.approx((50 + 10) * 180)
    assert any("before the estimate" in each.message for each in found.findings)


@pytest.mark.parametrize("stop", [None, 0, -5])
def test_without_a_stop_after_the_start_the_last_reading_ends_the_measurement(measured, stop):
    power_log(node(measured), stop=stop)
    found = energy(measured, MINUTES)
    assert found.joules[2] == pytest.approx(100 * 180)
    assert any(each.severity == "warning" and "power_measurement_stop" in each.message for each in found.findings)


def test_readings_after_the_stop_do_not_count(measured):
    power_log(node(measured), stop=5000)
    assert energy(measured, MINUTES).joules[2] == pytest.approx(100 * 180)


@pytest.mark.parametrize("change", [{"start": None}, {"step": 20_000, "stop": None}, {"efficiency": 1.5}, {"efficiency": "x"}])
def test_without_a_measurement_there_is_no_energy(measured, change):
    power_log(node(measured), **change)
    found = energy(measured, MINUTES, (1, 2, 3))
    assert (found.joules[2], found.mean_joules) == (None, None)
    assert any(each.severity == "error" and each.path == node(measured) for each in found.findings)


def test_a_run_without_a_time_has_no_energy(measured):
    assert energy(measured, (None, *MINUTES[1:]), (1, 2, 3)).joules[0] is None


@pytest.mark.parametrize("edit", [
    lambda found: shutil.rmtree(node(found).parent),
    lambda found: node(found).rename(node(found).with_name("node_1.txt")),
    lambda found: power_log(node(found).with_name("node_1.txt")),
    lambda found: switch_log(node(found).with_name("sw_0.txt"), 1),
])
def test_incomplete_readings_are_found(measured, edit):
    assert not list(check_power(measured, "rules", 1))
    edit(measured)
    assert {each.severity for each in check_power(measured, "rules", 1)} == {"error"}
    assert {each.severity for each in check_power(measured, "official", 1)} == {"warning"}  # one run may be bad
    assert {each.severity for each in check_power(measured, "official", 0)} == {"error"}


def test_readings_of_no_run_and_other_files_are_warned_of(measured):
    power_log(measured.path / "power" / "result_9" / "node_0.txt")
    node(measured).with_name("total_power.txt").write_text("")
    assert [each.severity for each in check_power(measured, "rules", 1)] == ["warning", "warning"]


def test_a_result_without_readings_has_no_energy(tmp_path, make):
    (found,) = find_submissions(submission(tmp_path, make))
    assert energy(found.benchmarks[0], MINUTES) is None
