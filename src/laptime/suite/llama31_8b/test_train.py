"""The session: hyperparameters from live objects, schedule, loss, evaluation, validation, the official checker."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from judged import accepted, errors
from played import played_log
from torch.nn import functional as F

from laptime.benchmark import Context
from laptime.config import override
from laptime.errors import InvalidConfiguration
from laptime.events import Cadence, Plan, Point
from laptime.rules.load import load_round
from laptime.suite.llama31_8b import train
from laptime.suite.llama31_8b.config import FAULTS, PRESETS, full, layout, mini, smoke, validate
from laptime.suite.llama31_8b.published import sizes
from laptime.training.data.store import Manifest, Store
from laptime.training.data.token_batches import Micro
from laptime.training.distributed.layout import check
from laptime.training.distributed.world import World
from laptime.training.loop import Batch
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
TINY = override(mini(), ["global_batch_size=6", "model.hidden=16", "model.intermediate=24", "model.heads=4", "model.key_value_heads=2",
                         "model.head_size=4", "model.vocabulary=40", "model.rope_positions=12", "data.length=12", "data.eval_samples=5",
                         "data.eval_batch_size=2", "speed.dtype=float64", "schedule.warmup_steps=2", "model.initial_std=0.2"])
GOLDEN = json.loads(Path(train.__file__).with_name("golden.json").read_text())


def session_of(config, tmp_path, world=ALONE):
    facts = {"train_samples": 60, "eval_samples": config.data.eval_samples, "vocabulary": config.model.vocabulary,
             "length": config.data.length}
    store = Store(tmp_path, Manifest("none", "", "", facts, {}))
    plan = Plan(config.global_batch_size, Point(1, "epochs"), Cadence("epochs", (1,)), sizes(config, store.metadata))
    return train.build(config, Context(world, store, Seeds(5), plan, tmp_path))


def batch_of(config, step):
    """Six samples in micro-batches as `config` says."""
    windows = torch.randint(40, (6, 13), generator=torch.Generator().manual_seed(step))
    micros = [Micro(part[:, :-1], part[:, 1:]) for part in windows.chunk(config.parallel.accumulation_steps)]
    return Batch(tuple(micros), 6)


def first_losses(config, tmp_path, steps=6):
    session = session_of(config, tmp_path)
    return torch.tensor([session.step(batch_of(config, step)).item() for step in range(steps)], dtype=torch.float64)


def test_first_losses_are_the_golden_ones(tmp_path):
    assert first_losses(TINY, tmp_path).tolist() == pytest.approx(GOLDEN["first_losses"]["adamw"], rel=1e-9)


def test_losses_do_not_depend_on_accumulation(tmp_path):
    whole, parts = (first_losses(override(TINY, [f"parallel.accumulation_steps={n}"]), tmp_path) for n in (1, 3))
    assert torch.allclose(whole, parts, rtol=1e-10, atol=0)


def test_losses_do_not_depend_on_computing_blocks_again(tmp_path):
    again = override(TINY, ["parallel.checkpointing=blocks"])
    assert torch.equal(first_losses(TINY, tmp_path), first_losses(again, tmp_path))


def test_loss_is_the_mean_over_all_tokens_of_the_batch(tmp_path):
    session, (micro,) = session_of(TINY, tmp_path), batch_of(TINY, 0).micro
    scores = session.model(micro.tokens, torch.arange(12)).detach()
    expected = sum(-scores[b, i].log_softmax(0)[micro.labels[b, i]] for b in range(6) for i in range(12)) / 72
    assert session.step(batch_of(TINY, 0)).item() == pytest.approx(expected.item(), rel=1e-12)


def test_loss_falls_on_samples_seen_again_and_again(tmp_path):
    session = session_of(TINY, tmp_path)
    found = [session.step(batch_of(TINY, 0)).item() for _ in range(60)]
    assert found[0] > 3.5
    assert found[-1] < 1.5


def test_schedule_has_the_values_of_the_reference_formula(tmp_path):
    """Step s up to W: base (s + 1) / (W + 1); then half a cosine to a tenth of it at step 1,200,000."""
    schedule = train.build_schedule(override(full(), ["schedule.warmup_steps=512", "optimizer.base_learning_rate=5e-4"]))
    for step in (0, 1, 200, 511, 512):
        assert schedule.value(step) == pytest.approx(5e-4 * (step + 1) / 513, rel=1e-12)
    for step in (513, 5000, 600_000, 1_199_999):
        share = (step - 512) / (1_200_000 - 512)
        assert schedule.value(step) == pytest.approx(5e-5 + 4.5e-4 * 0.5 * (1 + math.cos(math.pi * share)), rel=1e-12)
    assert schedule.value(1_200_000) == schedule.value(2_000_000) == 5e-5


def test_learning_rate_of_a_step_is_that_of_the_schedule(tmp_path):
    session = session_of(TINY, tmp_path)
    for step in range(4):
        session.step(batch_of(TINY, step))
        assert session.optimizer.rate.item() == pytest.approx(train.build_schedule(TINY).value(step), rel=1e-12)


def test_only_norms_are_not_decayed(tmp_path):
    session = session_of(TINY, tmp_path)
    decayed, norms = session.optimizer.param_groups
    assert (decayed["weight_decay"], norms["weight_decay"]) == (0.1, 0.0)
    assert {p.ndim for p in decayed["params"]} == {2}
    assert len(norms["params"]) == 2 * TINY.model.layers + 1
    assert len(decayed["params"]) + len(norms["params"]) == len(list(session.model.parameters()))


def test_hyperparameters_of_the_full_preset_are_the_reference_ones(tmp_path):
    with torch.device("meta"):
        session = session_of(replace(full(), global_batch_size=32), tmp_path, World(0, 1, torch.device("meta")))
    assert session.hyperparameters == {
        "global_batch_size": 32, "gradient_accumulation_steps": 1, "max_sequence_length": 8192, "max_steps": 1200000, "opt_name": "adamw",
        "opt_base_learning_rate": 8e-4, "opt_end_learning_rate": pytest.approx(8e-5), "opt_learning_rate_warmup_steps": 128,
        "opt_learning_rate_decay_steps": 1199872, "opt_learning_rate_decay_schedule": "cosine with linear warmup", "opt_adamw_beta_1": 0.9,
        "opt_adamw_beta_2": 0.95, "opt_adamw_epsilon": 1e-5, "opt_adamw_weight_decay": 0.1, "opt_gradient_clip_norm": 1.0, "dropout": 0.0,
        "lowest_numerical_precision_in_linear": "fp32", "lowest_numerical_precision_in_attn": "fp32", "config_filename": train.FILE,
        "lowest_numerical_precision_in_comm": "fp32", "tensor_parallelism": 1, "pipeline_parallelism": 1, "context_parallelism": 1,
        "expert_parallelism": 1, "micro_batch_size": 32}
    assert len(session.initialised) == 3 + 9 * 32
    assert sum(p.numel() for p in session.model.parameters()) == 8_030_261_248


def test_full_preset_has_the_values_of_its_reference_point():
    config = full()
    (point,) = [one for one in load_round("v6.1").benchmarks["llama31_8b"].references if one.batch_size == 32]
    assert float(point.hyperparameters["opt_base_learning_rate"]) == config.optimizer.base_learning_rate
    assert float(point.hyperparameters["opt_learning_rate_warmup_samples"]) == config.schedule.warmup_steps * 32


def test_evaluation_is_the_mean_over_tokens_and_returns_to_training(tmp_path):
    session = session_of(TINY, tmp_path)
    windows = torch.randint(40, (4, 13), generator=torch.Generator().manual_seed(9))
    labels = windows[:, 1:].clone()
    labels[3] = -100  # fills up
    session.evaluation.batches = [Micro(windows[:2, :-1], labels[:2]), Micro(windows[2:, :-1], labels[2:])]
    with torch.no_grad():
        scores = session.model.eval()(windows[:3, :-1], torch.arange(12))
    expected = F.cross_entropy(scores.flatten(0, 1), labels[:3].flatten()).item()
    assert session.evaluation() == {"eval_accuracy": pytest.approx(expected, rel=1e-12)}
    assert session.model.training


def test_planted_faults_of_the_data_change_what_they_say():
    tokens = torch.arange(24).view(2, 12).numpy()
    as_it_was = train.Broken(TINY.data, 1)(tokens, tokens + 1)
    assert (as_it_was[0] == tokens).all()
    assert (as_it_was[1] == tokens + 1).all()
    same = train.Broken(replace(TINY.data, shift_labels=False), 1)(tokens, tokens + 1)
    assert (same[1] == tokens).all()
    mixed = train.Broken(replace(TINY.data, keep_order=False), 1)(tokens, tokens + 1)
    assert (mixed[0] != tokens).any()
    assert (mixed[1] == tokens + 1).all()
    assert sorted(mixed[0][1]) == tokens[1].tolist()


def test_bfloat16_steps_stay_near_float32(tmp_path):
    half, single = (first_losses(override(TINY, [f"speed.dtype={name}"]), tmp_path, 2) for name in ("bfloat16", "float32"))
    assert torch.allclose(half, single, rtol=0.05)
    assert not torch.equal(half, single)


def test_float8_steps_stay_near_bfloat16_and_hardly_depend_on_accumulation(tmp_path):
    able = override(TINY, ["model.head_size=8", "model.intermediate=32"])
    narrow, half = (first_losses(override(able, [f"speed.dtype={name}"]), tmp_path) for name in ("float8", "bfloat16"))
    assert torch.allclose(narrow, half, rtol=0.05)
    assert not torch.equal(narrow, half)
    parts = first_losses(override(able, ["speed.dtype=float8", "parallel.accumulation_steps=3"]), tmp_path)
    assert torch.allclose(narrow, parts, rtol=0.01)


def test_float8_of_sizes_that_cannot_be_is_refused(tmp_path):
    """k_proj has 2 x 4 outputs."""
    with pytest.raises(InvalidConfiguration, match=r"k_proj divisible by 16 .* found 16 and 8"):
        session_of(override(TINY, ["speed.dtype=float8"]), tmp_path)


@pytest.mark.parametrize(("change", "says"), [
    ("global_batch_size=7", "divisible by processes x accumulation_steps = 2"),
    ("parallel.accumulation_steps=0", "divisible by processes"),
    ("model.key_value_heads=3", "key_value_heads=3"), ("model.vocabulary=0", "vocabulary=0"),
    ("optimizer.beta2=1.0", "beta2 in"), ("optimizer.clip_norm=0", "clip_norm and optimizer.epsilon above 0"),
    ("optimizer.end_share=2", "end_share from 0 to 1"), ("schedule.warmup_steps=1200000", "below schedule.max_steps"),
    ("schedule.limit_steps=0", "limit_steps of at least 1"), ("data.eval_batch_size=0", "of at least 1"),
])
def test_validation_refuses(change, says):
    with pytest.raises(InvalidConfiguration, match=says):
        validate(override(TINY, [change]), processes=2)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_valid_on_one_process(name):
    validate(PRESETS[name](), processes=1)
    check(PRESETS[name]().parallel, layout(PRESETS[name]()), 1)


def test_full_preset_can_be_spread_over_many():
    config = override(full(), ["parallel.tensor=4", "parallel.sequence=true", "parallel.context=2", "parallel.pipeline=2", "parallel.shard=4"])
    check(config.parallel, layout(config), 64)
    with pytest.raises(InvalidConfiguration, match=r"model.key_value_heads divisible by parallel.tensor = 16"):
        check(override(config, ["parallel.tensor=16"]).parallel, layout(config), 256)


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_valid_and_change_something(fault):
    assert override(mini(), FAULTS[fault]) != mini()
    validate(override(smoke(), FAULTS[fault]), processes=1)


def test_mini_differs_from_full_in_sizes_only():
    """Design: sizes and the values that scale with them. What does not scale stays."""
    reference, small = full(), mini()
    for group, names in (("model", ("norm_epsilon", "rope_base", "rope_factor", "rope_low", "rope_high", "initial_std", "positions_known",
                                    "future_hidden")),
                         ("optimizer", ("end_share", "beta1", "beta2", "epsilon", "weight_decay", "clip_norm")), ("schedule", ("max_steps",)),
                         ("data", ("shift_labels", "keep_order"))):
        for name in names:
            assert getattr(getattr(small, group), name) == getattr(getattr(reference, group), name), name
    assert small.model.rope_positions == small.data.length


# --- the official checker (dev extra) reads logs of a stand-in session at the full preset ---


@pytest.mark.parametrize("round_name", ["v5.1", "v6.0", "v6.1"])
def test_official_checker_and_ours_accept_the_log_of_a_full_run(tmp_path, round_name):
    path = tmp_path / "result_0.txt"
    assert played_log(path, "llama31_8b", round_name, fails=0, passes=3.2841).status == "converged"
    assert accepted(path, round_name)
    for level in ("official", "rules"):
        assert errors(path, round_name=round_name, level=level) == []


@pytest.mark.parametrize("key", ["opt_adamw_beta_1", "max_steps", "opt_learning_rate_decay_steps"])
def test_official_checker_and_ours_refuse_a_log_without_a_key(tmp_path, key):
    path = tmp_path / "result_0.txt"
    played_log(path, "llama31_8b", "v6.1", fails=0, passes=3.2841)
    lines = [line for line in path.read_text().splitlines(keepends=True) if f'"key": "{key}"' not in line]
    path.write_text("".join(lines))
    assert not accepted(path, "v6.1")
    assert errors(path, round_name="v6.1")


def test_evaluations_of_a_full_run_lie_where_the_rules_say(tmp_path):
    path = tmp_path / "result_0.txt"
    played_log(path, "llama31_8b", "v6.1", ["global_batch_size=80"], fails=0, passes=3.2841)
    records = [json.loads(line[8:]) for line in path.read_text().splitlines() if '"eval_accuracy"' in line]
    assert [record["metadata"]["samples_count"] for record in records] == [154 * 80]
