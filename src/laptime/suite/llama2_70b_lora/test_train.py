"""The session: hyperparameters from live objects, schedule, loss, evaluation, frozen weights, the official checker."""

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
from laptime.suite.llama2_70b_lora import train
from laptime.suite.llama2_70b_lora.config import FAULTS, PRESETS, full, layout, mini, smoke, validate
from laptime.suite.llama2_70b_lora.data import Micro, TrainBatches, keys_of, moved, synthetic
from laptime.suite.llama2_70b_lora.generated import generate
from laptime.suite.llama2_70b_lora.loss import sample_losses
from laptime.suite.llama2_70b_lora.model import is_adapter
from laptime.suite.llama2_70b_lora.peer import CASES, facts, mini_feed, peer, work
from laptime.suite.llama2_70b_lora.published import sizes, weights_of
from laptime.suite.llama2_70b_lora.weights import frozen_tensor
from laptime.training.data.sampler import Spread
from laptime.training.data.store import Manifest, Store
from laptime.training.distributed.layout import check
from laptime.training.distributed.world import World
from laptime.training.loop import Batch
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
META = World(0, 1, torch.device("meta"))
TINY = override(mini(), ["global_batch_size=6", "model.hidden=16", "model.intermediate=24", "model.heads=4", "model.key_value_heads=2",
                         "model.head_size=4", "model.vocabulary=40", "model.rope_positions=12", "data.length=12", "data.train_samples=60",
                         "data.eval_samples=5", "data.eval_batch_size=2", "speed.dtype=float64", "model.initial_std=0.2",
                         "optimizer.base_learning_rate=0.02", "schedule.max_steps=60", "schedule.limit_steps=0"])
GOLDEN = json.loads(Path(train.__file__).with_name("golden.json").read_text())


def session_of(config, tmp_path, world=ALONE):
    facts = {"train_samples": config.data.train_samples, "eval_samples": config.data.eval_samples,
             "vocabulary": config.model.vocabulary, "length": config.data.length}
    store = Store(tmp_path, Manifest("none", "", "", facts, {}))
    plan = Plan(config.global_batch_size, Point(1, "epochs"), Cadence("epochs", (1,)), sizes(config, store.metadata))
    return train.build(config, Context(world, store, Seeds(5), plan, tmp_path))


def micro_of(samples, labels, first=0):
    keys = keys_of(3, torch.arange(first, first + len(samples)).numpy(), samples.shape[1])
    return Micro(samples, torch.from_numpy(moved(labels.numpy())), torch.from_numpy(keys))


def batch_of(config, step):
    """Six samples in micro-batches as `config` says; some labels do not count."""
    samples = torch.randint(40, (6, 12), generator=torch.Generator().manual_seed(step))
    labels = torch.where(torch.arange(12) < torch.arange(6)[:, None], -100, samples)
    size = 6 // config.parallel.accumulation_steps
    return Batch(tuple(micro_of(samples[i:i + size], labels[i:i + size], i) for i in range(0, 6, size)), 6)


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


def test_losses_depend_on_what_is_dropped(tmp_path):
    none = override(TINY, ["adapter.dropout=0"])
    assert not torch.allclose(first_losses(TINY, tmp_path), first_losses(none, tmp_path), rtol=1e-6)


def test_loss_is_the_mean_over_samples_of_their_means(tmp_path):
    """As micro-batches of one sample have it, however many of its places count."""
    session, (micro,) = session_of(TINY, tmp_path), batch_of(TINY, 0).micro
    scores = session.model(micro.tokens, torch.arange(12), micro.keys).detach()
    means = [F.cross_entropy(scores[b], micro.labels[b], ignore_index=-100) for b in range(6)]
    assert session.step(batch_of(TINY, 0)).item() == pytest.approx((sum(means) / 6).item(), rel=1e-12)
    pooled = F.cross_entropy(scores.flatten(0, 1), micro.labels.flatten(), ignore_index=-100)
    assert (sum(means) / 6).item() != pytest.approx(pooled.item(), rel=1e-4)


def test_a_sample_without_labels_adds_nothing(tmp_path):
    session = session_of(TINY, tmp_path)
    samples = torch.randint(40, (2, 12), generator=torch.Generator().manual_seed(9))
    micro = micro_of(samples, torch.stack([samples[0], torch.full((12,), -100)]))
    assert sample_losses(session.model, micro, ALONE)[1].item() == 0.0


