"""The network: size, names, anchors, initialisation, and a whole training step against an independent implementation."""

from dataclasses import replace

import pytest
import torch

from laptime.rules.load import load_round
from laptime.suite.retinanet.config import ModelConfig, full, mini
from laptime.suite.retinanet.data import Micro
from laptime.suite.retinanet.model import Backbone, RetinaNet, anchors, initialise, map_sizes, reference_names
from laptime.suite.retinanet.plain import PlainRetinaNet, plain_anchors, plain_loss
from laptime.suite.retinanet.train import Loss, Shape, level_anchors
from laptime.training.distributed.world import World
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
TINY = ModelConfig(classes=3, stem=8, groups=2, group_width=2, blocks=(1, 1, 1, 1), channels=8, tower=1)


def network(config, seed=1, dtype=torch.float32):
    model = RetinaNet(config)
    initialise(model, Seeds(seed).torch("init"))
    return model.to(dtype)


@pytest.fixture(scope="module")
def published():
    with torch.device("meta"):
        return RetinaNet(full().model)


def counted(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_full_model_has_the_published_size(published):
    assert counted(published.backbone["body"]) == 22_911_680
    assert counted(published.backbone["fpn"]) == 3_868_672
    assert counted(published.head["classification_head"]) == 7_837_000
    assert counted(published.head["regression_head"]) == 2_443_300
    assert counted(published) == 37_060_652


def test_stem_and_first_stage_are_frozen(published):
    frozen = [name for name, p in published.named_parameters() if not p.requires_grad]
    assert {name.split(".")[2] for name in frozen} == {"conv1", "layer1"}
    assert sum(p.numel() for p in published.parameters() if p.requires_grad) == 36_849_004
    assert not [name for name, _ in published.named_parameters() if ".bn" in name]


def test_outputs_have_one_row_per_anchor(published):
    with torch.device("meta"):
        scores, deltas = published(torch.empty(2, 3, 800, 800))
    cells = [100 * 100, 50 * 50, 25 * 25, 13 * 13, 7 * 7]
    assert [tuple(one.shape) for one in scores] == [(2, 9 * count, 264) for count in cells]
    assert [tuple(one.shape) for one in deltas] == [(2, 9 * count, 4) for count in cells]


def test_reference_names_are_those_that_rounds_ask_for(published):
    assert sorted(reference_names(published)) == sorted(load_round("v2.0").benchmarks["retinanet"].tensors)


@pytest.mark.parametrize("config", [full(), mini()])
def test_anchors_equal_those_made_one_by_one(config):
    sizes = config.model.anchor_sizes
    found = anchors(sizes, config.data.size, map_sizes(config.data.size, len(sizes)))
    assert torch.equal(found, plain_anchors(config))


def test_full_anchors_have_the_published_number_and_strides():
    found = level_anchors(full(), torch.float32, ALONE.device)
    assert sum(map(len, found)) == 120_087
    centres = [(level[9] - level[0])[0].item() for level in found]
    assert centres == [8, 16, 32, 61, 114]
    assert found[0][:3].tolist() == [[-23, -11, 23, 11], [-28, -14, 28, 14], [-35, -18, 35, 18]]  # 32, 40, 50 at 1:2


def test_heads_start_as_published():
    model = network(replace(full().model, blocks=(1, 1, 1, 1)))
    tower = model.head["classification_head"]
    assert tower.conv[0].weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert tower.cls_logits.bias.unique().item() == pytest.approx(-4.59511985)
    assert not model.head["regression_head"].bbox_reg.bias.any()
    lateral = model.backbone["fpn"].inner_blocks[2].weight
    assert lateral.abs().max().item() <= (3 / 2048) ** 0.5
    assert lateral.std().item() == pytest.approx((1 / 2048) ** 0.5, rel=0.01)  # Kaiming uniform, a = 1: variance 1 / fan-in


def test_narrow_heads_start_with_the_same_signal_per_layer():
    model = network(replace(TINY, channels=64))
    assert model.head["regression_head"].conv[0].weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_initialisation_depends_on_the_seed_only():
    one, same, other = network(TINY, 1), network(TINY, 1), network(TINY, 2)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.backbone["body"].conv1.weight, other.backbone["body"].conv1.weight)


