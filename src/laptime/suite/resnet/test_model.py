"""The network: size, names, initialisation, and a whole training step against an independent implementation."""

import copy
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from laptime.rules.load import load_round
from laptime.suite.resnet.config import ModelConfig, full
from laptime.suite.resnet.model import ResNet, initialise, reference_names
from laptime.suite.resnet.train import Loss, Shape, build_optimizer, build_schedule
from laptime.training.distributed.world import World
from laptime.training.nn.batch_norm import RunningStatistics
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
TINY = ModelConfig(width=8, blocks=(1, 2), classes=5, norm_span=4)


def network(config, seed=1, dtype=torch.float32):
    model = ResNet(config, ALONE)
    initialise(model, Seeds(seed).torch("init"))
    return model.to(dtype)


@pytest.mark.parametrize(("classes", "parameters"), [(1000, 25_557_032), (1001, 25_559_081)])  # derived from the tables
def test_full_model_has_the_published_size(classes, parameters):
    with torch.device("meta"):
        model = ResNet(replace(full().model, classes=classes), ALONE)
        scores = model.eval()(torch.empty(2, 3, 224, 224))
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert scores.shape == (2, classes)


def test_stages_have_the_published_shapes():
    shapes = []
    with torch.device("meta"):
        model = ResNet(full().model, ALONE).eval()
        for name in ("conv0", *model.stages):
            model.get_submodule(name).register_forward_hook(lambda _, __, y: shapes.append(tuple(y.shape[1:])))
        model(torch.empty(1, 3, 224, 224))
    assert shapes == [(64, 112, 112), (256, 56, 56), (512, 28, 28), (1024, 14, 14), (2048, 7, 7)]  # He et al. 2015


def test_reference_names_are_those_that_rounds_ask_for():
    with torch.device("meta"):
        names = list(reference_names(ResNet(full().model, ALONE)).values())
    asked = load_round("v2.0").benchmarks["resnet"].tensors
    assert len(names) == 161
    assert sorted(names) == sorted(asked)


def test_initial_convolutions_have_the_he_variance_and_are_cut_at_two_sigma():
    model = network(full().model)
    weight = model.stage3.unit2.conv2.weight
    std = (2 / (256 * 9)) ** 0.5
    assert weight.std().item() == pytest.approx(std, rel=0.005)
    assert weight.abs().max().item() <= 2 * std / 0.8796
    assert weight.abs().max().item() > 2 * std
    assert model.fc1.weight.std().item() == pytest.approx(0.01, rel=0.005)
    assert not model.fc1.bias.any()
    assert all((p == (1 if name.endswith("weight") else 0)).all() for name, p in model.named_parameters() if ".bn" in name)


