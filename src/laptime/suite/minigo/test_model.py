"""The network: exact sizes, a whole step against plain torch modules in float64, folding, names, initialisation."""

import numpy as np
import pytest
import torch
from torch import nn

from laptime.suite.minigo.config import PRESETS, ModelConfig, OptimizerConfig, full, mini, v0_5, v0_6
from laptime.suite.minigo.examples import Micro
from laptime.suite.minigo.learner import Loss, Piecewise, build_optimizer
from laptime.suite.minigo.model import (
    DualNetwork,
    Frozen,
    initialise,
    initialised_names,
    joined,
    pointwise,
    reference_tensors,
    transposed,
    untransposed,
)
from laptime.suite.minigo.player import Player, Table
from laptime.training.distributed.world import World
from laptime.training.nn.batch_norm import RunningStatistics

ALONE = World(0, 1, torch.device("cpu"))


def network(config, size=5, span=4, dtype=torch.float64):
    model = DualNetwork(config, size, span, ALONE)
    initialise(model, torch.Generator().manual_seed(3))
    return model.to(dtype)


@pytest.mark.parametrize(("preset", "count"), [("full", 736_671), ("v0.6", 190_775), ("v0.5", 191_386)])
def test_number_of_parameters_is_the_reference_s(preset, count):
    config = PRESETS[preset]()
    with torch.device("meta"):
        model = DualNetwork(config.model, config.game.size, config.norm_span, ALONE)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == count


class Plain(nn.Module):
    """The network of the fact table in torch's own modules, written without ours. Channels come last before dense layers."""

    def __init__(self, planes, width, blocks, hidden, size, bias, momentum):
        super().__init__()
        def layer(a, b, k, affine=True):
            return nn.Sequential(nn.Conv2d(a, b, k, padding="same", bias=bias), nn.BatchNorm2d(b, 1e-5, momentum, affine=affine))
        self.stem = layer(planes, width, 3)
        self.tower = nn.ModuleList(nn.ModuleList([layer(width, width, 3), layer(width, width, 3)]) for _ in range(blocks))
        self.policy, self.value = layer(width, 2, 1, False), layer(width, 1, 1, False)
        self.fc_policy, self.fc_value1 = nn.Linear(2 * size * size, size * size + 1), nn.Linear(size * size, hidden)
        self.fc_value2 = nn.Linear(hidden, 1)

    def forward(self, x):
        x = self.stem(x).relu()
        for first, second in self.tower:
            x = (second(first(x).relu()) + x).relu()
        flat = lambda y: y.relu().movedim(1, -1).reshape(len(y), -1)  # noqa: E731
        return self.fc_policy(flat(self.policy(x))), self.fc_value2(self.fc_value1(flat(self.value(x))).relu()).tanh()[:, 0]

    def sequence(self):
        convs = [self.stem, *(layer for block in self.tower for layer in block), self.policy, self.value]
        return convs, [self.fc_policy, self.fc_value1, self.fc_value2]


def copied(model, config, size):
    plain = Plain({"agz": 17, "mlperf07": 13}[config.planes], config.width, config.blocks, config.value_hidden, size,
                  config.convolution_bias, config.norm_momentum).double()
    convs, dense = plain.sequence()
    pairs = []
    with torch.no_grad():
        for mine, (conv, norm) in zip(model.layers(), convs, strict=True):
            pairs.append((mine.conv.weight, conv.weight))
            if conv.bias is not None:
                mine.conv.bias.normal_(0, 0.1, generator=torch.Generator().manual_seed(len(pairs)))
                pairs.append((mine.conv.bias, conv.bias))
            if norm.affine:
                mine.norm.weight.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(len(pairs)))
                mine.norm.bias.normal_(0, 0.2, generator=torch.Generator().manual_seed(len(pairs)))
                pairs += [(mine.norm.weight, norm.weight), (mine.norm.bias, norm.bias)]
        for mine, theirs in zip(model.dense(), dense, strict=True):
            pairs += [(mine.weight, theirs.weight), (mine.bias, theirs.bias)]
        for mine, theirs in pairs:
            theirs.copy_(mine)
    return plain, pairs


