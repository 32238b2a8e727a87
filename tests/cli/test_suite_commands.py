"""list, show, explain, rcp show: what rule data says, as text and as JSON."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from laptime.cli import rcp
from laptime.cli.list import mini_minutes, rows, spans, text
from laptime.config import SuitePath
from laptime.rules.load import load_round, round_names
from laptime.suite import folders

LISTED = {"area", "benchmark", "dataset", "model", "metric", "target", "rounds", "mini_minutes", "status"}


def test_list_has_a_row_for_every_folder(run):
    found = json.loads(run("list", "--json").out)
    assert {row["benchmark"] for row in found} == set(folders())
    assert set(found[0]) >= LISTED


def test_list_shows_target_rounds_and_status(run):
    line = next(line for line in run("list").out.splitlines() if " resnet " in line)
    assert ">= 0.759" in line
    assert "v0.5..v4.0" in line
    assert line.endswith("runs")


def test_list_fits_a_terminal_of_eighty_columns():
    shown = text(rows(SuitePath()), 80)
    assert max(len(line) for line in shown.splitlines()) <= 80 + len("\x1b[1m\x1b[0m")


def test_list_finds_benchmarks_of_ones_own(run, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "rules.toml").write_text((folders()["resnet"] / "rules.toml").read_text().replace("Vision", "Sight"))
    found = json.loads(run("list", "--suite", tmp_path, "--json").out)
    assert {row["benchmark"]: (row["area"], row["status"]) for row in found}["mine"] == ("Sight", "judged only")


@pytest.mark.parametrize(("names", "expected"), [
    (("v0.5", "v0.6", "v0.7"), "v0.5..v0.7"), (("v0.5", "v0.7", "v1.0", "mini-1"), "v0.5, v0.7..v1.0"), (("mini-1",), "mini-1")])
def test_spans_join_rounds_that_follow_each_other(names, expected):
    assert spans(names) == expected


@pytest.mark.parametrize(("content", "expected"), [('{"mini": {"median_seconds": 90}}', 1.5), ("{}", None), ("junk", None)])
def test_mini_time_comes_from_golden_values(tmp_path, content, expected):
    (tmp_path / "golden.json").write_text(content)
    assert mini_minutes(tmp_path) == expected


def test_mini_time_without_golden_values_is_unknown(tmp_path):
    assert mini_minutes(tmp_path) is None


@pytest.mark.parametrize("round_name", [name for name in round_names() if "resnet" in load_round(name).benchmarks])
def test_show_works_for_every_round_of_a_benchmark(run, round_name):
    answer = run("show", "resnet", "--round", round_name, "--json")
    assert answer.code == 0
    found = json.loads(answer.out)
    rules = load_round(round_name).benchmarks["resnet"]
    assert [key["key"] for key in found["keys"]] == [rule.key for rule in rules.keys]
    assert found["preset"] == rules.preset
    assert found["settings"]["global_batch_size"] > 0


def test_show_names_keys_constraints_and_sources(run):
    out = run("show", "resnet", "--round", "v4.0").out
    line = next(line for line in out.splitlines() if line.startswith("opt_name"))
    assert "'sgd' or 'lars'" in line
    assert "hyperparameter table" in line
    assert "eval_accuracy >= 0.759" in out
    assert "model.width" in out


def test_show_says_what_a_derived_round_excepts(run):
    assert "generated from a seed" in run("show", "resnet", "--round", "mini").out


def test_reasons_of_a_derived_round_stand_in_one_column(run):
    rules = load_round("mini").benchmarks["minigo"]  # it has the longest keys
    shown = run("show", "minigo", "--round", "mini").out.partition("What this round changes, and why")[2].splitlines()
    lines = {key: next(line for line in shown if line.startswith(f"  {key} ")) for key in rules.excepts}
    assert len({lines[key].index(f"  {reason}") for key, reason in rules.excepts.items()}) == 1


def test_show_diff_lists_exactly_what_differs(run):
    found = json.loads(run("show", "resnet", "--diff", "mini", "--json").out)["settings"]
    assert found["model.width"][0] == 64
    assert all(full != mini for full, mini in found.values())
    assert "optimizer.momentum" not in found


def test_show_diff_with_itself_is_empty(run):
    assert run("show", "resnet", "--diff", "full").out == "preset full is the reference configuration\n"


def test_show_of_a_benchmark_outside_a_round_names_those_inside(run, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "rules.toml").write_text((folders()["resnet"] / "rules.toml").read_text())
    answer = run("show", "mine", "--suite", tmp_path, "--round", "v4.0")
    assert answer.code == 2
    assert "benchmark 'mine' is not part of round v4.0" in answer.err
    assert "resnet" in answer.err


def test_explain_rule_says_why_and_what_to_do(run):
    answer = run("explain", "init-limit")
    assert answer.code == 0
    assert [line.split()[0] for line in answer.out.splitlines()[1:]] == ["demands", "why", "source", "fix", "official"]
    assert set(json.loads(run("explain", "init-limit", "--json").out)) == {"rule", "title", "demands", "why", "source", "fix", "official"}


def test_explain_key_shows_each_demand_once_with_its_rounds(run):
    found = json.loads(run("explain", "sgd_opt_momentum", "--json").out)
    assert all(row["rounds"] for row in found)
    assert len(found) == len({json.dumps({**row, "rounds": None}) for row in found})
    assert "0.9" in run("explain", "sgd_opt_momentum").out


def test_rcp_show_lists_points_with_their_statistics(run):
    found = json.loads(run("rcp", "show", "resnet", "--round", "v4.0", "--json").out)
    assert [point["batch_size"] for point in found["points"]] == sorted(point["batch_size"] for point in found["points"])
    assert all(point["least_mean"] <= point["mean"] for point in found["points"])
    assert {"yes", "no: pruned"} == {point["used"] for point in found["points"]}


@pytest.mark.parametrize(("batch", "words"), [(3264, "(exact)"), (3000, "(interpolated)"), (100, "smaller than every point"),
                                              (10**6, "larger than every point")])
def test_rcp_show_says_what_holds_at_a_batch_size(run, batch, words):
    assert words in run("rcp", "show", "resnet", "--round", "v4.0", "--batch", batch).out


def test_rcp_show_without_points_says_so(run):
    assert "no reference points" in run("rcp", "show", "resnet", "--round", "v0.7").out


def test_outputs_are_written_for_people_unless_asked_otherwise(run, tmp_path: Path):
    assert not run("list").out.startswith("[")


@pytest.mark.parametrize(("mean", "words"), [
    ("35.1", "passes (RCP found)"), ("10", "fails: RCP found, "), ("99", "its time is multiplied by 1.")])
def test_rcp_show_judges_a_mean(run, mean, words):
    answer = run("rcp", "show", "resnet", "--round", "v4.0", "--batch", 3264, "--mean", mean)
    assert answer.code == 0
    assert words in answer.out


def test_rcp_show_gives_the_factor_of_a_mean(run):
    found = json.loads(run("rcp", "show", "resnet", "--round", "v4.0", "--batch", 3264, "--mean", 35, "--json").out)
    assert found["verdict"]["factor"] == pytest.approx(found["asked"]["mean"] / 35)


@pytest.mark.parametrize("arguments", [("--mean", "35"), ("--batch", "3264", "--mean", "nan"), ("--batch", "3264", "--mean", "inf"),
                                       ("--batch", "3264", "--mean", "0")])
def test_rcp_show_refuses_a_mean_that_means_nothing(run, arguments):
    answer = run("rcp", "show", "resnet", "--round", "v4.0", *arguments)
    assert (answer.code, len(answer.err.splitlines())) == (2, 2)


@pytest.mark.parametrize("runs", [1, 2])
def test_rcp_show_of_a_round_with_too_few_runs_says_that_nothing_is_tested(runs):
    rules = replace(load_round("v4.0").benchmarks["resnet"], runs=runs)
    shown = rcp.text(rules, rcp.points(rules), rcp.at_batch(rules, 3264), 3264, None)
    assert "every set passes" in shown
    assert rcp.of_mean(rules, 3264, 1.0).passed


@pytest.mark.parametrize("batch", [1, 256, 1632, 2000, 3264, 5000, 65536, 10**6])
def test_rcp_show_says_of_a_batch_what_the_judge_decides(batch):
    rules = load_round("v4.0").benchmarks["resnet"]
    asked, verdict = rcp.at_batch(rules, batch), rcp.of_mean(rules, batch, 50.0)
    if asked is None:
        assert verdict.basis in ("smaller", "larger")
    else:
        assert (asked.used, asked.mean, asked.least_mean) == (verdict.basis, verdict.reference_mean, verdict.minimum_mean)
