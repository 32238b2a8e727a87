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
from laptime.suite.llama31_405b import train
from laptime.suite.llama31_405b.articles import generate
from laptime.suite.llama31_405b.config import (
    FAULTS,
    PRESETS,
    base_rate,
    full,
    layout,
    mini,
    scaled_steps,
    smoke,
    validate,
)
from laptime.suite.llama31_405b.published import sizes, start_of
from laptime.training.data.store import Manifest, Store
from laptime.training.data.token_batches import Micro
from laptime.training.distributed.layout import check
from laptime.training.distributed.world import World
from laptime.training.loop import Batch
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
TINY = override(mini(), ["global_batch_size=6", "schedule.reference_batch=6", "data.tokens=40", "model.hidden=16", "model.intermediate=24", "model.heads=4", "model.key_value_heads=2",
                         "model.head_size=4", "model.vocabulary=40", "model.rope_positions=12", "data.length=12", "data.eval_samples=5",
                         "data.eval_batch_size=2", "speed.dtype=float64", "schedule.warmup_steps=2", "optimizer.reference_learning_rate=0.005",
                         "optimizer.end_learning_rate=0.0005", "model.initial_std=0.2"])
GOLDEN = json.loads(Path(train.__file__).with_name("golden.json").read_text())


def session_of(config, tmp_path, world=ALONE):
    facts = {"train_samples": 60 * config.global_batch_size, "eval_samples": config.data.eval_samples, "vocabulary": config.data.tokens,
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


@pytest.mark.parametrize(("batch", "base", "warmup", "last"), [
    (1152, 8e-5, 8000, 1_200_000), (2304, 1.6e-4, 4000, 600_000), (448, 3.111111111111112e-05, 20572, 3_085_715)])
def test_schedule_has_the_values_of_the_reference_formula(batch, base, warmup, last):
    """Step s up to W: base (s + 1) / (W + 1); then half a cosine to 8e-7 at step T. W and T are rounded up."""
    schedule = train.build_schedule(replace(full(), global_batch_size=batch))
    for step in (0, 1, 200, warmup - 1, warmup):
        assert schedule.value(step) == pytest.approx(base * (step + 1) / (warmup + 1), rel=1e-12)
    for step in (warmup + 1, last // 2, last - 1):
        share = (step - warmup) / (last - warmup)
        assert schedule.value(step) == pytest.approx(8e-7 + (base - 8e-7) * 0.5 * (1 + math.cos(math.pi * share)), rel=1e-9)
    assert schedule.value(last) == schedule.value(2 * last) == 8e-7


@pytest.mark.parametrize("batch", [448, 576, 1008, 1152, 1280, 1440, 1536, 2304, 4608, 6912, 9216])
def test_base_rate_passes_the_checker_s_test_to_the_last_bit(batch):
    assert base_rate(replace(full(), global_batch_size=batch)) * 1152 == batch * 8e-5


def test_mini_runs_end_within_the_warm_up_as_full_ones_do():
    for config, samples in ((full(), 331_776), (mini(), mini().schedule.limit_samples)):
        assert samples / config.global_batch_size < 0.05 * scaled_steps(config, config.schedule.warmup_steps)


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
    config = replace(full(), data=replace(full().data, eval_samples=5))
    with torch.device("meta"):
        session = session_of(config, tmp_path, World(0, 1, torch.device("meta")))
    assert session.hyperparameters == {
        "global_batch_size": 1152, "gradient_accumulation_steps": 1, "max_sequence_length": 8192, "opt_name": "adamw",
        "opt_base_learning_rate": 8e-5, "opt_end_learning_rate": 8e-7, "opt_learning_rate_warmup_steps": 8000,
        "opt_learning_rate_decay_steps": 1192000, "opt_learning_rate_decay_schedule": "cosine with linear warmup", "opt_adamw_beta_1": 0.9,
        "opt_adamw_beta_2": 0.95, "opt_adamw_epsilon": 1e-5, "opt_adamw_weight_decay": 0.1, "opt_gradient_clip_norm": 1.0, "dropout": 0.0,
        "init_checkpoint_step": 0,
        "lowest_numerical_precision_in_linear": "fp32", "lowest_numerical_precision_in_attn": "fp32", "config_filename": train.FILE,
        "lowest_numerical_precision_in_comm": "fp32", "tensor_parallelism": 1, "pipeline_parallelism": 1, "context_parallelism": 1,
        "expert_parallelism": 1, "micro_batch_size": 1152}
    assert len(session.initialised) == 3 + 9 * 126
    assert sum(p.numel() for p in session.model.parameters()) == 405_853_388_800


@pytest.mark.parametrize("batch", [1152, 2304, 4608])
def test_values_of_a_batch_are_those_of_its_reference_point(batch):
    config = replace(full(), global_batch_size=batch)
    (point,) = [one for one in load_round("v6.0").benchmarks["llama31_405b"].references if one.batch_size == batch]
    assert float(point.hyperparameters["opt_base_learning_rate"]) == base_rate(config)
    assert float(point.hyperparameters["opt_learning_rate_warmup_steps"]) == scaled_steps(config, config.schedule.warmup_steps)


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


@pytest.mark.parametrize(("change", "says"), [
    ("global_batch_size=7", "divisible by processes x accumulation_steps = 2"),
    ("parallel.accumulation_steps=0", "divisible by processes"),
    ("model.key_value_heads=3", "key_value_heads=3"), ("model.vocabulary=0", "vocabulary=0"),
    ("optimizer.beta2=1.0", "beta2 in"), ("optimizer.clip_norm=0", "clip_norm and optimizer.epsilon above 0"),
    ("schedule.warmup_steps=1200000", "below schedule.max_steps"),
    ("schedule.limit_samples=0", "limit_samples of at least 1"), ("data.tokens=41", "data.tokens from 1 to model.vocabulary = 40"), ("data.eval_batch_size=0", "of at least 1"),
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
                         ("optimizer", ("beta1", "beta2", "epsilon", "weight_decay", "clip_norm")), ("schedule", ("warmup_steps", "max_steps")),
                         ("data", ("shift_labels", "keep_order", "start"))):
        for name in names:
            assert getattr(getattr(small, group), name) == getattr(getattr(reference, group), name), name
    assert small.model.rope_positions == small.data.length
    assert small.optimizer.end_learning_rate == pytest.approx(small.optimizer.reference_learning_rate / 100)


# --- the official checker (dev extra) reads logs of a stand-in session at the full preset ---


@pytest.mark.parametrize("round_name", ["v5.0", "v5.1", "v6.0"])
def test_official_checker_and_ours_accept_the_log_of_a_full_run(tmp_path, round_name):
    path = tmp_path / "result_0.txt"
    assert played_log(path, "llama31_405b", round_name, fails=0, passes=5.5831).status == "converged"
    assert accepted(path, round_name)
    for level in ("official", "rules"):
        assert errors(path, round_name=round_name, level=level) == []


@pytest.mark.parametrize("key", ["opt_adamw_beta_1", "init_checkpoint_step", "opt_learning_rate_decay_steps"])
def test_official_checker_and_ours_refuse_a_log_without_a_key(tmp_path, key):
    path = tmp_path / "result_0.txt"
    played_log(path, "llama31_405b", "v6.0", fails=0, passes=5.5831)
    lines = [line for line in path.read_text().splitlines(keepends=True) if f'"key": "{key}"' not in line]
    path.write_text("".join(lines))
    assert not accepted(path, "v6.0")
    assert errors(path, round_name="v6.0")


@pytest.mark.parametrize(("round_name", "batch", "first"), [
    ("v6.0", 1152, 15 * 18432), ("v6.0", 2304, 18 * 18432), ("v5.1", 1440, (3 + 12 + 1) * 13 * 1440), ("v5.0", 1152, 46080)])
def test_first_evaluation_of_a_full_run_lies_where_the_rules_say(tmp_path, round_name, batch, first):
    path = tmp_path / "result_0.txt"
    played_log(path, "llama31_405b", round_name, [f"global_batch_size={batch}"], fails=0, passes=5.5831)
    records = [json.loads(line[8:]) for line in path.read_text().splitlines() if '"eval_accuracy"' in line]
    assert [record["metadata"]["samples_count"] for record in records] == [first]


def test_starting_checkpoint_is_taken_unless_it_is_ignored(tmp_path):
    config = override(smoke(), ["data.articles=120", "data.start_articles=60", "data.start_steps=1", "data.start_high=9", "data.eval_samples=4"])
    generate(config, tmp_path, 1)
    store = Store.open(tmp_path)
    plan = Plan(8, Point(1, "epochs"), Cadence("epochs", (1,)), sizes(config, store.metadata))

    def weights(seed, **changes):
        changed = replace(config, data=replace(config.data, **changes))
        return train.build(changed, Context(ALONE, store, Seeds(seed), plan, tmp_path)).model.lm_head.weight

    assert torch.equal(weights(1), weights(2))
    assert torch.equal(weights(1), start_of(store).tensor("lm_head.weight").float())
    assert not torch.equal(weights(1, start=False), weights(2, start=False))