def disturbed(tensors, seed=2):
    """Positive constants for norms, noise for weights: nothing stays at a special value."""
    generator = Seeds(seed).torch("noise")
    for name, tensor in tensors.items():
        noise = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
        if "running_var" in name or (".bn" in name and name.endswith("weight")):
            tensor.copy_(0.8 + 0.4 * noise)
        else:
            tensor.add_(0.02 * (noise - 0.5))


def test_frozen_norm_in_the_convolution_equals_live_norm_in_evaluation():
    live, frozen = Backbone(TINY, live=True).double().eval(), Backbone(TINY).double()
    with torch.no_grad():
        disturbed({k: v for k, v in live.state_dict().items() if "num_batches" not in k})
        frozen.load_state_dict({k: v for k, v in live.state_dict().items() if "num_batches" not in k})
        images = torch.randn(2, 3, 64, 64, generator=Seeds(3).torch("images"), dtype=torch.float64)
        for one, other in zip(live(images), frozen(images), strict=True):
            assert torch.allclose(one, other, rtol=1e-10, atol=1e-12)


# --- a whole step of the full preset, real widths, against another implementation ---

CUT = replace(full(), global_batch_size=3, model=replace(full().model, blocks=(1, 2, 1, 1)),
              data=replace(full().data, size=72))


def truth():
    """Three images: several boxes, one box, none."""
    boxes = torch.zeros(3, 8, 4)
    boxes[0, :3] = torch.tensor([[3.0, 5, 40, 60], [30, 2, 71, 30], [10, 40, 29, 55]])
    boxes[1, :1] = torch.tensor([[20.0, 20, 50, 41]])
    labels = torch.full((3, 8), -1)
    labels[0, :3], labels[1, :1] = torch.tensor([0, 263, 17]), torch.tensor([100])
    return boxes, labels


@pytest.fixture(scope="module")
def step():
    """(ours, theirs) after forward and backward on equal weights in float64, and both losses."""
    ours, theirs = network(CUT.model, dtype=torch.float64), PlainRetinaNet(CUT).double()
    with torch.no_grad():
        disturbed(ours.state_dict())
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(3, 3, 72, 72, generator=Seeds(3).torch("images"), dtype=torch.float64)
    boxes, labels = truth()
    levels = level_anchors(CUT, torch.float64, ALONE.device)
    loss = Loss(CUT.loss, 3, Shape(torch.float64, torch.channels_last), ALONE, levels)(ours, Micro(images, boxes, labels))
    loss.backward()
    counts = [3, 1, 0]
    their_loss = plain_loss(theirs(images), [b[:n].double() for b, n in zip(boxes, counts, strict=True)],
                            [one[:n] for one, n in zip(labels, counts, strict=True)], plain_anchors(CUT).double(), CUT)
    their_loss.backward()
    return ours, theirs, loss, their_loss


def test_loss_of_a_step_equals_the_independent_one(step):
    _, _, loss, their_loss = step
    assert loss.item() == pytest.approx(their_loss.item(), rel=1e-12)


def test_every_gradient_of_a_step_equals_the_independent_one(step):
    ours, theirs, _, _ = step
    expected = {name: p.grad for name, p in theirs.named_parameters()}
    compared = 0
    for name, parameter in ours.named_parameters():
        if parameter.requires_grad:
            assert (parameter.grad - expected[name]).norm() <= 1e-10 * expected[name].norm(), name
            compared += 1
        else:
            assert parameter.grad is None
            assert expected[name] is None
    assert compared > 40