def test_loss_falls_on_samples_seen_again_and_again(tmp_path):
    session = session_of(TINY, tmp_path)
    found = [session.step(batch_of(TINY, 0)).item() for _ in range(60)]
    assert found[-1] < 0.8 * found[0]


def test_only_adapters_change_and_frozen_weights_are_not_part_of_what_is_copied(tmp_path):
    session = session_of(TINY, tmp_path)
    before = {name: p.detach().clone() for name, p in session.model.named_parameters()}
    state = session.state()
    assert set(state.frozen) == {f"model.{name}" for name in before if not is_adapter(name)}
    assert not set(state.frozen) & set(state.tensors)
    assert {f"model.{name}" for name in before if is_adapter(name)} < set(state.tensors)
    for step in range(2):
        session.step(batch_of(TINY, step))
    for name, parameter in session.model.named_parameters():
        assert torch.equal(parameter, before[name]) != is_adapter(name), name


def test_all_adapters_are_decayed(tmp_path):
    session = session_of(TINY, tmp_path)
    (group,) = session.optimizer.param_groups
    assert group["weight_decay"] == 1e-4
    assert len(group["params"]) == 6 * TINY.model.layers
    assert (group["betas"], group["eps"]) == ((0.9, 0.999), 1e-8)


@pytest.mark.parametrize("steps", [1024, 700, 550])
def test_schedule_has_the_values_of_the_reference_formula(steps):
    """Base (1 + cos(pi t / T)) / 2 at step t, from the first step on."""
    schedule = train.build_schedule(override(full(), [f"schedule.max_steps={steps}"]))
    for step in (0, 1, 48, steps // 2, steps - 1):
        assert schedule.value(step) == pytest.approx(4e-4 * 0.5 * (1 + math.cos(math.pi * step / steps)), rel=1e-12)
    assert schedule.value(0) == 4e-4
    assert schedule.value(steps) == schedule.value(2 * steps) == 0.0


def test_schedule_is_that_of_transformers():
    transformers = pytest.importorskip("transformers")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=4e-4)
    theirs = transformers.get_cosine_schedule_with_warmup(optimizer, num_warmup_steps=0, num_training_steps=1024)
    ours = train.build_schedule(full())
    for step in range(1024):
        assert ours.value(step) == pytest.approx(theirs.get_last_lr()[0], rel=1e-12)
        optimizer.step()
        theirs.step()


def test_learning_rate_of_a_step_is_that_of_the_schedule(tmp_path):
    session = session_of(TINY, tmp_path)
    for step in range(4):
        session.step(batch_of(TINY, step))
        assert session.optimizer.rate.item() == pytest.approx(train.build_schedule(TINY).value(step), rel=1e-12)


def test_hyperparameters_of_the_full_preset_are_the_reference_ones(tmp_path):
    with torch.device("meta"):
        session = session_of(full(), tmp_path, META)
    assert session.hyperparameters == {
        "global_batch_size": 8, "gradient_accumulation_steps": 1, "max_sequence_length": 8192, "opt_name": "adamw",
        "opt_base_learning_rate": 4e-4, "opt_learning_rate_training_steps": 1024, "opt_learning_rate_warmup_ratio": 0.0,
        "opt_adamw_weight_decay": 1e-4, "opt_gradient_clip_norm": 0.3, "lora_rank": 16, "lora_alpha": 32, "lora_dropout": 0.1,
        "lowest_numerical_precision_in_linear": "fp32", "lowest_numerical_precision_in_attn": "fp32", "config_filename": train.FILE,
        "lowest_numerical_precision_in_comm": "fp32", "tensor_parallelism": 1, "pipeline_parallelism": 1, "context_parallelism": 1,
        "expert_parallelism": 1, "micro_batch_size": 8}
    assert len(session.initialised) == 6 * 80
    state = session.state()
    assert sum(p.numel() for p in state.frozen.values()) == GOLDEN["frozen_parameters"] == 68_976_648_192


def test_full_preset_has_the_values_of_its_reference_point():
    config = full()
    (point,) = [one for one in load_round("v6.1").benchmarks["llama2_70b_lora"].references if one.batch_size == 8]
    found = {name: float(value) for name, value in point.hyperparameters.items() if "boundary" not in name}
    assert found == {
        "opt_base_learning_rate": config.optimizer.base_learning_rate, "opt_max_grad_norm": config.optimizer.clip_norm,
        "opt_learning_rate_warmup_epochs": 0, "gradient_accumulation_steps": 1, "lora_r": config.adapter.rank,
        "lora_alpha": config.adapter.alpha, "max_steps": config.schedule.max_steps}


