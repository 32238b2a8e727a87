"""ResNet-50 v1.5 (He et al. 2015; "v1.5": a down-sampling bottleneck strides in its 3x3 convolution).

Modules carry the reference's names, so that a parameter's name is its reference name with other punctuation.
Shapes: images (N, 3, H, W), scores (N, classes).
"""

from collections import OrderedDict
from itertools import pairwise

import torch
from torch.nn import functional as F

from laptime.suite.resnet.config import ModelConfig
from laptime.training.distributed.world import World
from laptime.training.nn.batch_norm import SpanBatchNorm2d

EXPANSION = 4  # He et al. 2015, table 1: a bottleneck's output has four times the channels of its middle
TRUNCATED_STD = 0.87962566103423978  # standard deviation of a unit normal cut at +-2


class Unit(torch.nn.Module):
    """A bottleneck: 1x1, 3x3 (with the stride), 1x1; the shortcut is projected where shape changes."""

    def __init__(self, channels: int, middle: int, stride: int, norm: "Norm") -> None:
        super().__init__()
        out = middle * EXPANSION
        self.conv1, self.bn1 = _conv(channels, middle, 1), norm(middle)
        self.conv2, self.bn2 = _conv(middle, middle, 3, stride), norm(middle)
        self.conv3, self.bn3 = _conv(middle, out, 1), norm(out)
        self.projects = stride != 1 or channels != out
        if self.projects:
            self.conv1sc, self.bnsc = _conv(channels, out, 1, stride), norm(out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = self.bnsc(self.conv1sc(x)) if self.projects else x
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        return F.relu(y + shortcut, inplace=True)


class Norm:
    """Makes the batch norms of one network."""

    def __init__(self, config: ModelConfig, world: World) -> None:
        self.config, self.world = config, world

    def __call__(self, features: int) -> torch.nn.Module:
        if not self.config.norm:
            return torch.nn.Identity()
        return SpanBatchNorm2d(features, self.config.norm_span, self.world, momentum=self.config.norm_momentum,
                               epsilon=self.config.norm_epsilon)


class ResNet(torch.nn.Module):
    """The network; weights as torch makes them until `initialise`."""

    def __init__(self, config: ModelConfig, world: World) -> None:
        super().__init__()
        norm = Norm(config, world)
        self.conv0, self.bn0 = _conv(3, config.width, 7, 2), norm(config.width)
        middles = [config.width * 2**i for i in range(len(config.blocks))]
        outputs = [config.width, *(middle * EXPANSION for middle in middles)]
        self.stages = [f"stage{i}" for i in range(1, len(middles) + 1)]
        for i, (name, (channels, out)) in enumerate(zip(self.stages, pairwise(outputs), strict=True)):
            self.add_module(name, _stage(channels, out, config.blocks[i], 1 if i == 0 else 2, norm))
        self.fc1 = torch.nn.Linear(outputs[-1], config.classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn0(self.conv0(x)), inplace=True)
        y = F.max_pool2d(y, kernel_size=3, stride=2, padding=1)
        for name in self.stages:
            y = getattr(self, name)(y)
        return self.fc1(y.mean((2, 3)))


@torch.no_grad()
def initialise(model: ResNet, generator: torch.Generator) -> None:
    """Draw all weights: convolutions he_normal, dense weight normal with standard deviation 0.01, the rest constant.

    he_normal as the reference's framework defines it: a normal cut at two of its standard deviations, widened so that
    the variance after the cut is 2 / fan_in. Drawn in float32 on the CPU, so that every device starts equal.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            fan_in = module.weight[0].numel()
            std = (2.0 / fan_in) ** 0.5 / TRUNCATED_STD
            drawn = torch.empty(module.weight.shape, dtype=torch.float32, device="cpu")
            module.weight.copy_(torch.nn.init.trunc_normal_(drawn, 0.0, std, -2 * std, 2 * std, generator=generator))
        elif isinstance(module, torch.nn.Linear):
            drawn = torch.empty(module.weight.shape, dtype=torch.float32, device="cpu")
            module.weight.copy_(drawn.normal_(0.0, 0.01, generator=generator))  # both references
            module.bias.zero_()
        elif isinstance(module, SpanBatchNorm2d):
            module.weight.fill_(1.0)
            module.bias.zero_()


def reference_names(model: torch.nn.Module) -> dict[str, str]:
    """Parameter name -> name of that tensor in the reference's logs ("stage1.unit1.bn1.weight" -> "..._bn1_gamma")."""
    return {name: _reference_name(name) for name, _ in model.named_parameters()}


def _reference_name(name: str) -> str:
    module, _, kind = name.rpartition(".")
    if ".bn" in f".{module}":
        kind = {"weight": "gamma", "bias": "beta"}[kind]
    return f"{module}.{kind}".replace(".", "_")


def _conv(channels: int, out: int, kernel: int, stride: int = 1) -> torch.nn.Conv2d:
    return torch.nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2, bias=False)


def _stage(channels: int, out: int, units: int, stride: int, norm: Norm) -> torch.nn.Sequential:
    made = [Unit(channels if i == 0 else out, out // EXPANSION, stride if i == 0 else 1, norm) for i in range(units)]
    return torch.nn.Sequential(OrderedDict((f"unit{i}", unit) for i, unit in enumerate(made, start=1)))