def micro(size, planes, count, seed=0):
    draw = torch.Generator().manual_seed(seed)
    x = (torch.rand(count, planes, size, size, generator=draw) < 0.3).double()
    policy = torch.rand(count, size * size + 1, generator=draw, dtype=torch.float64).softmax(1)
    return Micro(x, policy, torch.rand(count, generator=draw, dtype=torch.float64).sub(0.5).sign())


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=["last", "plain"])
@pytest.mark.parametrize("make", [full, v0_6, v0_5], ids=["v0.7", "v0.6", "v0.5"])
def test_a_whole_step_at_full_width_equals_plain_modules(make, layout):
    """Loss, every gradient, every weight after the update and the running statistics, in float64 with copied weights."""
    config = make()
    size, count = config.game.size, 4
    model = network(config.model, size, span=count)
    plain, pairs = copied(model, config.model, size)
    model.to(memory_format=layout)
    batch = micro(size, 17 if config.model.planes == "agz" else 13, count)
    o = config.optimizer
    loss = Loss(count, o.value_cost)(model, batch._replace(planes=batch.planes.contiguous(memory_format=layout)))
    loss.backward()
    scores, values = plain(batch.planes)
    theirs = nn.functional.cross_entropy(scores, batch.policy) + o.value_cost * nn.functional.mse_loss(values, batch.outcome)
    shifts = [] if o.decay_beta else [norm.bias for _, norm in plain.sequence()[0] if norm.affine]
    names = {id(p): name for name, p in plain.named_parameters()}
    betas = {id(norm.bias) for _, norm in plain.sequence()[0] if norm.affine}
    decayed = [p for p in plain.parameters() if not (names[id(p)].endswith("bias") and id(p) not in betas)]
    decayed = [p for p in decayed if all(p is not shift for shift in shifts)]
    theirs.backward()
    assert abs(loss.item() - theirs.item()) <= 1e-12 * abs(theirs.item())
    scale = max(other.grad.abs().max().item() for _, other in pairs)
    assert max((mine.grad - other.grad).abs().max().item() for mine, other in pairs) <= 1e-12 * scale
    # TensorFlow's momentum with the L2 term in the loss: v = 0.9 v + g + 1e-4 w; w = w - rate v, from v = 0
    expected = {id(other): other - 0.1 * (other.grad + (1e-4 * other if any(other is p for p in decayed) else 0)) for _, other in pairs}
    optimizer = build_optimizer(o, model)
    optimizer.rate.fill_(0.1)
    optimizer.step()
    RunningStatistics(model, ALONE).commit()
    for mine, other in pairs:
        assert torch.allclose(mine, expected[id(other)], rtol=1e-12, atol=1e-13)
    for mine, (_, norm) in zip(model.layers(), plain.sequence()[0], strict=True):
        assert torch.allclose(mine.norm.running_mean, norm.running_mean, rtol=1e-12, atol=1e-14)
        assert torch.allclose(mine.norm.running_var, norm.running_var, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("bias", [False, True])
def test_both_heads_first_layers_are_one_product_with_the_results_of_two_convolutions(bias):
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(6, 8, 5, 5, generator=draw, dtype=torch.float64)
    convolutions = [nn.Conv2d(8, outputs, 1, bias=bias).double() for outputs in (2, 1)]
    found = pointwise(x, *joined(*convolutions))
    assert torch.allclose(found, torch.cat([one(x) for one in convolutions], 1), rtol=1e-13, atol=1e-14)


def test_play_does_not_depend_on_how_the_weights_lie():
    model = network(mini().model, dtype=torch.float32)
    x = torch.rand(8, 13, 5, 5)
    before = Frozen(model)(x)
    after = Frozen(model.to(memory_format=torch.channels_last))(x)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_loss_of_parts_adds_up_to_that_of_the_whole():
    model = network(mini().model, span=4).eval()
    batch = micro(5, 13, 8)
    halves = [Micro(*(part[i:i + 4] for part in batch)) for i in (0, 4)]
    loss = Loss(8, 0.5)
    assert loss(model, batch).item() == pytest.approx(sum(loss(model, half).item() for half in halves), rel=1e-13)


@pytest.mark.parametrize("bias", [False, True])
def test_the_frozen_network_is_the_same_function(bias):
    config = ModelConfig(width=8, blocks=2, value_hidden=4, convolution_bias=bias)
    model = network(config)
    copied(model, config, 5)  # biases, scales and shifts that are not 0 and 1
    with torch.no_grad():
        for layer in model.layers():
            layer.norm.running_mean.uniform_(-1, 1)
            layer.norm.running_var.uniform_(0.5, 2)
    x = torch.rand(6, 13, 5, 5, dtype=torch.float64)
    scores, values = model.eval()(x)
    priors, guesses = Frozen(model)(x)
    assert torch.allclose(priors, scores.softmax(1), rtol=1e-12)
    assert torch.allclose(guesses, values, rtol=1e-12)


def test_what_a_player_says_of_a_position_does_not_depend_on_the_others():
    player = Player(network(mini().model, dtype=torch.float32), 5, 8)
    planes = np.random.default_rng(0).integers(0, 2, (19, 13, 25)).astype(np.uint8)
    priors, values = player(planes)
    for i in (0, 9, 18):
        alone = player(planes[i:i + 1])
        assert (alone[0][0] == priors[i]).all()
        assert alone[1][0] == values[i]
    assert priors.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_symmetries_of_a_table_turn_positions_there_and_moves_back():
    """A player that sees only where a stone is answers at that point, under every symmetry."""
    class Echo(Player):
        def __init__(self):
            self.size = 5

        def __call__(self, planes):
            return np.pad(planes[:, 0].astype(np.float32), ((0, 0), (0, 1))), np.zeros(len(planes), np.float32)

    planes = np.zeros((40, 13, 25), np.uint8)
    planes[np.arange(40), 0, np.arange(40) % 25] = 1
    hashes = np.arange(40, dtype=np.uint64)
    table = Table([Echo()], 40, np.arange(40, dtype=np.uint64) * np.uint64(7919))
    priors, _ = table(planes, hashes, np.arange(40))
    assert priors.argmax(axis=1).tolist() == [i % 25 for i in range(40)]


def test_names_and_shapes_are_the_reference_s():
    with torch.device("meta"):
        model = DualNetwork(full().model, 19, 64, ALONE)
    names = initialised_names(model)
    assert len(names) == 48 == len(set(names))
    assert names[:3] == ["conv2d/kernel", "batch_normalization/gamma", "batch_normalization/beta"]
    tensors = reference_tensors(model)
    assert tuple(transposed(tensors["conv2d/kernel"]).shape) == (3, 3, 13, 64)
    assert tuple(transposed(tensors["conv2d_13/kernel"]).shape) == (1, 1, 64, 2)
    assert tuple(transposed(tensors["dense/kernel"]).shape) == (722, 362)
    assert "batch_normalization_13/gamma" not in tensors
    assert {"batch_normalization_14/moving_mean", "batch_normalization_14/moving_variance"} <= set(tensors)


def test_transposing_has_an_inverse():
    for shape in ((4, 3, 2, 2), (5, 7), (6,)):
        tensor = torch.rand(shape)
        assert torch.equal(untransposed(transposed(tensor)), tensor)


def test_initial_kernels_are_glorot_uniform_and_the_rest_plain():
    model = network(full().model, 19)
    kernel = model.blocks[2].first.conv.weight
    limit = (6 / (64 * 9 + 64 * 9)) ** 0.5
    assert kernel.abs().max() <= limit
    assert kernel.std().item() == pytest.approx(limit / 3**0.5, rel=0.02)
    assert model.hidden.bias.abs().max() == 0
    assert model.entry.norm.weight.min() == 1


def test_rates_change_after_their_boundaries():
    rates = Piecewise((1.0, 2.0, 3.0), (10, 20))
    assert [rates.value(step) for step in (0, 10, 11, 20, 21, 10**9)] == [1, 1, 2, 2, 3, 3]


def test_the_shift_of_batch_norm_is_decayed_in_the_oldest_variant_only():
    model = network(ModelConfig(width=4, blocks=1))
    for beta in (False, True):
        decayed = build_optimizer(OptimizerConfig(decay_beta=beta), model).param_groups[0]["params"]
        assert any(p is model.entry.norm.bias for p in decayed) is beta
        assert any(p is model.entry.norm.weight for p in decayed)
        assert not any(p is model.hidden.bias for p in decayed)
