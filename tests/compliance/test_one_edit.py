"""A good log has no findings; each single edit raises exactly the finding it deserves, at each level.

The official checker (package mlperf-logging) judges the same files: its verdict must be that of level "official".
"""

from dataclasses import replace
from itertools import count

import pytest
from mlperf_logging.compliance_checker import mlp_compliance

from laptime.compliance.result import judge_log

OFFICIAL = ("v0.7", "v1.0", "v1.1", "v2.0", "v2.1", "v3.0", "v3.1", "v4.0")  # rounds the official checker judges strictly
ALL = ("v0.5", "v0.6", *OFFICIAL, "mini-1", "smoke-1", "house-1")


def official_accepts(path, round_name):
    ruleset = f"{round_name.removeprefix('v')}.0"
    mlp_compliance.enqueued_configs.clear()
    checker = mlp_compliance.make_checker("training", ruleset, quiet=False, werror=False)
    try:
        return bool(mlp_compliance.main(str(path), f"training_{ruleset}/common.yaml", checker)[0])
    except (KeyError, TypeError, ValueError, FileNotFoundError):  # it crashes on missing fields, unknown optimizers
        return False


def findings(path, round_name, level="rules", severities=("error", "warning")):
    verdict = judge_log(path, round_name=round_name, level=level)
    return sorted({(finding.rule, finding.severity) for finding in verdict.findings if finding.severity in severities})


@pytest.mark.parametrize("level", ["rules", "official"])
@pytest.mark.parametrize("round_name", ALL)
def test_a_good_log_has_no_findings(tmp_path, make, round_name, level):
    path = make.log(tmp_path / "result_0.txt", make.records(round_name), round_name)
    verdict = judge_log(path, round_name=round_name, level=level)
    assert [finding.text() for finding in verdict.findings] == []
    assert verdict.status == "converged"


@pytest.mark.parametrize("optimizer", ["LARS", "SGD"])
@pytest.mark.parametrize("round_name", ["v0.6", *OFFICIAL])
def test_the_official_checker_accepts_a_good_log(tmp_path, make, round_name, optimizer):
    records = make.records(round_name, values=getattr(make, optimizer))
    path = make.log(tmp_path / "result_0.txt", records, round_name)
    assert official_accepts(path, round_name)
    assert findings(path, round_name) == []


def where(records, key, last=False):
    places = [place for place, each in enumerate(records) if each.key == key]
    return places[-1 if last else 0]


def without(key, last=False):
    def edit(records):
        del records[where(records, key, last)]
    return edit


def changed(key, last=False, **fields):
    def edit(records):
        place = where(records, key, last)
        records[place] = replace(records[place], **fields)
    return edit


def relabelled(key, last=False, **metadata):
    def edit(records):
        place = where(records, key, last)
        records[place] = replace(records[place], metadata={**records[place].metadata, **metadata})
    return edit


def unlabelled(key, name):
    def edit(records):
        place = where(records, key)
        rest = {n: v for n, v in records[place].metadata.items() if n != name}
        records[place] = replace(records[place], metadata=rest)
    return edit


def moved(key, after, last=False):
    """To just behind the last line of another key; stamps stay in order."""
    def edit(records):
        line = records.pop(where(records, key, last))
        records.insert(where(records, after, last=True) + 1, line)
        clock = count(records[0].time_ms if key != "cache_clear" else records[0].time_ms - 1000, 1000)
        records[:] = [replace(each, time_ms=next(clock)) for each in records]
    return edit


def doubled(key, value=None, time=1):
    def edit(records):
        place = where(records, key)
        twin = replace(records[place], time_ms=records[place].time_ms + time)
        records.insert(place + 1, twin if value is None else replace(twin, value=value))
    return edit


def stamped(key, minutes):
    """This line and all after it come `minutes` after the line before."""
    def edit(records):
        place = where(records, key)
        shift = records[place - 1].time_ms + minutes * 60_000 - records[place].time_ms
        records[place:] = [replace(each, time_ms=each.time_ms + shift) for each in records[place:]]
    return edit


def init_takes(minutes):
    def edit(records):
        start = records[where(records, "init_start")].time_ms
        place = where(records, "init_stop")
        shift = start + round(minutes * 60_000) - records[place].time_ms
        records[place:] = [replace(each, time_ms=each.time_ms + shift) for each in records[place:]]
    return edit


def without_interval(name):
    def edit(records):
        records[:] = [each for each in records if each.key not in (f"{name}_start", f"{name}_stop")]
    return edit


