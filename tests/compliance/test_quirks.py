"""The two levels side by side: a log for each liberty of the official checker, and the table that describes them."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from good_logs import Kind, good_records, write_log
from log_edits import after_the_run, changed, init_takes, labelled, moved, stamped, without

from laptime.compliance.catalogue import CATALOGUE
from laptime.compliance.result import judge_log
from laptime.rules.load import load_round, round_names

official = pytest.importorskip("official", reason="dev extra not installed")
DOCUMENT = Path(__file__).parents[2] / "docs" / "differences.md"
RESNET, GPT3 = Kind("v4.0", "resnet", "closed", "lars"), Kind("v3.0", "gpt3")
LLAMA, LORA = Kind("v6.0", "llama31_405b"), Kind("v4.0", "llama2_70b_lora")


def honest(records):
    changed("global_batch_size", 1500)(records)
    changed("opt_base_learning_rate", 0.00010417)(records)
    changed("opt_learning_rate_warmup_steps", 6144)(records)
    changed("opt_learning_rate_decay_steps", 915456)(records)


def late_evaluations(records):
    records[:] = [replace(each, metadata={**each.metadata, "samples_count": each.metadata["samples_count"] * 3})
                  if each.key.startswith("eval_") and "samples_count" in each.metadata else each for each in records]


# quirk -> kind of log, edit, rule that level "rules" names (as error or warning), does it fail there
LIBERTIES = {
    "Q1": (RESNET, after_the_run, "target-missed", True),
    "Q1 aborted": (RESNET, labelled("run_stop", "status", "aborted"), "run-status", False),
    "Q2": (RESNET, labelled("epoch_start", "epoch_num", 7), "epoch-numbers", False),
    "Q2 stamps": (RESNET, stamped("eval_stop", 0), "time-order", False),
    "Q3": (RESNET, changed("cache_clear", False), "cache_clear-false", True),
    "Q4": (RESNET, moved("lars_opt_momentum", "run_stop"), "late-key", True),
    "Q4 true": (RESNET, changed("gradient_accumulation_steps", True), "gradient_accumulation_steps-closed", True),
    "Q5": (LORA, late_evaluations, "eval-missing", True),
    "Q6": (RESNET, changed("lars_opt_momentum", 0.95), "lars_opt_momentum-closed-rules", False),
    "Q17": (Kind("v5.0", "bert"), without("submission_org"), "submission_org", True),
}


@pytest.mark.parametrize("name", LIBERTIES)
def test_what_the_official_checker_lets_pass(tmp_path, name):
    kind, edit, rule, fails = LIBERTIES[name]
    records = good_records(kind)
    edit(records)
    path = write_log(tmp_path / "result_0.txt", records, kind.round)
    assert official.verdict(path, kind.round, kind.folder) == "pass"
    assert [f.text() for f in judge_log(path, round_name=kind.round, level="official").findings if f.severity == "error"] == []
    found = {finding.rule: finding.severity for finding in judge_log(path, round_name=kind.round).findings}
    assert (found.get(rule) == "error") is fails, found
    assert rule in found


@pytest.mark.parametrize(("kind", "edit"), [(LLAMA, honest), (GPT3, init_takes(45)), (GPT3, changed("none", 0))],
                         ids=["Q12", "Q15", "good"])
def test_what_only_the_official_checker_rejects(tmp_path, kind, edit):
    records = good_records(kind)
    edit(records)
    path = write_log(tmp_path / "result_0.txt", records, kind.round)
    theirs = official.verdict(path, kind.round, kind.folder)
    ours = [f.rule for f in judge_log(path, round_name=kind.round, level="official").findings if f.severity == "error"]
    assert (theirs == "pass") == (ours == [])
    assert [f.text() for f in judge_log(path, round_name=kind.round).findings if f.severity == "error"] == []


def test_the_table_of_quirks_is_whole_and_names_findings_that_exist():
    text = DOCUMENT.read_text().partition("<!-- quirks -->")[2].partition("<!-- end of quirks -->")[0]
    lines = [line for line in text.splitlines() if line.startswith("| Q")]
    assert [line.split(" | ")[0] for line in lines] == [f"| Q{number}" for number in range(1, 19)]
    ids = set(CATALOGUE) | {rule.id for name in round_names() for rules in load_round(name).benchmarks.values()
                            for rule in rules.keys}
    named = {word for line in lines for word in re.findall(r"`([\w-]+)`", line.rsplit(" | ", 1)[1])} - {"-rules"}
    assert named - ids == set()
