"""rcp show, check and plot, and runs: what reference points and measured runs say, as text, JSON and figures."""

import builtins
import json
import xml.etree.ElementTree as ElementTree

import pytest

from laptime.cli import rcp
from laptime.cli.rcp_plot import bands, dots
from laptime.rules.load import load_round, round_names

POINTS = "name,batch_size,unit,values\nmine_64,64,epochs,10 11 12 13\nmine_8192,8192,epochs,20 21 22 23\n"
CHEAP = ["resnet", "--round", "v4.0"]


@pytest.fixture
def points(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text(POINTS)
    return path


def shown(run, *arguments):
    return json.loads(run("rcp", "show", *CHEAP, *arguments, "--json").out)


def test_show_tells_how_likely_bad_luck_fails(run):
    failure = shown(run, "--batch", 3264)["behind"]["failure"]
    assert 0 <= failure["resampled"]["probability"] < 0.1
    assert failure["draws"] >= 10_000
    said = run("rcp", "show", *CHEAP, "--batch", 3264).out
    assert "that truly follows the reference fails with probability" in said
    assert f"{100 * failure['normal']['probability']:.2f} % (+/- " in said


@pytest.mark.parametrize(("batch", "names"), [
    (3264, ["resnet_ref_3264"]), (3000, ["resnet_ref_1632", "resnet_ref_3264"]), (100, ["resnet_ref_1632"]), (10**6, [])])
def test_show_names_the_points_behind_the_answer_and_their_settings(run, batch, names):
    behind = shown(run, "--batch", batch)["behind"]
    assert behind["points"] == names
    assert list(behind["hyperparameters"]) == names
    assert all("opt_base_learning_rate" in settings for settings in behind["hyperparameters"].values())


@pytest.mark.parametrize("batch", [100, 10**6])
def test_show_has_no_chance_to_tell_outside_the_points(run, batch):
    assert shown(run, "--batch", batch)["behind"]["failure"] is None


def test_show_says_when_the_point_of_this_size_is_pruned(run):
    pruned = next(point["batch_size"] for point in shown(run)["points"] if point["used"] != "yes")
    assert shown(run, "--batch", int(pruned))["behind"]["pruned"]
    assert "is pruned" in run("rcp", "show", *CHEAP, "--batch", int(pruned)).out


def test_show_gives_the_band_and_that_nothing_is_too_slow(run):
    asked, out = shown(run, "--batch", 3264)["asked"], run("rcp", "show", *CHEAP, "--batch", 3264).out
    assert f"Fastest mean that passes: {asked['least_mean']:.6g} (time x {asked['most_speedup']:.4f})" in out
    assert "No mean is too slow" in out


def test_show_reads_points_of_ones_own(run, points):
    found = shown(run, "--rcps", points, "--batch", 64)
    assert [point["batch_size"] for point in found["points"]] == [64, 8192]
    assert found["asked"]["mean"] == 11.5
    assert run("rcp", "show", *CHEAP, "--rcps", points.with_name("none.csv")).code == 2


def test_show_takes_the_slack_of_the_authority_asked(run):
    asked = {level: json.loads(run("rcp", "show", "llama31_405b", "--round", "v5.1", "--batch", 1152, "--level", level,
                                   "--json").out)["asked"]["least_mean"] for level in ("rules", "official")}
    assert asked["rules"] - asked["official"] == pytest.approx(46_080)


def test_check_tells_verdict_and_factor(run, folder):
    answer = run("rcp", "check", folder())
    assert answer.code == 0
    assert "1.004396  pass: RCP found" in answer.out  # 35.154 / 35


def test_check_fails_sets_that_were_too_fast(run, folder):
    answer = run("rcp", "check", folder(epochs=[19] * 5), "--json")
    found = json.loads(answer.out)[0]
    assert (answer.code, found["decision"]["passed"], found["decision"]["factor"]) == (1, False, 1)
    assert found["to_reference"] == pytest.approx(found["decision"]["reference_mean"] / 19)


def test_check_takes_points_of_ones_own(run, folder, points):
    answer = run("rcp", "check", folder(), "--rcps", points)
    assert (answer.code, "pass: RCP Interpolation" in answer.out) == (0, True)


def test_check_takes_what_runs_needed_from_their_train_samples(run, folder):
    found = json.loads(run("rcp", "check", folder(), "--train-samples", "--json").out)[0]["decision"]
    assert found["submission_mean"] == 1_281_167


def test_check_of_a_round_without_the_test_says_so(run, folder):
    assert "this round has no convergence check" in run("rcp", "check", folder(), "--round", "v0.7").out


def test_plot_draws_points_band_and_sets(run, folder, tmp_path):
    out = tmp_path / "figure.svg"
    answer = run("rcp", "plot", *CHEAP, folder(), "--out", out)
    assert (answer.code, answer.out) == (0, f"{out}\n")
    text = " ".join(ElementTree.fromstring(out.read_text()).itertext())
    for words in ("Image classification, round v4.0: reference points", "point in use", "point pruned",
                  "passes, time multiplied", "set of runs, passes", "epochs to the target", "unverified"):
        assert words in text


def test_plot_of_a_round_without_points_is_refused(run, tmp_path):
    answer = run("rcp", "plot", "resnet", "--round", "v0.7", "--out", tmp_path / "a.svg")
    assert (answer.code, "found none" in answer.err) == (2, True)


def test_plot_of_another_format_and_to_nowhere_are_refused(run, tmp_path):
    assert ".png, .svg" in run("rcp", "plot", *CHEAP, "--out", tmp_path / "a.gif").err
    assert "cannot write" in run("rcp", "plot", *CHEAP, "--out", tmp_path / "no" / "a.svg").err


def test_plot_without_matplotlib_says_what_to_install(run, tmp_path, monkeypatch):
    genuine = builtins.__import__

    def without(name, *rest, **named):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return genuine(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    answer = run("rcp", "plot", *CHEAP, "--out", tmp_path / "a.svg")
    assert answer.code == 2
    assert "pip install 'laptime[plot]'" in answer.err


def test_runs_answers_from_the_reference(run):
    found = json.loads(run("runs", *CHEAP, "--within", "2%", "--json").out)
    (answer,) = found["answers"]
    assert (found["within"], found["share"], found["runs"]) == (0.02, 0.9, 5)
    assert [row["runs"] for row in answer["rows"]] == list(range(3, 41))
    assert answer["rows"][answer["needed"] - 3]["share"] >= 0.9
    assert answer["asked"] == answer["rows"][2]
    assert answer["needed_by_widest"] >= answer["needed"]


def test_runs_answers_from_measured_times_too(run, folder):
    found = json.loads(run("runs", *CHEAP, "--results", folder([60, 61, 62, 63, 70]), "--json").out)
    assert [answer["what"] for answer in found["answers"]] == ["epochs of the reference", "measured times"]
    assert found["answers"][1]["groups"][0]["values"] == [60, 61, 62, 63, 70]
    assert found["answers"][1]["needed"] > 3


def test_runs_says_method_and_error(run):
    out = run("runs", *CHEAP).out
    for words in ("3 runs or more for 90 % of sets within 5 % of the true mean", "The round asks for 5", "Method:",
                  "drawn with replacement", "percentage points"):
        assert words in out


def test_runs_drops_what_the_round_drops(run):
    found = json.loads(run("runs", "unet3d", "--round", "v4.0", "--json").out)
    assert (found["drop"], found["answers"][0]["rows"][0]["runs"], found["answers"][0]["needed"]) == (4, 9, None)


def test_runs_without_any_values_asks_for_some(run):
    answer = run("runs", "resnet", "--round", "v0.7")
    assert (answer.code, "--results" in answer.err) == (2, True)


@pytest.mark.parametrize("within", ["0", "-5%", "5 percent", "100%", "nan", "1"])
def test_runs_refuses_a_bound_that_is_none(run, within):
    answer = run("runs", *CHEAP, "--within", within)
    assert (answer.code, "such as 5% or 0.05" in answer.err) == (2, True)


@pytest.mark.parametrize("name", round_names())
def test_every_point_of_every_round_can_be_shown_and_drawn(name):
    for rules in load_round(name).benchmarks.values():
        found = rcp.points(rules)
        assert len(found) == len(rules.references) == len(dots(rules))
        for point in found:
            asked = rcp.at_batch(rules, int(point.batch_size))
            basis = rcp.behind(rules, int(point.batch_size)) if point is found[0] else None
            shown = rcp.text(rules, found, asked, int(point.batch_size), None)
            assert f"{point.batch_size:g}" in shown
            assert basis is None or all(line for line in rcp.behind_words(basis, rules, asked))
        assert all(band.least <= band.mean for band in bands(rules))