def test_initialisation_depends_on_the_seed_only():
    one, same, other = network(TINY, 1), network(TINY, 1), network(TINY, 2)
    pairs = list(zip(one.parameters(), same.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert not torch.equal(one.conv0.weight, other.conv0.weight)


def test_network_without_norm_has_no_norm_parameters():
    model = ResNet(replace(TINY, norm=False), ALONE)
    assert not [name for name, _ in model.named_parameters() if "bn" in name]
    assert model(torch.randn(4, 3, 32, 32)).shape == (4, 5)


# --- a whole step of the full preset, real widths, against another implementation ---

CUT = replace(full(), global_batch_size=2, model=replace(full().model, blocks=(1, 2, 1, 1), norm_span=2))


def their_model():
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(embedding_size=64, hidden_sizes=[256, 512, 1024, 2048], depths=[1, 2, 1, 1],
                                       layer_type="bottleneck", num_labels=1000, downsample_in_bottleneck=False)
    with torch.device("meta"):  # their initialisation is not needed
        model = transformers.ResNetForImageClassification(config)
    model = model.to_empty(device="cpu").double().train()
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.reset_running_stats()
    return model


def their_name(name):
    """Our parameter name -> transformers' name."""
    module, _, kind = name.rpartition(".")
    parts = module.split(".")
    part = parts[-1]
    if part == "fc1":
        return f"classifier.1.{kind}"
    what = "normalization" if part.startswith("bn") else "convolution"
    if len(parts) == 1:
        return f"resnet.embedder.embedder.{what}.{kind}"
    place = f"resnet.encoder.stages.{int(parts[0][5:]) - 1}.layers.{int(parts[1][4:]) - 1}"
    if part.endswith("sc"):
        return f"{place}.shortcut.{what}.{kind}"
    return f"{place}.layer.{int(part[-1]) - 1}.{what}.{kind}"


@pytest.fixture(scope="module")
def step():
    """(ours, theirs) after forward and backward of two images on equal weights, and both losses."""
    ours, theirs = network(CUT.model, dtype=torch.float64), their_model()
    with torch.no_grad():
        for parameter in ours.parameters():  # nothing stays at a special value
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=Seeds(2).torch("noise"), dtype=torch.float64))
        names = {name: their_name(name) for name, _ in ours.named_parameters()}
        their_parameters = dict(theirs.named_parameters())
        assert sorted(names.values()) == sorted(their_parameters)
        for name, parameter in ours.named_parameters():
            their_parameters[names[name]].copy_(parameter)
    images = 60 * torch.randn(2, 3, 64, 64, generator=Seeds(3).torch("images"), dtype=torch.float64)
    labels = torch.tensor([3, 977])
    loss = Loss(0.1, 2, Shape(torch.float64, torch.channels_last))(ours, (images, labels))
    loss.backward()
    RunningStatistics(ours, ALONE).commit()
    targets = 0.9 * F.one_hot(labels, 1000).double() + 0.1 / 1000
    their_loss = -(targets * theirs(images).logits.log_softmax(1)).sum(1).mean()
    their_loss.backward()
    return ours, theirs, loss, their_loss


def test_loss_of_a_step_equals_the_independent_one(step):
    _, _, loss, their_loss = step
    assert loss.item() == pytest.approx(their_loss.item(), rel=1e-12)


def test_every_gradient_of_a_step_equals_the_independent_one(step):
    ours, theirs, _, _ = step
    their_gradients = {name: p.grad for name, p in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        expected = their_gradients[their_name(name)]
        assert (parameter.grad - expected).norm() <= 1e-10 * expected.norm(), name


def test_running_statistics_after_a_step_equal_the_independent_ones(step):
    ours, theirs, _, _ = step
    their_buffers = dict(theirs.named_buffers())
    compared = 0
    for name, value in ours.named_buffers():
        if "running" in name:
            assert torch.allclose(value, their_buffers[their_name(name)], rtol=1e-10, atol=1e-12), name
            compared += 1
    assert compared == 2 * (1 + 3 * 5 + 4)


def test_weights_after_two_optimizer_steps_equal_a_plain_loop(step):
    """The full preset's LARS and schedule in mid warm-up; the loop is written per tensor from the published formula."""
    ours, config = copy.deepcopy(step[0]), full()
    for parameter, source in zip(ours.parameters(), step[0].parameters(), strict=True):
        parameter.grad = source.grad
    expected = {name: p.detach().clone() for name, p in ours.named_parameters()}
    optimizer, schedule = build_optimizer(config.optimizer, ours), build_schedule(config.optimizer, config.schedule, 625)
    velocity = {name: torch.zeros_like(p) for name, p in expected.items()}
    for iteration in (100, 101):
        rate = 8.5 * iteration / 3125  # base rate, 5 warm-up epochs of 625 steps
        for name, parameter in ours.named_parameters():
            w, g, direction = expected[name], parameter.grad, parameter.grad
            if parameter.ndim > 1:
                w_norm, g_norm = w.square().sum().sqrt(), g.square().sum().sqrt()
                direction = 0.001 * w_norm / (g_norm + 0.0002 * w_norm) * (g + 0.0002 * w)
            velocity[name] = 0.9 * velocity[name] - rate * direction
            expected[name] = w + velocity[name]
        optimizer.rate.fill_(schedule.value(iteration))
        optimizer.step()
    for name, parameter in ours.named_parameters():
        assert torch.allclose(parameter, expected[name], rtol=1e-12, atol=1e-15), name
