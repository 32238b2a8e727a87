"""Logs of the full preset in every official round, judged by ours and by the official checker; the rules of mini."""


import pytest
from judged import accepted, errors
from played import played_log

from laptime.config import flat
from laptime.rules.load import load_round
from laptime.suite.retinanet.config import FAULTS, PRESETS

ROUNDS = {"v2.0": "ssd", "v2.1": "ssd", "v3.0": "ssd", "v3.1": "ssd", "v4.0": "ssd", "v4.1": "ssd", "v5.0": "retinanet", "v5.1": "retinanet"}


@pytest.mark.parametrize("round_name", ROUNDS)
def test_log_of_the_full_preset_is_accepted(tmp_path, round_name):
    path = tmp_path / "result_0.txt"
    assert played_log(path, "retinanet", round_name, fails=0, passes=0.3401).status == "converged"
    text = path.read_text()
    assert f'"submission_benchmark", "value": "{ROUNDS[round_name]}"' in text
    assert text.count('"weights_initialization"') == (89 if round_name in ("v2.0", "v2.1") else 0)
    assert errors(path, level="rules") == []
    assert accepted(path, round_name)


def test_log_that_misses_the_target_is_rejected_by_both(tmp_path):
    path = tmp_path / "result_0.txt"
    played_log(path, "retinanet", "v5.1", fails=0, passes=0.3401)
    text = path.read_text()
    assert text.count("0.3401") == 1
    path.write_text(text.replace("0.3401", "0.3399"))
    assert not accepted(path, "v5.1")
    assert errors(path, round_name="v5.1", level="rules")


def test_a_round_s_free_settings_exist():
    from fnmatch import fnmatchcase

    known = flat(PRESETS["full"]())
    for name in load_round("v5.1").benchmarks["retinanet"].free:
        assert any(fnmatchcase(setting, name) for setting in known), name


def test_planted_faults_are_at_least_five_and_change_something():
    from laptime.config import override

    mini = PRESETS["mini"]()
    assert len(FAULTS) >= 5
    assert all(override(mini, changes) != mini for changes in FAULTS.values())
