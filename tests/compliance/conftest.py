"""A factory of good logs, made from the rules of a round alone, and of the files that hold them."""

from dataclasses import replace
from itertools import count

import pytest

from laptime.log.record import Record
from laptime.log.write import LogWriter
from laptime.rules.load import load_round

PLACE = {"file": "run.py", "lineno": 10}
LARS = {"global_batch_size": 1632, "opt_name": "lars", "opt_base_learning_rate": 7.4, "opt_end_learning_rate": 0.0001,
        "opt_learning_rate_decay_poly_power": 2, "opt_learning_rate_decay_steps": 27476, "opt_epsilon": 0,
        "opt_learning_rate_warmup_epochs": 2, "opt_momentum": 0.9, "opt_weight_decay": 5e-05, "model_bn_span": 204}
SGD = {**LARS, "opt_name": "sgd", "opt_base_learning_rate": 0.8, "opt_weight_decay": 0.0001,
       "opt_learning_rate_decay_boundary_epochs": [30, 60, 80]}
STEP_MS = 1000


def good_records(round_name, *, values=None, seed=7, last=35, submitter="acme"):
    """Every line that a complete, converged resnet run of the round logs, one second apart."""
    round_ = load_round(round_name)
    rules = round_.benchmarks["resnet"]
    values = values or (SGD if round_.dialect == "mlp05" else LARS)
    target = rules.target["eval_accuracy"].low
    lines = []

    def say(moment, value=None, **metadata):
        if moment in round_.vocabulary:
            lines.append((round_.vocabulary[moment], value, metadata))

    def at(epoch):
        return {rules.position.key: epoch - 1 + round_.first_epoch}

    say("cache_clear", True)
    for name in ("org", "platform", "poc_name", "entry"):
        say(f"submission_{name}", submitter if name == "org" else "box")
    say("submission_division", "closed")
    say("submission_status", "onprem")
    say("submission_benchmark", rules.log_name)
    say("init_start")
    if round_.clock == "from_build":
        say("run_start")
    say("seed", seed)
    lines += [(rule.key, values[rule.name], {}) for rule in rules.hyperparameters("closed", values)]
    lines += [(round_.vocabulary["weights_initialization"], None, {"tensor": name}) for name in rules.tensors]
    say("gradient_accumulation_steps", 1)
    say("train_samples", 1_281_167)
    say("eval_samples", 50_000)
    say("init_stop")
    if round_.clock != "from_build":
        say("run_start")
    begun, step = 0, round(rules.evaluations.step.value({}))
    for epoch in range(last % step or step, last + 1, step):
        block = {"first_epoch_num": begun + round_.first_epoch, "epoch_count": epoch - begun}
        say("block_start", **block)
        for number in range(begun + 1, epoch + 1):
            say("epoch_start", **at(number))
            say("epoch_stop", **at(number))
        say("block_stop", first_epoch_num=block["first_epoch_num"])
        say("eval_start", **at(epoch))
        say("eval_accuracy", round(target + (0.0011 if epoch == last else -0.059), 4), **at(epoch))
        say("eval_stop", **at(epoch))
        begun = epoch
    say("run_stop", status="success")
    clock = count(1_700_000_000_000, STEP_MS)
    return [record(key, value, next(clock), metadata) for key, value, metadata in lines]


def record(key, value, time_ms, metadata):
    ends = {"start": "INTERVAL_START", "stop": "INTERVAL_END"}
    return Record(key, value, time_ms, ends.get(key.rpartition("_")[2], "POINT_IN_TIME"), {**PLACE, **metadata})


def write_log(path, records, round_name):
    path.parent.mkdir(parents=True, exist_ok=True)
    with LogWriter(path, load_round(round_name).dialect, "resnet") as writer:
        for each in records:
            writer.write(each)
    return path


def write_result(folder, round_name, runs):
    for number, records in enumerate(runs):
        write_log(folder / f"result_{number}.txt", records, round_name)
    return folder


def good_set(round_name, runs=5, **changes):
    return [good_records(round_name, seed=100 + run, **changes) for run in range(runs)]


def stretched(records, factor):
    """The same log of a machine `factor` times slower."""
    start = records[0].time_ms
    return [replace(each, time_ms=start + round((each.time_ms - start) * factor)) for each in records]


@pytest.fixture
def make():
    """The functions above by name: tests are modules without a package and cannot import each other."""
    class Make:
        records = staticmethod(good_records)
        log = staticmethod(write_log)
        result = staticmethod(write_result)
        set = staticmethod(good_set)
        stretched = staticmethod(stretched)
        record = staticmethod(record)
        LARS, SGD = LARS, SGD

    return Make