def without_evaluation(position):
    def edit(records):
        records[:] = [each for each in records
                      if not (each.key.startswith("eval_") and each.metadata.get("epoch_num") == position)]
    return edit


def evaluated_at(position):
    """An extra evaluation after an epoch that asks for none."""
    def edit(records):
        place = 1 + next(i for i, each in enumerate(records)
                         if each.key == "epoch_stop" and each.metadata["epoch_num"] == position)
        at = {"file": "run.py", "lineno": 10, "epoch_num": position}
        time = records[place - 1].time_ms
        records[place:place] = [replace(records[where(records, key)], time_ms=time, metadata=at)
                                for key in ("eval_start", "eval_accuracy", "eval_stop")]
    return edit


def numbered_from(first):
    def edit(records):
        for place, each in enumerate(records):
            if each.key in ("epoch_start", "epoch_stop"):
                number = each.metadata["epoch_num"] - 1 + first
                records[place] = replace(each, metadata={**each.metadata, "epoch_num": number})
    return edit


# edit, findings at level "rules", whether the official checker rejects
EDITS = {
    "no submitter": (without("submission_org"), {"submission_org"}, True),
    "empty submitter": (changed("submission_org", value=""), {"submission_org"}, True),
    "unknown status": (changed("submission_status", value="basement"), {"submission_status"}, True),
    "two divisions": (doubled("submission_division", "open"), {"submission_division"}, True),
    "wrong optimizer": (changed("opt_name", value="adam"), {"opt_name-closed"}, True),
    "no batch size": (without("global_batch_size"), {"global_batch_size-closed"}, True),
    "batch size zero": (changed("global_batch_size", value=0), {"global_batch_size-closed"}, True),
    "two learning rates": (doubled("lars_opt_base_learning_rate", 9.9), {"lars_opt_base_learning_rate-closed"}, True),
    "end learning rate": (changed("lars_opt_end_learning_rate", value=0.001), {"lars_opt_end_learning_rate-closed"}, True),
    "no epsilon": (without("lars_epsilon"), {"lars_epsilon-closed"}, True),
    "weight decay": (changed("lars_opt_weight_decay", value=0.0003), {"lars_opt_weight_decay-closed"}, True),
    "weight decay as text": (changed("lars_opt_weight_decay", value="0.0002"), {"lars_opt_weight_decay-closed"}, True),
    "momentum": (changed("lars_opt_momentum", value=0.95), {"lars_opt_momentum-closed-rules"}, False),
    "no accumulation": (without("gradient_accumulation_steps"), {"gradient_accumulation_steps-closed"}, True),
    "no training size": (without("train_samples"), {"train_samples"}, True),
    "no cache clear": (without("cache_clear"), {"cache_clear"}, True),
    "cache not cleared": (changed("cache_clear", value=False), {"cache_clear-false"}, False),
    "clearing without a value": (changed("cache_clear", value=None), {"cache_clear-value"}, False),
    "cleared as text": (changed("cache_clear", value="true"), {"cache_clear-value"}, False),
    "no init_start": (without("init_start"), {"clock-order", "init_start"}, True),
    "no init_stop": (without("init_stop"), {"clock-order", "init_stop"}, True),
    "init just within": (init_takes(29.9), set(), False),
    "init exactly the limit": (init_takes(30), {"init-limit"}, True),
    "init_start after run_start": (moved("init_start", "run_start"), {"clock-order"}, True),
    "run_start first": (moved("run_start", "submission_org"), {"clock-order", "key-on-clock"}, True),
    "no run_stop": (without("run_stop"), {"run_stop"}, True),
    "no status": (unlabelled("run_stop", "status"), {"run_stop", "run-status"}, True),
    "unknown status of run": (relabelled("run_stop", status="splendid"), {"run-status"}, False),
    "no position": (unlabelled("eval_accuracy", "epoch_num"), {"eval_accuracy-closed-position"}, True),
    "block without count": (unlabelled("block_start", "epoch_count"), {"block_start"}, True),
    "target missed": (changed("eval_accuracy", last=True, value=0.7589), {"target-missed"}, True),
    "accuracy after the run": (moved("eval_accuracy", "run_stop", last=True), {"interval-nesting", "target-missed"},
                               False),
    "missing quote": (None, {"log-grammar", "opt_name-closed"}, True),
    "start as a point": (changed("run_start", event_type="POINT_IN_TIME"), {"event-type"}, False),
    "time runs back": (stamped("eval_accuracy", -1), {"time-order"}, False),
    "block not stopped": (without("block_stop"), {"interval-pairs"}, False),
    "epoch not started": (without("epoch_start"), {"interval-pairs", "epoch-numbers"}, False),
    "block stopped elsewhere": (relabelled("block_stop", first_epoch_num=9), {"interval-pairs"}, False),
    "block outside": (moved("block_stop", "run_stop", last=True), {"interval-pairs"}, False),
    "epochs from zero": (numbered_from(0), {"epoch-numbers"}, False),
    "gap between blocks": (relabelled("block_start", last=True, first_epoch_num=33), {"block-numbers", "interval-pairs"},
                           False),
    "evaluation skipped": (without_evaluation(7), {"eval-missing"}, False),
    "extra evaluation": (evaluated_at(13), {"eval-extra"}, False),
    "accuracy outside": (without_interval("eval"), set(), False),
    "late hyperparameter": (moved("lars_epsilon", "run_stop"), {"late-key"}, False),
    "hyperparameter on the clock": (moved("lars_epsilon", "run_start"), {"key-on-clock"}, False),
    "cleared late": (moved("cache_clear", "run_start"), {"cache-order"}, False),
    "seed as text": (changed("seed", value="7"), {"seed"}, False),
    "said twice": (doubled("submission_org"), {"submission_org"}, False),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_found(tmp_path, make, name):
    edit, wanted, rejected = EDITS[name]
    records = make.records("v4.0")
    if edit:
        edit(records)
    path = make.log(tmp_path / "result_0.txt", records, "v4.0")
    if edit is None:
        text = path.read_text()
        path.write_text(text.replace('"key": "opt_name"', '"key": opt_name"'))
    verdict = judge_log(path, round_name="v4.0")
    found = {finding.rule for finding in verdict.findings if finding.severity != "note"}
    assert found == wanted, [finding.text() for finding in verdict.findings]
    official = judge_log(path, round_name="v4.0", level="official")
    assert any(finding.severity == "error" for finding in official.findings) == rejected, official.findings
    assert official_accepts(path, "v4.0") is not rejected


@pytest.mark.parametrize(("round_name", "value", "wanted"), [
    ("v0.7", False, [("cache_clear-false", "error")]), ("v4.0", False, [("cache_clear-false", "error")]),
    ("house-1", False, [("cache_clear-false", "error")]), ("mini-1", False, [("cache_clear-false", "warning")]),
    ("smoke-1", False, [("cache_clear-false", "warning")]), ("v0.7", None, [("cache_clear-value", "warning")]),
    ("v0.6", False, [("cache_clear", "error")])])
def test_caches_that_were_not_cleared_are_as_bad_as_the_round_makes_them(tmp_path, make, round_name, value, wanted):
    records = make.records(round_name)
    changed("cache_clear", value=value)(records)
    path = make.log(tmp_path / "result_0.txt", records, round_name)
    assert findings(path, round_name) == wanted
    assert round_name == "v0.6" or findings(path, round_name, "official") == []  # the official checker takes any value


@pytest.mark.parametrize("round_name", ["v1.1", "v2.0", "v2.1"])
@pytest.mark.parametrize("edit", [without("weights_initialization"), doubled("weights_initialization"),
                                  relabelled("weights_initialization", tensor="conv99")])
def test_tensors_must_be_the_list(tmp_path, make, round_name, edit):
    records = make.records(round_name)
    edit(records)
    path = make.log(tmp_path / "result_0.txt", records, round_name)
    assert findings(path, round_name) == [("tensors", "error")]
    assert findings(path, round_name, "official") == [("tensors", "error")]
    assert not official_accepts(path, round_name)


@pytest.mark.slow
@pytest.mark.parametrize("round_name", OFFICIAL)
def test_every_edit_gets_the_official_verdict_in_every_round(tmp_path, make, round_name):
    differing = []
    for name, (edit, _, _) in EDITS.items():
        records = make.records(round_name)
        try:
            (edit or (lambda lines: None))(records)
        except IndexError:  # the round does not log that key
            continue
        path = make.log(tmp_path / f"result_{len(list(tmp_path.iterdir()))}.txt", records, round_name)
        ours = not any(severity == "error" for _, severity in findings(path, round_name, "official"))
        if ours != official_accepts(path, round_name):
            differing.append(name)
    assert differing == []
