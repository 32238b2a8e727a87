"""What logs say of precision and parallelism."""

import pytest
import torch

from laptime.config import Parallel, Speed
from laptime.rules.load import load_round
from laptime.training.disclosure import disclosed
from laptime.training.speed import resolve


@pytest.mark.parametrize(("speed", "computed", "exchanged"), [
    (Speed(dtype="float64"), "fp64", "fp64"), (Speed(dtype="float32"), "fp32", "fp32"), (Speed(dtype="bfloat16"), "bfloat16", "fp32"),
    (Speed(dtype="float32", tf32="on"), "tf32", "fp32")])
def test_precision_is_that_of_the_products_and_of_the_gradients(speed, computed, exchanged):
    found = disclosed(resolve(speed, torch.device("cpu")), Parallel(), micro_batch_size=2, config_filename="config.py")
    assert found["lowest_numerical_precision_in_linear"] == found["lowest_numerical_precision_in_attn"] == computed
    assert found["lowest_numerical_precision_in_comm"] == exchanged


def test_float8_is_said_of_the_linear_layers_alone_and_allowed():
    found = disclosed(Speed(dtype="float8", tf32="on"), Parallel(), micro_batch_size=2, config_filename="config.py")
    assert [found[f"lowest_numerical_precision_in_{place}"] for place in ("linear", "attn", "comm")] == ["fp8", "bfloat16", "fp32"]
    rules = [rule for rule in load_round("v6.1").benchmarks["llama31_8b"].keys if rule.key.startswith("lowest")]
    assert len(rules) == 3
    assert not any(rule.constraint.violation(found[rule.key], found) for rule in rules)


def test_everything_that_v6_1_may_disclose_is_there_and_allowed():
    found = disclosed(resolve(Speed(), torch.device("cpu")), Parallel(tensor=4, pipeline=2, context=8), micro_batch_size=3,
                      config_filename="config.py")
    assert (found["tensor_parallelism"], found["pipeline_parallelism"], found["context_parallelism"]) == (4, 2, 8)
    rules = {rule.key: rule for rule in load_round("v6.1").benchmarks["llama31_8b"].keys if rule.key in found}
    assert set(rules) == set(found)
    assert [key for key, rule in rules.items() if rule.constraint and rule.constraint.violation(found[key], found)] == []
