"""The session: hyperparameters from live objects, loss, evaluation, validation, decision 6, the official checker."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
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
from laptime.suite.bert import train
from laptime.suite.bert.config import FAULTS, PRESETS, full, mini, smoke, validate
from laptime.suite.bert.data import sizes, synthetic
from laptime.suite.bert.samples import collated, columns_of, encoded, loss_weights, micro
from laptime.suite.bert.test_data import SAMPLES
from laptime.training.data.store import Manifest, Store
from laptime.training.distributed.world import World
from laptime.training.loop import Batch
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
TINY = override(mini(), ["global_batch_size=6", "loss_span=3", "model.hidden=16", "model.intermediate=32", "model.vocabulary=40",
                         "model.positions=16", "data.length=16", "data.predictions=3", "data.train_samples=60", "schedule.train_steps=500",
                         "speed.dtype=float64", "optimizer.base_learning_rate=0.05"])
GOLDEN = json.loads(Path(train.__file__).with_name("golden.json").read_text())


def session_of(config, tmp_path, world=ALONE):
    facts = {"train_samples": config.data.train_samples, "eval_samples": config.data.eval_samples,
             "vocabulary": config.model.vocabulary, "length": config.data.length}
    store = Store(tmp_path, Manifest("none", "", "", facts, {}))
    plan = Plan(config.global_batch_size, Point(1, "epochs"), Cadence("epochs", (1,)), sizes(config, store.metadata))
    return train.build(config, Context(world, store, Seeds(5), plan, tmp_path))


def batch_of(config, step):
    """Six samples, in micro-batches as `config` says, weighted by its span."""
    samples = [encoded(replace(SAMPLES[i % 3], tokens=tuple((token + step + i) % 40 for token in SAMPLES[i % 3].tokens)))
               for i in range(6)]
    columns, parts = columns_of(samples), config.parallel.accumulation_steps
    weights = loss_weights(columns.predictions, config.loss_span)
    made = []
    for share in np.arange(6).reshape(parts, -1):
        arrays = collated([samples[i].data for i in share], columns.take(share), share + 6 * step, weights[share], 7)
        made.append(micro(arrays.packing, arrays.tensors))
    return Batch(tuple(made), 6)


def first_losses(config, tmp_path, steps=6):
    session = session_of(config, tmp_path)
    return torch.tensor([session.step(batch_of(config, step)).item() for step in range(steps)], dtype=torch.float64)


def test_first_losses_are_the_golden_ones(tmp_path):
    assert first_losses(TINY, tmp_path).tolist() == pytest.approx(GOLDEN["first_losses"]["lamb"], rel=1e-9)


def test_losses_do_not_depend_on_accumulation_at_equal_spans_dropout_included(tmp_path):
    assert TINY.model.dropout > 0
    whole, parts = (first_losses(override(TINY, [f"parallel.accumulation_steps={n}"]), tmp_path) for n in (1, 3))
    assert torch.allclose(whole, parts, rtol=1e-10, atol=0)


def test_losses_differ_at_another_span(tmp_path):
    difference = first_losses(TINY, tmp_path) - first_losses(override(TINY, ["loss_span=1"]), tmp_path)
    assert difference.abs().max() > 1e-3


def test_loss_is_masked_words_plus_next_sentence():
    generator = torch.Generator().manual_seed(1)
    batch = synthetic(TINY, 6, ALONE)
    words = torch.randn(len(batch.labels), 40, generator=generator, dtype=torch.float64)
    following = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    found = train.Loss(6)(lambda tokens, masked: (words, following), batch)
    masked = -sum(words.log_softmax(1)[i, word] for i, word in enumerate(batch.labels)) / (len(words) + 1e-5)
    after = -sum(following.log_softmax(1)[i, label] for i, label in enumerate(batch.next_labels)) / 6
    assert found.item() == pytest.approx((masked + after).item(), rel=1e-12)


def test_loss_falls_on_samples_seen_again_and_again(tmp_path):
    session = session_of(override(TINY, ["model.dropout=0", "model.attention_dropout=0"]), tmp_path)
    found = [session.step(batch_of(TINY, 0)).item() for _ in range(25)]
    assert found[0] > 3.5
    assert found[-1] < 1.0


def test_hyperparameters_of_the_full_preset_are_the_reference_ones(tmp_path):
    with torch.device("meta"):
        session = session_of(full(), tmp_path, World(0, 1, torch.device("meta")))
    assert session.hyperparameters == {
        "global_batch_size": 8192, "gradient_accumulation_steps": 1, "opt_name": "lamb", "opt_base_learning_rate": 0.00288293,
        "opt_lamb_epsilon": 1e-6, "opt_learning_rate_training_steps": 600, "opt_learning_rate_warmup_steps": 287,
        "num_warmup_steps": 287, "start_warmup_step": -76, "opt_lamb_beta_1": 0.88, "opt_lamb_beta_2": 0.88,
        "opt_lamb_weight_decay_rate": 0.0166629, "opt_lamb_learning_rate_decay_poly_power": 1.0, "max_sequence_length": 512,
        "max_predictions_per_seq": 76}
    assert len(session.initialised) == 398


def test_full_preset_has_the_values_of_its_reference_point():
    config = full()
    (point,) = [one for one in load_round("v5.0").benchmarks["bert"].references if one.batch_size == 8192]
    mine = {"opt_base_learning_rate": config.optimizer.base_learning_rate, "opt_lamb_beta_1": config.optimizer.beta1,
            "opt_lamb_beta_2": config.optimizer.beta2, "opt_lamb_weight_decay_rate": config.optimizer.weight_decay,
            "opt_learning_rate_training_steps": config.schedule.train_steps, "num_warmup_steps": config.schedule.warmup_steps,
            "start_warmup_step": config.schedule.start_warmup_step, "opt_epsilon": config.optimizer.epsilon}
    assert {key: float(point.hyperparameters[key]) for key in mine} == mine


def test_build_is_deterministic_and_depends_on_the_seed_only_through_what_it_draws(tmp_path):
    one, other = session_of(TINY, tmp_path), session_of(TINY, tmp_path)
    assert one.state().fingerprint() == other.state().fingerprint()


def test_evaluation_counts_masked_words_and_returns_to_training(tmp_path):
    session = session_of(TINY, tmp_path)
    batch = synthetic(TINY, 6, ALONE)
    with torch.no_grad():
        right = session.model.eval()(batch.tokens, batch.masked)[0].argmax(1)
    half = len(right) // 2
    labels = torch.where(torch.arange(len(right)) < half, right, (right + 1) % 40)
    session.evaluation.batches = [batch._replace(labels=labels)]
    assert session.evaluation() == {"eval_accuracy": half / len(right)}
    assert session.model.training


def test_bfloat16_steps_stay_near_float32(tmp_path):
    half, single = (first_losses(override(TINY, [f"speed.dtype={name}"]), tmp_path, 2) for name in ("bfloat16", "float32"))
    assert torch.allclose(half, single, rtol=0.05)
    assert not torch.equal(half, single)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_fused_attention_equals_the_plain_one_on_a_device(tmp_path):
    world = World(0, 1, torch.device("cuda:0"))
    session = session_of(override(TINY, ["speed.dtype=bfloat16", "speed.compile=off", "model.hidden=64"]), tmp_path, world)
    batch = synthetic(override(TINY, ["model.hidden=64"]), 6, world)
    model = session.model.eval()
    with torch.no_grad():
        plain, _ = model.float()(batch.tokens, batch.masked)
        with torch.autocast("cuda", dtype=torch.bfloat16):
            fused, _ = model(batch.tokens, batch.masked)
    assert F.mse_loss(fused.float(), plain) < 1e-3 * plain.var()


@pytest.mark.parametrize(("change", "says"), [
    ("global_batch_size=15", "divisible by processes x accumulation_steps = 2"),
    ("global_batch_size=60000", "at most data.train_samples"),
    ("loss_span=4", "loss_span that divides"),
    ("loss_span=0", "loss_span that divides"),
    ("model.heads=3", "heads that divide hidden"),
    ("model.vocabulary=70000", "model.vocabulary of 6 to 65535"),
    ("model.dropout=1.0", "dropout in"),
    ("optimizer.beta2=1.0", "beta2 in"),
    ("optimizer.clip_norm=0", "clip_norm > 0"),
    ("schedule.train_steps=0", "train_steps of at least 1"),
    ("data.length=99", "data.length from 8 to model.positions"),
    ("data.predictions=16", "data.predictions from 1 to below"),
    ("data.eval_batch_size=0", "of at least 1"),
    ("data.masked=0", "data.masked"),
])
def test_validation_refuses(change, says):
    with pytest.raises(InvalidConfiguration, match=says):
        validate(override(TINY, [change]), processes=2)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_valid_on_one_process(name):
    validate(PRESETS[name](), processes=1)


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_valid_and_change_something(fault):
    assert override(mini(), FAULTS[fault]) != mini()
    validate(override(smoke(), FAULTS[fault]), processes=1)


def test_mini_differs_from_full_in_sizes_only():
    """Design: sizes and the values that scale with them. What does not scale stays."""
    reference, small = full(), mini()
    for group, names in (("model", ("dropout", "attention_dropout", "norm_epsilon", "segments", "start", "positions_known")),
                         ("optimizer", ("epsilon", "clip_norm", "adapt")), ("schedule", ("power",)),
                         ("data", ("masked", "short_probability", "shuffle_labels", "keep_masks"))):
        for name in names:
            assert getattr(getattr(small, group), name) == getattr(getattr(reference, group), name), name
    assert small.model.initial_std == pytest.approx(reference.model.initial_std * (1024 / small.model.hidden) ** 0.5)
    assert small.data.predictions == pytest.approx(small.data.length * 76 / 512, abs=1)


# --- the official checker (dev extra) reads logs of a stand-in session at the full preset ---

ROUNDS = ["v0.7", "v1.0", "v1.1", "v2.0", "v2.1", "v3.0", "v3.1", "v4.0", "v4.1", "v5.0"]


@pytest.mark.parametrize("round_name", ROUNDS)
def test_official_checker_and_ours_accept_the_log_of_a_full_run(tmp_path, round_name):
    path = tmp_path / "result_0.txt"
    assert played_log(path, "bert", round_name, fails=2, passes=0.7213).status == "converged"
    assert accepted(path, round_name)
    for level in ("official", "rules"):
        assert errors(path, round_name=round_name, level=level) == []
    assert path.read_text().count('"weights_initialization"') == (398 if round_name in ("v1.1", "v2.0", "v2.1") else 0)


@pytest.mark.parametrize("key", ["opt_lamb_beta_1", "start_warmup_step", "opt_learning_rate_training_steps"])
def test_official_checker_and_ours_refuse_a_log_without_a_key(tmp_path, key):
    path = tmp_path / "result_0.txt"
    played_log(path, "bert", "v5.0", passes=0.7213)
    lines = [line for line in path.read_text().splitlines(keepends=True) if f'"key": "{key}"' not in line]
    path.write_text("".join(lines))
    assert not accepted(path, "v5.0")
    assert errors(path, round_name="v5.0")


def test_evaluations_of_a_full_run_lie_where_the_rules_say(tmp_path):
    path = tmp_path / "result_0.txt"
    played_log(path, "bert", "v5.0", passes=0.7213, fails=2)
    records = [json.loads(line[8:]) for line in path.read_text().splitlines() if '"eval_accuracy"' in line]
    positions = [record["metadata"]["epoch_num"] for record in records]
    assert positions == [-(-225_000 * i // 8192) * 8192 for i in (1, 2, 3)]  # fact of the rules: batch 8192, every 225,000