def test_evaluation_is_the_mean_of_samples_and_returns_to_training(tmp_path):
    session = session_of(TINY, tmp_path)
    samples = torch.randint(40, (4, 12), generator=torch.Generator().manual_seed(9))
    labels = torch.where(torch.arange(12) < torch.tensor([3, 9, 6, 12])[:, None], -100, samples)  # the last one fills up
    session.evaluation.batches = [micro_of(samples[:2], labels[:2]), micro_of(samples[2:], labels[2:])]
    micro = micro_of(samples, labels)
    with torch.no_grad():
        scores = session.model.eval()(samples, torch.arange(12), micro.keys)
    means = [F.cross_entropy(scores[i], micro.labels[i], ignore_index=-100).item() for i in range(3)]
    session.model.train()
    assert session.evaluation() == {"eval_accuracy": pytest.approx(sum(means) / 3, rel=1e-12)}
    assert session.model.training


def test_planted_faults_of_the_data_change_what_they_say():
    samples = torch.randint(40, (6, 12), generator=torch.Generator().manual_seed(9)).numpy()

    def sent(**changes):
        batches = TrainBatches(None, replace(TINY.data, **changes), Seeds(1), ALONE, Spread(6, 1, 0, 1))
        return [one.numpy() for one in batches._sent(samples, samples, keys_of(1, samples[:, 0], 12)).tensors]

    tokens, labels, _ = sent()
    assert (tokens == samples).all()
    assert (labels == moved(samples)).all()
    assert (sent(shift_labels=False)[1] == samples).all()
    mixed = sent(keep_order=False)
    assert (mixed[0] != samples).any()
    assert (mixed[1] == moved(samples)).all()
    assert sorted(mixed[0][1]) == sorted(samples[1])


