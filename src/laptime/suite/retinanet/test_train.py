"""The session: hyperparameters from live objects, loss and its span, start weights, validation."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from laptime.benchmark import Context
from laptime.config import override
from laptime.errors import DataProblem, InvalidConfiguration
from laptime.events import Cadence, Plan, Point
from laptime.suite.retinanet import train
from laptime.suite.retinanet.config import PRESETS, full, mini, smoke, validate
from laptime.suite.retinanet.data import Micro, sizes
from laptime.suite.retinanet.model import Backbone
from laptime.training.data.store import Manifest, Store, entries
from laptime.training.distributed.world import World
from laptime.training.loop import Batch
from laptime.training.nn.boxes import IGNORED
from laptime.training.optim.adam import Adam
from laptime.training.optim.warmup import Warmed
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
TINY = override(smoke(), ["global_batch_size=8", "model.stem=4", "model.groups=2", "model.group_width=2", "model.channels=8",
                          "optimizer.base_learning_rate=0.002", "schedule.warmup_epochs=0", "speed.dtype=float64"])


def session_of(config, tmp_path, world=ALONE, backbone=""):
    facts = {"train_samples": config.data.train_images, "eval_samples": config.data.eval_images,
             "classes": config.model.classes, "max_boxes": 8, "backbone": backbone}
    files = entries(tmp_path, [backbone], "weights") if backbone else {}
    store = Store(tmp_path, Manifest("none", "", "", facts, files))
    plan = Plan(config.global_batch_size, Point(1, "epochs"), Cadence("epochs", (1,)), sizes(config, store.metadata))
    return train.build(config, Context(world, store, Seeds(5), plan, tmp_path))


def pictures(count, seed=0, size=64):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 8, 2, generator=generator) * 0.5 * size
    boxes = torch.cat([corner, corner + (0.2 + 0.3 * torch.rand(count, 8, 2, generator=generator)) * size], -1)
    labels = torch.randint(3, (count, 8), generator=generator)
    labels[torch.arange(8) >= (torch.arange(count) % 4)[:, None]] = -1
    return Micro(torch.randn(count, 3, size, size, generator=generator), boxes, labels)


def parts_of(micro, parts):
    return tuple(Micro(*one) for one in zip(*(tensor.chunk(parts) for tensor in micro), strict=True))


def first_losses(config, tmp_path, steps=5):
    """Losses of the first steps on equal global batches, split as `config` says."""
    session = session_of(config, tmp_path)
    return [session.step(Batch(parts_of(pictures(8, step), config.parallel.accumulation_steps), 8)).item() for step in range(steps)]


def test_first_losses_are_the_golden_ones(tmp_path):
    golden = json.loads(Path(train.__file__).with_name("golden.json").read_text())["first_losses"]["adam"]
    assert first_losses(TINY, tmp_path, len(golden)) == pytest.approx(golden, rel=1e-8)


def test_losses_do_not_depend_on_accumulation_at_equal_spans(tmp_path):
    for span in (1, 4):
        whole = override(TINY, [f"loss.span={span}"])
        parts = override(whole, ["parallel.accumulation_steps=2"])
        assert first_losses(whole, tmp_path) == pytest.approx(first_losses(parts, tmp_path), rel=1e-10)


def test_losses_differ_at_another_span(tmp_path):
    one, other = first_losses(TINY, tmp_path), first_losses(override(TINY, ["loss.span=4"]), tmp_path)
    assert max(abs(a - b) for a, b in zip(one, other, strict=True)) > 1e-3


def test_loss_falls_on_a_batch_seen_again_and_again(tmp_path):
    session = session_of(TINY, tmp_path)
    losses = [session.step(Batch((pictures(8),), 8)).item() for _ in range(40)]
    assert losses[-1] < 0.6 * losses[0]


def loss_of(config, world=ALONE):
    levels = train.level_anchors(config, torch.float64, world.device)
    return train.Loss(config.loss, config.global_batch_size, train.Shape(torch.float64, torch.contiguous_format), world, levels)


def test_weights_of_an_image_share_its_positive_anchors():
    loss, micro = loss_of(TINY), pictures(8)
    labels, weights, targets = loss.targets(micro)
    positives = (labels >= 0).sum(1)
    assert positives[0] == 0
    assert positives[3] > 3
    for i in range(8):
        counted = weights[i].unique()
        assert counted.tolist() == pytest.approx(sorted({0.0, 1 / (8 * max(1, positives[i].item()))})[-len(counted):])
    assert targets.isfinite().all()


def test_ignored_anchors_have_no_weight_and_no_class():
    from laptime.training.nn.boxes import match

    loss, micro = loss_of(TINY), pictures(8)
    labels, weights, _ = loss.targets(micro)
    index = match(micro.boxes.double(), micro.labels >= 0, loss.anchors, high=0.5, low=0.4)
    assert (index == IGNORED).any()
    assert torch.equal(weights == 0, index == IGNORED)
    assert not ((labels >= 0) & (index == IGNORED)).any()


def test_a_span_pools_positive_anchors_over_its_images():
    micro = pictures(8)
    alone, pooled = loss_of(TINY), loss_of(override(TINY, ["loss.span=4"]))
    positives = (alone.targets(micro)[0] >= 0).sum(1)
    weights = pooled.targets(micro)[1].amax(1)
    expected = [4 / (8 * positives[4 * (i // 4):4 * (i // 4) + 4].sum().item()) for i in range(8)]
    assert weights.tolist() == pytest.approx(expected)


def test_a_span_over_ranks_pools_their_counts():
    """Rank 2 of four with two images each and a span of four: it shares with rank 3."""
    micro = Micro(*(tensor[:2] for tensor in pictures(8, 3)))

    class Four:
        rank, size, device = 2, 4, torch.device("cpu")

        def sum(self, tensor):
            assert tensor.tolist()[:2] == [0, 0]
            assert tensor[3] == 0
            return tensor + torch.tensor([100, 100, 0, 7])

    alone = loss_of(TINY)
    own = (alone.targets(micro)[0] >= 0).sum().item()
    weights = loss_of(override(TINY, ["loss.span=4"]), Four()).targets(micro)[1].amax(1)
    assert weights.tolist() == pytest.approx([4 / (8 * (own + 7))] * 2)


def test_all_levels_together_give_the_loss_of_level_by_level(tmp_path, monkeypatch):
    session = session_of(TINY, tmp_path)
    trained = [parameter for parameter in session.model.parameters() if parameter.requires_grad]
    found = []
    for small in (train.SMALL, 0):
        monkeypatch.setattr(train, "SMALL", small)
        value = session.loss(session.model, pictures(8))
        found.append((value.item(), torch.autograd.grad(value, trained)))
    (together, one), (apart, other) = found
    assert together == pytest.approx(apart, rel=1e-12)
    assert all(torch.allclose(a, b, rtol=1e-10, atol=1e-14) for a, b in zip(one, other, strict=True))


def test_hyperparameters_of_the_full_preset_are_the_reference_ones(tmp_path):
    with torch.device("meta"):
        session = session_of(full(), tmp_path, World(0, 1, torch.device("meta")))
    assert session.hyperparameters == {
        "global_batch_size": 256, "gradient_accumulation_steps": 1, "opt_name": "adam", "opt_base_learning_rate": 1e-4,
        "opt_weight_decay": 0.0, "opt_learning_rate_warmup_epochs": 1, "opt_learning_rate_warmup_factor": 1e-3}
    assert session.schedule.schedule.warmup_steps == 1170301 // 256 == 4571
    assert len(session.initialised) == 89


def test_hyperparameters_follow_the_live_objects():
    optimizer = Adam([torch.nn.Parameter(torch.ones(1))], weight_decay=0.5)
    loss = loss_of(TINY)
    values = train.hyperparameters(TINY, optimizer, schedule=Warmed(0.25, 0.125, 30), loss=loss, epoch_steps=10)
    assert [values[f"opt_{key}"] for key in ("base_learning_rate", "weight_decay", "learning_rate_warmup_epochs", "learning_rate_warmup_factor")] == [0.25, 0.5, 3, 0.125]


def test_only_what_is_trained_has_optimizer_state(tmp_path):
    session = session_of(TINY, tmp_path)
    trained = {id(p) for group in session.optimizer.param_groups for p in group["params"]}
    assert trained == {id(p) for p in session.model.parameters() if p.requires_grad}
    frozen = [name for name, p in session.model.named_parameters() if not p.requires_grad]
    before = {name: p.detach().clone() for name, p in session.model.named_parameters()}
    session.step(Batch((pictures(8),), 8))
    changed = {name for name, p in session.model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == set(before) - set(frozen)


def start_weights(tmp_path):
    tensors = {name: torch.full_like(value, 0.5) for name, value in Backbone(TINY.model).state_dict().items()}
    torch.save(tensors, tmp_path / "backbone.pt")


def test_build_takes_the_start_weights_of_the_data_set(tmp_path):
    start_weights(tmp_path)
    body = session_of(TINY, tmp_path, backbone="backbone.pt").model.backbone["body"]
    assert all((value == 0.5).all() for value in body.state_dict().values())
    fault = session_of(override(TINY, ["model.pretrained=false"]), tmp_path, backbone="backbone.pt")
    assert not (fault.model.backbone["body"].conv1.weight == 0.5).any()


def test_build_refuses_missing_start_weights(tmp_path):
    start_weights(tmp_path)
    session_of(TINY, tmp_path, backbone="backbone.pt")
    (tmp_path / "backbone.pt").write_bytes(b"")
    with pytest.raises(DataProblem, match=r"expected tensors at .*backbone\.pt"):
        session_of(TINY, tmp_path, backbone="backbone.pt")


def test_build_is_deterministic(tmp_path):
    assert session_of(TINY, tmp_path).state().fingerprint() == session_of(TINY, tmp_path).state().fingerprint()


def test_bfloat16_steps_stay_near_float32(tmp_path):
    half, single = (first_losses(override(TINY, [f"speed.dtype={name}"]), tmp_path, 2) for name in ("bfloat16", "float32"))
    assert half == pytest.approx(single, rel=0.05)
    assert half != single


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch's own compiler
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # the same
@pytest.mark.slow
def test_compiled_steps_equal_eager_ones(tmp_path):
    compiled = override(TINY, ["speed.compile=step", "speed.fused=on"])
    assert first_losses(TINY, tmp_path, 3) == pytest.approx(first_losses(compiled, tmp_path, 3), rel=1e-8)


@pytest.mark.parametrize(("change", "says"), [
    ("global_batch_size=7", "divisible by processes x accumulation_steps = 2"),
    ("global_batch_size=100000", "at most data.train_images"),
    ("loss.span=3", "a loss.span that divides the 4 images"),
    ("loss.span=16", "a loss.span that divides"),
    ("loss.low=0.6", "loss.low <= loss.high"),
    ("model.blocks=1,1,1", "4 numbers in model.blocks"),
    ("model.anchor_sizes=8,16", "three to five"),
    ("model.prior=1.0", "model.prior"),
    ("schedule.train_epochs=0", "schedule.train_epochs"),
    ("detection.per_image=0", "detection.per_level"),
    ("data.std=1,0,1", "data.std"),
    ("data.size=16", "data.size"),
])
def test_validation_refuses(change, says):
    with pytest.raises(InvalidConfiguration, match=says):
        validate(override(TINY, [change]), processes=2)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_valid_on_one_process(name):
    validate(PRESETS[name](), processes=1)


def test_mini_differs_from_full_in_sizes_only():
    """Design: sizes and the values that scale with them. Matching, loss, detection and schedule stay."""
    reference, small = full(), mini()
    assert (small.loss, small.detection) == (reference.loss, reference.detection)
    assert replace(small.schedule, train_epochs=8) == reference.schedule
    assert replace(small.optimizer, base_learning_rate=0) == replace(reference.optimizer, base_learning_rate=0)
    for key in ("mean", "std", "flip", "mirror_boxes", "shuffle_labels"):
        assert getattr(small.data, key) == getattr(reference.data, key)
    assert (small.model.trained_stages, small.model.prior, small.model.pretrained) == (3, 0.01, True)
