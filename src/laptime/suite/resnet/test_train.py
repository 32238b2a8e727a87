"""The session: hyperparameters from live objects, groups of the optimizer, loss, evaluation, validation, decision 6."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from laptime.benchmark import Context
from laptime.config import override
from laptime.errors import InvalidConfiguration
from laptime.events import Cadence, Plan, Point
from laptime.suite.resnet import train
from laptime.suite.resnet.config import PRESETS, full, mini, v0_5, validate
from laptime.suite.resnet.data import sizes
from laptime.suite.resnet.model import ResNet
from laptime.training.data.store import Manifest, Store
from laptime.training.distributed.world import World
from laptime.training.loop import Batch
from laptime.training.optim.lars import LARS
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
TINY = override(mini(), ["global_batch_size=16", "model.width=4", "model.blocks=1,1", "model.norm_span=8",
                         "optimizer.name=lars", "optimizer.base_learning_rate=5", "schedule.warmup_epochs=1",
                         "schedule.train_epochs=10", "data.train_images=1024", "data.crop=16", "data.eval_resize=18",
                         "data.eval_batch_size=8", "speed.dtype=float64"])


def session_of(config, tmp_path, world=ALONE):
    facts = {"train_samples": config.data.train_images, "eval_samples": config.data.eval_images,
             "classes": config.model.classes}
    store = Store(tmp_path, Manifest("none", "", "", facts, {}))
    plan = Plan(config.global_batch_size, Point(1, "epochs"), Cadence("epochs", (1,)), sizes(config, store.metadata))
    return train.build(config, Context(world, store, Seeds(5), plan, tmp_path))


def pictures(samples, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (60 * torch.randn(samples, 3, 16, 16, generator=generator),
            torch.randint(10, (samples,), generator=generator))


def first_losses(config, tmp_path, steps=6):
    """Losses of the first steps on equal global batches, split as `config` says."""
    session, found = session_of(config, tmp_path), []
    parts = config.parallel.accumulation_steps
    for step in range(steps):
        images, labels = pictures(16, step)
        micro = tuple(zip(images.chunk(parts), labels.chunk(parts), strict=True))
        found.append(session.step(Batch(micro, 16)).item())
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize(("name", "changes"), [
    ("lars", []), ("sgd", ["optimizer.name=sgd", "optimizer.base_learning_rate=0.1"])])
def test_first_losses_are_the_golden_ones(name, changes, tmp_path):
    golden = json.loads(Path(train.__file__).with_name("golden.json").read_text())["first_losses"][name]
    assert first_losses(override(TINY, ["schedule.warmup_epochs=0", *changes]), tmp_path, len(golden)).tolist() == pytest.approx(golden, rel=1e-9)


def test_losses_do_not_depend_on_accumulation_at_equal_spans(tmp_path):
    whole, parts = first_losses(TINY, tmp_path), first_losses(override(TINY, ["parallel.accumulation_steps=2"]), tmp_path)
    assert torch.allclose(whole, parts, rtol=1e-10, atol=0)


def test_losses_differ_at_another_span(tmp_path):
    wide = first_losses(override(TINY, ["model.norm_span=16"]), tmp_path)
    assert (first_losses(TINY, tmp_path) - wide).abs().max() > 1e-3


def test_evaluation_after_accumulated_steps_sees_the_same_running_statistics(tmp_path):
    def scores(config):
        session = session_of(config, tmp_path)
        images, labels = pictures(16)
        parts = config.parallel.accumulation_steps
        session.step(Batch(tuple(zip(images.chunk(parts), labels.chunk(parts), strict=True)), 16))
        return session.model.eval()(pictures(3)[0].double()).detach()

    assert torch.allclose(scores(TINY), scores(override(TINY, ["parallel.accumulation_steps=2"])), rtol=1e-9)


def test_loss_falls_on_a_batch_seen_again_and_again(tmp_path):
    session = session_of(override(TINY, ["optimizer.name=sgd", "optimizer.base_learning_rate=0.05",
                                         "schedule.warmup_epochs=0"]), tmp_path)
    losses = [session.step(Batch((pictures(16),), 16)).item() for _ in range(30)]
    assert losses[0] > 2.0
    assert losses[-1] < 1.0


def test_loss_is_smoothed_cross_entropy_over_the_global_batch():
    scores = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, 3.0]])
    labels = torch.tensor([0, 1])
    loss = train.Loss(0.1, 4, train.Shape(torch.float32, torch.contiguous_format))
    found = loss(lambda _: scores, (torch.zeros(2, 3, 4, 4), labels))
    log_p = scores.log_softmax(1)
    by_hand = sum(-(0.9 + 0.1 / 3) * log_p[i, y] - sum(0.1 / 3 * log_p[i, c] for c in range(3) if c != y)
                  for i, y in enumerate(labels))
    assert found.item() == pytest.approx(by_hand.item() / 4, rel=1e-6)


def test_hyperparameters_of_the_full_preset_are_the_reference_ones(tmp_path):
    with torch.device("meta"):
        session = session_of(full(), tmp_path, World(0, 1, torch.device("meta")))
    assert session.hyperparameters == {
        "global_batch_size": 2048, "gradient_accumulation_steps": 1, "opt_name": "lars", "opt_base_learning_rate": 8.5,
        "opt_end_learning_rate": 0.0001, "opt_learning_rate_decay_poly_power": 2.0,
        "opt_learning_rate_decay_steps": 625 * 36 + 1, "opt_learning_rate_warmup_epochs": 5, "opt_momentum": 0.9,
        "opt_weight_decay": 0.0002, "opt_epsilon": 0.0, "lars_eta": 0.001, "model_bn_span": 128, "label_smoothing": 0.1}


def test_hyperparameters_of_the_first_round_name_its_steps(tmp_path):
    with torch.device("meta"):
        values = session_of(v0_5(), tmp_path, World(0, 1, torch.device("meta"))).hyperparameters
    assert values["opt_name"] == "sgd"
    assert values["opt_learning_rate_decay_boundary_epochs"] == [30, 60, 80, 90]
    assert values["opt_learning_rate_decay_factors"] == [0.1, 0.01, 0.001, 0.0001]
    assert values["opt_base_learning_rate"] == pytest.approx(1.024)
    assert "opt_epsilon" not in values


def test_hyperparameters_follow_the_live_optimizer_not_the_configuration():
    model = ResNet(TINY.model, ALONE)
    optimizer = LARS(model.parameters(), momentum=0.8, weight_decay=0.5, eta=0.25, epsilon=0.125)
    schedule = train.build_schedule(TINY.optimizer, TINY.schedule, 10)
    loss = train.Loss(0.0, 7, train.Shape(torch.float32, torch.contiguous_format))
    values = train.hyperparameters(TINY, model, optimizer, schedule=schedule, loss=loss, epoch_steps=10)
    assert [values[key] for key in ("opt_momentum", "opt_weight_decay", "lars_eta", "opt_epsilon", "global_batch_size",
                                    "label_smoothing")] == [0.8, 0.5, 0.25, 0.125, 7, 0.0]


@pytest.mark.parametrize(("name", "undecayed"), [("sgd", set()), ("lars", {"fc1.bias"})])
def test_weight_decay_spares_norms_and_with_lars_the_dense_bias(name, undecayed):
    model = ResNet(TINY.model, ALONE)
    optimizer = train.build_optimizer(replace(TINY.optimizer, name=name), model)
    names = {id(p): key for key, p in model.named_parameters()}
    spared = {names[id(p)] for group in optimizer.param_groups if group["weight_decay"] == 0 for p in group["params"]}
    assert spared == undecayed | {key for key in names.values() if "bn" in key.split(".")[-2]}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(names)


def test_build_is_deterministic_and_names_every_tensor(tmp_path):
    one, other = session_of(TINY, tmp_path), session_of(TINY, tmp_path)
    assert one.state().fingerprint() == other.state().fingerprint()
    assert len(one.initialised) == len(list(one.model.parameters()))


def test_evaluation_counts_only_what_is_not_padding_and_returns_to_training(tmp_path):
    session = session_of(TINY, tmp_path)
    images, labels = pictures(8)
    with torch.no_grad():
        right = session.model.eval()(images.double()).argmax(1)
    labels = torch.where(torch.arange(8) < 2, right, (right + 1) % 10)
    session.evaluation.batches = [(images, labels, torch.arange(8) < 4)]
    assert session.evaluation() == {"eval_accuracy": 0.5}
    assert session.model.training


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch's own compiler
@pytest.mark.slow
def test_compiled_steps_equal_eager_ones(tmp_path):
    compiled = override(TINY, ["speed.compile=step", "speed.fused=on"])
    assert torch.allclose(first_losses(TINY, tmp_path), first_losses(compiled, tmp_path), rtol=1e-8)


def test_bfloat16_steps_stay_near_float32(tmp_path):
    half, single = (first_losses(override(TINY, [f"speed.dtype={name}"]), tmp_path, 3) for name in ("bfloat16", "float32"))
    assert torch.allclose(half, single, rtol=0.05)
    assert not torch.equal(half, single)


@pytest.mark.parametrize(("change", "says"), [
    ("global_batch_size=15", "divisible by processes x accumulation_steps = 2"),
    ("global_batch_size=0", "divisible"),
    ("global_batch_size=100000", "at most data.train_images"),
    ("evaluation_offset=4", "evaluation_offset from 0 to 3"),
    ("label_smoothing=1.0", "label_smoothing in"),
    ("schedule.warmup_epochs=99", "warmup_epochs <= schedule.train_epochs"),
    ("schedule.factors=0.1", "one of schedule.factors each"),
    ("schedule.boundaries=30,20,80,90", "increasing schedule.boundaries"),
    ("model.blocks=1,0", "at least 1"),
])
def test_validation_refuses(change, says):
    with pytest.raises(InvalidConfiguration, match=says):
        validate(override(TINY, [change]), processes=2)


def test_build_refuses_a_span_that_cannot_be_formed(tmp_path):
    with pytest.raises(InvalidConfiguration, match="norm_span = 16"):
        session_of(override(TINY, ["model.norm_span=16", "parallel.accumulation_steps=2"]), tmp_path)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_valid_on_one_process(name):
    validate(PRESETS[name](), processes=1)


def test_mini_differs_from_full_in_sizes_only():
    """Design: sizes and the values that scale with them. The optimizer's constants that do not scale stay."""
    reference, small = full(), mini()
    assert small.label_smoothing == reference.label_smoothing
    kept = ("momentum", "weight_decay", "lars_eta", "lars_epsilon", "momentum_form", "end_learning_rate")
    assert all(getattr(small.optimizer, key) == getattr(reference.optimizer, key) for key in kept)
    assert (small.schedule.name, small.schedule.power) == (reference.schedule.name, reference.schedule.power)
    for key in ("mean", "area_low", "area_high", "aspect_low", "aspect_high", "flip", "augment", "shuffle_labels"):
        assert getattr(small.data, key) == getattr(reference.data, key)