def test_bfloat16_keeps_frozen_weights_narrow_and_stays_near_float32(tmp_path):
    half, single = (override(TINY, [f"speed.dtype={name}"]) for name in ("bfloat16", "float32"))
    session = session_of(half, tmp_path)
    assert {p.dtype for p in session.state().frozen.values()} == {torch.bfloat16}
    assert {p.dtype for p in session.model.parameters() if p.requires_grad} == {torch.float32}
    one, other = (first_losses(config, tmp_path, 2) for config in (half, single))
    assert torch.allclose(one, other, rtol=0.05)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(("change", "says"), [
    ("global_batch_size=7", "divisible by processes x accumulation_steps = 2"),
    ("parallel.accumulation_steps=0", "divisible by processes"), ("adapter.rank=0", "adapter.rank of at least 1"),
    ("adapter.alpha=0", "adapter.alpha above 0"), ("adapter.dropout=1.0", r"adapter.dropout in \[0, 1\)"),
    ("model.key_value_heads=3", "key_value_heads=3"), ("model.vocabulary=0", "vocabulary=0"),
    ("optimizer.beta2=1.0", "beta2 in"), ("optimizer.clip_norm=0", "clip_norm and optimizer.epsilon above 0"),
    ("schedule.max_steps=0", "max_steps of at least 1"), ("schedule.limit_steps=61", "limit_steps from 0 to schedule.max_steps"),
    ("data.eval_batch_size=0", "of at least 1"), ("data.length=1", "data.length of at least 2"),
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


def test_layout_names_every_adapter_of_the_network(tmp_path):
    model = session_of(TINY, tmp_path).model
    names = {name for name, _ in model.named_modules()}
    styles = {one.modules.replace("*", "1"): one.style for one in layout(TINY).splits if "adapter" in one.modules}
    assert set(styles) <= names
    inner = {name.removesuffix(".weight") for name, _ in model.named_parameters() if is_adapter(name) and "layers.1." in name}
    assert inner | {"model.layers.1.self_attn.o_adapter.dropout"} == set(styles)


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_valid_and_change_something(fault):
    assert override(mini(), FAULTS[fault]) != mini()
    validate(override(smoke(), FAULTS[fault]), processes=1)


def test_mini_differs_from_full_in_sizes_only():
    """Design: sizes and the values that scale with them. What does not scale stays."""
    reference, small = full(), mini()
    assert small.adapter == reference.adapter
    assert small.global_batch_size == reference.global_batch_size
    for group, names in (("model", ("norm_epsilon", "rope_base", "rope_factor", "rope_low", "rope_high", "initial_std", "positions_known",
                                    "future_hidden")),
                         ("optimizer", ("beta1", "beta2", "epsilon", "weight_decay", "clip_norm")),
                         ("data", ("shift_labels", "keep_order", "start"))):
        for name in names:
            assert getattr(getattr(small, group), name) == getattr(getattr(reference, group), name), name
    assert small.model.rope_positions == small.data.length


def test_warm_up_takes_a_step_and_an_evaluation_without_data(tmp_path):
    session = session_of(TINY, tmp_path)
    before = session.state().fingerprint()
    session.warm_up()
    assert session.state().fingerprint() != before
    assert session.state().counters["steps"].value == 1


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_peer_takes_a_step_of_the_same_sizes(attention):
    pytest.importorskip("peft")
    peer(TINY, torch.device("cpu"), compiled=False, attention=attention)()


def test_what_the_bench_asks_for_is_valid():
    for config in (*(make(torch.device(kind)) for make in CASES.values() for kind in ("cpu", "cuda")), work(), mini_feed(100)):
        validate(config, processes=1)
        assert facts(config)["length"] == config.data.length


def test_synthetic_samples_have_the_shapes_of_real_ones():
    micro = synthetic(TINY, 3, ALONE)
    assert [tuple(one.shape) for one in micro] == [(3, 12)] * 3
    assert [one.dtype for one in micro] == [torch.int64, torch.int64, torch.int32]


def test_frozen_weights_are_taken_unless_they_are_not_loaded(tmp_path):
    config = override(smoke(), ["data.train_samples=20", "data.eval_samples=3", "data.reports=80", "data.articles=120", "data.start_steps=1",
                                "data.start_low=0", "data.start_high=9"])
    generate(config, tmp_path, 1)
    store = Store.open(tmp_path)
    plan = Plan(8, Point(1, "epochs"), Cadence("epochs", (1,)), sizes(config, store.metadata))

    def weights(seed, **changes):
        changed = replace(config, data=replace(config.data, **changes))
        model = train.build(changed, Context(ALONE, store, Seeds(seed), plan, tmp_path)).model
        return model.lm_head.weight, model.model.layers[0].self_attn.k_proj.weight

    checkpoint = weights_of(store)
    for found, name in zip(weights(1), ("lm_head.weight", "model.layers.0.self_attn.k_proj.weight"), strict=True):
        assert torch.equal(found, frozen_tensor(name, config.model, checkpoint).float())
    for one, other in zip(weights(1, start=False), weights(2, start=False), strict=True):
        assert not torch.equal(one, other)


# --- the official checker (dev extra) reads logs of a stand-in session at the full preset ---


@pytest.mark.parametrize("round_name", ["v4.0", "v4.1", "v5.0", "v5.1", "v6.0", "v6.1"])
def test_official_checker_and_ours_accept_the_log_of_a_full_run(tmp_path, round_name):
    path = tmp_path / "result_0.txt"
    assert played_log(path, "llama2_70b_lora", round_name, fails=2, passes=0.9241, failing=0.95).status == "converged"
    assert accepted(path, round_name)
    for level in ("official", "rules"):
        assert errors(path, round_name=round_name, level=level) == []


@pytest.mark.parametrize("key", ["lora_rank", "lora_alpha", "opt_learning_rate_training_steps", "opt_adamw_weight_decay"])
def test_official_checker_and_ours_refuse_a_log_without_a_key(tmp_path, key):
    path = tmp_path / "result_0.txt"
    played_log(path, "llama2_70b_lora", "v6.0", fails=0, passes=0.9241)
    lines = [line for line in path.read_text().splitlines(keepends=True) if f'"key": "{key}"' not in line]
    path.write_text("".join(lines))
    assert not accepted(path, "v6.0")
    assert errors(path, round_name="v6.0")


@pytest.mark.parametrize(("batch", "points"), [(8, [1536, 1920, 2304]), (16, [1920, 2304, 2688]), (64, [4224, 4608, 4992]),
                                               (9, [1548, 1935, 2322])])
def test_evaluations_of_a_full_run_lie_where_the_rules_say(tmp_path, batch, points):
    path = tmp_path / "result_0.txt"
    played_log(path, "llama2_70b_lora", "v6.1", [f"global_batch_size={batch}"], fails=2, passes=0.9241, failing=0.95)
    records = [json.loads(line[8:]) for line in path.read_text().splitlines() if '"eval_accuracy"' in line]
    assert [record["metadata"]["samples_count"] for record in records] == points
