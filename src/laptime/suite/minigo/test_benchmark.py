"""Logs of the full presets in every official round, judged by ours and by the official checker; the rules of mini."""

import json

import pytest
from judged import accepted, errors
from official import verdict
from played import played_log

from laptime.config import override
from laptime.rules.load import load_round
from laptime.suite.minigo.config import FAULTS, PRESETS, full, v0_5, v0_6
from laptime.suite.minigo.published import described

GAMES = {"actual_selfplay_games_per_generation": 8192.0}
LATER = ["v0.7", "v1.0", "v1.1", "v2.0", "v2.1"]


def lines(path, key):
    found = [json.loads(line.split(" ", 1)[1]) for line in path.read_text().splitlines() if f'"{key}"' in line]
    return [record for record in found if record["key"] == key]


@pytest.mark.parametrize("round_name", LATER)
def test_log_of_the_full_preset_is_accepted(tmp_path, round_name):
    path = tmp_path / "result_0.txt"
    notes = {"actual_selfplay_games_per_generation": full().data.games}
    assert played_log(path, "minigo", round_name, fails=3, failing=0.4, passes=0.51, notes=notes).status == "converged"
    for level in ("rules", "official"):
        assert errors(path, round_name=round_name, level=level) == []
    assert accepted(path, round_name)
    assert path.read_text().count('"weights_initialization"') == (48 if round_name == "v1.1" else 0)


def test_the_run_ends_when_the_first_passing_model_was_saved(tmp_path):
    """Four models are judged after a hundred generations; the clock stopped when the fourth was saved."""
    path = tmp_path / "result_0.txt"
    outcome = played_log(path, "minigo", "v2.1", fails=3, failing=0.4, passes=0.51, notes=GAMES)
    (start,), (stop,) = lines(path, "run_start"), lines(path, "run_stop")
    blocks = lines(path, "block_stop")
    assert len(blocks) == 100
    assert [record["metadata"]["epoch_num"] for record in lines(path, "eval_accuracy")] == [1, 2, 3, 4]
    assert blocks[2]["time_ms"] <= stop["time_ms"] <= blocks[3]["time_ms"]
    assert outcome.seconds == (stop["time_ms"] - start["time_ms"]) / 1000
    assert len(lines(path, "actual_selfplay_games_per_generation")) == 100


def test_log_of_v0_6_ends_with_the_time_of_the_winning_model(tmp_path):
    path = tmp_path / "result_0.txt"
    outcome = played_log(path, "minigo", "v0.6", fails=2, failing=0.4, passes=0.5, facts=described(v0_6()))
    assert outcome.status == "converged"
    text = path.read_text()
    assert text.count("save_model") == 50
    (result,) = [line for line in text.splitlines() if "eval_result" in line]
    said = json.loads(result[result.index("{"):])
    assert said["metadata"]["iteration"] == 3 if "metadata" in said else said["iteration"] == 3
    for level in ("rules", "official"):
        assert errors(path, round_name="v0.6", level=level) == []
    assert verdict(path, "v0.6", "minigo") == "pass"


def test_log_of_v0_5_is_that_of_an_evaluation_on_the_clock(tmp_path):
    path = tmp_path / "result_0.txt"
    assert played_log(path, "minigo", "v0.5", fails=2, failing=0.3, passes=0.41, facts=described(v0_5())).status == "converged"
    assert errors(path, round_name="v0.5", level="rules") == []
    assert path.read_text().count("eval_accuracy") == 3


def test_log_that_misses_the_target_is_rejected_by_both(tmp_path):
    path = tmp_path / "result_0.txt"
    played_log(path, "minigo", "v2.1", fails=3, failing=0.4, passes=0.51, notes=GAMES)
    text = path.read_text()
    assert text.count("0.51,") == 1
    path.write_text(text.replace("0.51,", "0.49,"))
    assert not accepted(path, "v2.1")
    assert errors(path, round_name="v2.1", level="rules")


def test_too_few_games_in_one_generation_are_found_by_both(tmp_path):
    path = tmp_path / "result_0.txt"
    played_log(path, "minigo", "v2.1", fails=3, failing=0.4, passes=0.51, notes={"actual_selfplay_games_per_generation": 8191})
    assert not accepted(path, "v2.1")
    assert errors(path, round_name="v2.1", level="rules")


def test_mini_does_not_change_what_does_not_scale():
    reference, small = PRESETS["full"](), PRESETS["mini"]()
    for group, names in (("search", ("leaves", "noise_share", "value_penalty", "exploration", "soft_exponent", "fast_share",
                                     "prune_targets", "clear", "mask_priors", "settle_after_passes", "turned_inference")),
                         ("game", ("komi", "superko", "pass_alive")),
                         ("model", ("planes", "convolution_bias", "norm_momentum", "norm_epsilon")),
                         ("optimizer", ("momentum", "weight_decay", "value_cost", "decay_beta"))):
        for name in names:
            assert getattr(getattr(small, group), name) == getattr(getattr(reference, group), name), name
    assert small.search.noise_alpha == pytest.approx(0.03 * 361 / small.game.size**2)


def test_planted_faults_are_at_least_five_and_change_something():
    mini = PRESETS["mini"]()
    assert len(FAULTS) >= 5
    assert all(override(mini, changes) != mini for changes in FAULTS.values())


def test_rules_of_mini_name_what_they_change():
    rules = load_round("mini").benchmarks["minigo"]
    assert rules.evaluate_offline
    assert rules.spread == 0.35
    assert rules.position.value.value({"epoch": 7}) == 7
