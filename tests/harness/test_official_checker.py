"""An outside judge: the official compliance checker (dev extra) reads logs that our harness wrote."""

import logging
import re
import subprocess
import sys

import pytest
from played import played_log

mlp_compliance = pytest.importorskip("mlperf_logging.compliance_checker.mlp_compliance", reason="dev extra not installed")

ROUNDS = ["v0.7", "v1.0", "v1.1", "v2.0", "v2.1", "v3.0", "v3.1", "v4.0"]
SGD = ["optimizer.name=sgd", "optimizer.base_learning_rate=1.024", "optimizer.weight_decay=0.0001"]
OPTIMIZERS = {"lars": [], "sgd": SGD}


def official_verdict(log, round_name):
    """Its verdict on a file, taken in this process."""
    ruleset = round_name.removeprefix("v") + ".0"
    logging.disable(logging.CRITICAL)
    try:
        checker = mlp_compliance.make_checker("training", ruleset, True, False)
        valid, *_ = mlp_compliance.main(str(log), f"training_{ruleset}/common.yaml", checker)
    except FileNotFoundError:  # it looks for a rule file named after an optimizer that has none
        return False
    finally:
        logging.disable(logging.NOTSET)
    return valid


def edited(log, pattern, replacement, *, count=1):
    """A copy of a log with one edit."""
    text, changes = re.subn(pattern, replacement, log.read_text(), count=count, flags=re.M)
    assert changes == count
    copy = log.with_name("edited.txt")
    copy.write_text(text)
    return copy


def line(key):
    return rf'^:::MLLOG .*"key": "{key}".*\n'


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """(round, optimizer) -> log, each played once."""
    made = {}

    def of(round_name, optimizer):
        if (round_name, optimizer) not in made:
            path = tmp_path_factory.mktemp("played") / "result_0.txt"
            assert played_log(path, "resnet", round_name, OPTIMIZERS[optimizer]).status == "converged"
            made[round_name, optimizer] = path
        return made[round_name, optimizer]

    return of


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("round_name", ROUNDS)
def test_official_checker_accepts_our_log(logs, round_name, optimizer):
    assert official_verdict(logs(round_name, optimizer), round_name)


@pytest.mark.parametrize(("round_name", "tensors"), [("v1.0", 0), ("v1.1", 161), ("v2.0", 161), ("v2.1", 161), ("v3.0", 0)])
def test_log_names_every_initialised_tensor_where_the_round_asks(logs, round_name, tensors):
    assert logs(round_name, "lars").read_text().count('"weights_initialization"') == tensors


EDITS = {
    "no batch size": (line("global_batch_size"), ""),
    "batch size twice": (rf"({line('global_batch_size')})", r'\1:::MLLOG {"namespace": "", "time_ms": 1, "event_type": "POINT_IN_TIME", "key": "global_batch_size", "value": 7, "metadata": {"file": "a", "lineno": 1}}\n'),
    "weight decay": (r'("lars_opt_weight_decay", "value": )[0-9.e-]+', r"\g<1>0.0003"),
    "end learning rate": (r'("lars_opt_end_learning_rate", "value": )[0-9.e-]+', r"\g<1>0.001"),
    "unknown optimizer": (r'("opt_name", "value": )"lars"', r'\1"adam"'),
    "target missed": (r'("eval_accuracy", "value": )0\.7601', r"\g<1>0.7589"),
    "no run_stop": (line("run_stop"), ""),
    "no division": (line("submission_division"), ""),
    "wrong benchmark": (r'("submission_benchmark", "value": )"resnet"', r'\1"resnet50"'),
    "line cut short": (r'"key": "run_start", "value": null, "metadata": \{.*$', '"key": "run_start", "val'),
    "initialisation too long": (r'("time_ms": )17(\d+)(, "event_type": "INTERVAL_START", "key": "init_start")', r"\g<1>15\2\3"),
    "no train_samples": (line("train_samples"), ""),
    "evaluation without position": (r'("key": "eval_accuracy".*), "epoch_num": \d+', r"\1"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_official_checker_and_ours_reject_the_same_edit(logs, edit):
    from laptime.compliance.result import judge_log

    good = logs("v4.0", "lars")
    bad = edited(good, *EDITS[edit])
    assert not official_verdict(bad, "v4.0")
    for level in ("official", "rules"):
        assert [f for f in judge_log(good, level=level).findings if f.severity == "error"] == []
        assert [f for f in judge_log(bad, round_name="v4.0", level=level).findings if f.severity == "error"] != []


def test_log_of_a_run_that_was_resumed_is_accepted(logs):
    """It differs in one line (tests/harness/test_saving.py)."""
    from laptime.compliance.result import judge_log

    said = (r'\1:::MLLOG {"namespace": "", "time_ms": \2, "event_type": "POINT_IN_TIME", "key": "laptime_resumed", "value": 1, "metadata": '
            r'{"file": "laptime/harness/one_run.py", "lineno": 255, "samples": 384, "away_seconds": 18.1, "repeated_seconds": 0.5}}' "\n")
    resumed = edited(logs("v4.0", "lars"), r'^(:::MLLOG .*"time_ms": (\d+).*"key": "epoch_start".*\n)', said)
    assert official_verdict(resumed, "v4.0")
    assert [f for f in judge_log(resumed, round_name="v4.0", level="rules").findings if f.severity == "error"] == []


def test_missing_tensor_line_is_rejected_by_both(logs):
    from laptime.compliance.result import judge_log

    bad = edited(logs("v2.0", "lars"), line("weights_initialization"), "")
    assert not official_verdict(bad, "v2.0")
    assert [f.severity for f in judge_log(bad, round_name="v2.0", level="official").findings].count("error") > 0


def test_official_program_prints_success_for_our_log(logs, tmp_path):
    command = [sys.executable, "-m", "mlperf_logging.compliance_checker", "--ruleset", "4.0.0", "--log_output",
               str(tmp_path / "out.log"), str(logs("v4.0", "lars"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert "SUCCESS" in done.stderr
    assert "FAILED" not in done.stderr


@pytest.mark.parametrize("round_name", ["v0.5", "v0.6"])
def test_old_dialects_are_written_and_read_back(tmp_path, round_name):
    from laptime.compliance.result import judge_log
    from laptime.log.read import read_log

    path = tmp_path / "result_0.txt"
    extra = [] if round_name == "v0.5" else ["optimizer.name=lars"]
    assert played_log(path, "resnet", round_name, extra).status == "converged"
    log = read_log(path)
    assert log.problems == ()
    verdict = judge_log(path, round_name=round_name)
    assert (verdict.status, verdict.findings) == ("converged", ())
    assert {record.key for record in log.records} >= {"run_start", "run_stop", "eval_accuracy", "opt_name"}
    assert (log.dialect, "init_start" in {r.key for r in log.records}) == (("mlp05", False) if round_name == "v0.5" else ("mll", True))
