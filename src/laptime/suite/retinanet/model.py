"""RetinaNet (Lin et al. 2017) on a ResNeXt-50 32x4d (Xie et al. 2016) with frozen batch norm.

Modules carry the reference's names, so that "module." and a parameter's name make its reference name. Shapes: images
(N, 3, S, S); per level scores (N, R, classes) and deltas (N, R, 4), R = rows * columns * anchors per cell, anchor by
anchor within a cell, cells row by row.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch.nn import functional as F

from laptime.suite.retinanet import winograd
from laptime.suite.retinanet.config import PYRAMID, STAGES, ModelConfig

SHAPES_PER_CELL = 9  # three sizes times three ratios (Lin et al. 2017, section 4)
OUTPUT = 2  # a bottleneck's output has twice the channels of its grouped middle (Xie et al. 2016, table 1)
HEAD_STD = 0.01  # Lin et al. 2017, section 4.1, for 256 channels
HEAD_CHANNELS = 256
STEM_KERNEL = 7

Levels = list[torch.Tensor]


class FrozenNorm(torch.nn.Module):
    """Batch norm that never changes: four buffers, under the names that live batch norm gives them."""

    weight: torch.Tensor
    bias: torch.Tensor
    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(self, features: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((features,), value))

    def affine(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(scale, shift) per channel."""
        scale = self.weight * torch.rsqrt(self.running_var + self.eps)
        return scale, self.bias - self.running_mean * scale


class ConvNorm(torch.nn.Conv2d):
    """A convolution without bias whose norm `norm_of` is a frozen sibling folded into it, or a live one after it."""

    def through(self, norm: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        """norm(conv(x)); a frozen norm costs one product per weight instead of two passes over the activations."""
        if not isinstance(norm, FrozenNorm):
            return norm(self(x))
        scale, shift = norm.affine()
        return F.conv2d(x, self.weight * scale[:, None, None, None], shift, self.stride, self.padding, self.dilation,
                        self.groups)


def _conv(channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> ConvNorm:
    return ConvNorm(channels, out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)


class Norms:
    """Makes the norms of a backbone: frozen ones, or (pre-training) live ones."""

    def __init__(self, config: ModelConfig, live: bool) -> None:
        self.config, self.live = config, live

    def __call__(self, features: int) -> torch.nn.Module:
        epsilon = self.config.norm_epsilon
        return torch.nn.BatchNorm2d(features, epsilon) if self.live else FrozenNorm(features, epsilon)


class Bottleneck(torch.nn.Module):
    """1x1, grouped 3x3 (with the stride), 1x1; the shortcut is projected where shape changes."""

    def __init__(self, channels: int, middle: int, stride: int, *, groups: int, norms: Norms) -> None:
        super().__init__()
        out = middle * OUTPUT
        self.conv1, self.bn1 = _conv(channels, middle, 1), norms(middle)
        self.conv2, self.bn2 = _conv(middle, middle, 3, stride, groups), norms(middle)
        self.conv3, self.bn3 = _conv(middle, out, 1), norms(out)
        self.downsample = torch.nn.ModuleList()
        if stride != 1 or channels != out:
            self.downsample.extend([_conv(channels, out, 1, stride), norms(out)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = self._shortcut(x)
        y = F.relu(self.conv1.through(self.bn1, x), inplace=True)
        y = F.relu(self.conv2.through(self.bn2, y), inplace=True)
        return F.relu(self.conv3.through(self.bn3, y).add_(shortcut), inplace=True)

    def _shortcut(self, x: torch.Tensor) -> torch.Tensor:
        if not len(self.downsample):
            return x
        project, norm = self.downsample
        assert isinstance(project, ConvNorm)
        return project.through(norm, x)


def features(config: ModelConfig) -> list[int]:
    """Output channels of each stage."""
    return [config.groups * config.group_width * OUTPUT * 2**i for i in range(STAGES)]


class Backbone(torch.nn.Module):
    """Stem and four stages; gives the outputs of the last three."""

    def __init__(self, config: ModelConfig, *, live: bool = False) -> None:
        super().__init__()
        norms = Norms(config, live)
        self.conv1, self.bn1 = _conv(3, config.stem, STEM_KERNEL, 2), norms(config.stem)
        channels = config.stem
        for i, (blocks, out) in enumerate(zip(config.blocks, features(config), strict=True)):
            units = [Bottleneck(out if unit else channels, out // OUTPUT, 2 if i and not unit else 1,
                                groups=config.groups, norms=norms) for unit in range(blocks)]
            self.add_module(f"layer{i + 1}", torch.nn.Sequential(*units))
            channels = out

    def forward(self, x: torch.Tensor) -> Levels:
        y = F.relu(self.conv1.through(self.bn1, x), inplace=True)
        y = F.max_pool2d(y, kernel_size=3, stride=2, padding=1)
        levels = []
        for i in range(STAGES):
            y = getattr(self, f"layer{i + 1}")(y)
            levels.append(y)
        return levels[-PYRAMID:]

    def freeze(self, trained_stages: int) -> None:
        """Leave only the last stages to be trained."""
        kept = tuple(f"layer{i + 1}." for i in range(STAGES - trained_stages, STAGES))
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith(kept))


def _of_maps(conv: torch.nn.Module, maps: Levels, *, relu: bool = False) -> Levels:
    """A 3x3 convolution of several maps, then ReLU where asked for."""
    assert isinstance(conv, torch.nn.Conv2d)
    if conv.bias is not None and winograd.pays(maps[0], conv):
        return winograd.convolved(maps, conv.weight, conv.bias, relu=relu)
    made = [conv(one) for one in maps]
    return [F.relu(one, inplace=True) for one in made] if relu else made


class Pyramid(torch.nn.Module):
    """The feature pyramid: lateral 1x1, top-down addition, 3x3; further levels by strided 3x3 from the one before."""

    def __init__(self, inputs: Sequence[int], channels: int, levels: int) -> None:
        super().__init__()
        self.inner_blocks = torch.nn.ModuleList(torch.nn.Conv2d(count, channels, 1) for count in inputs)
        self.layer_blocks = torch.nn.ModuleList(torch.nn.Conv2d(channels, channels, 3, padding=1) for _ in inputs)
        further = {f"p{6 + i}": torch.nn.Conv2d(channels, channels, 3, 2, 1) for i in range(levels - len(inputs))}
        self.extra_blocks = torch.nn.ModuleDict(further)

    def forward(self, features: Levels) -> Levels:
        lateral = [inner(x) for inner, x in zip(self.inner_blocks, features, strict=True)]
        for i in range(len(lateral) - 2, -1, -1):
            lateral[i] = lateral[i] + F.interpolate(lateral[i + 1], size=lateral[i].shape[-2:], mode="nearest")
        levels = [level for layer, x in zip(self.layer_blocks, lateral, strict=True) for level in _of_maps(layer, [x])]
        for i, block in enumerate(self.extra_blocks.values()):
            levels.append(block(F.relu(levels[-1]) if i else levels[-1]))
        return levels


class Tower(torch.nn.Module):
    """A head's convolutions with ReLU, and its last one under the name `last`; the same weights for every level."""

    def __init__(self, channels: int, depth: int, last: str, outputs: int) -> None:
        super().__init__()
        layers = [layer for _ in range(depth)
                  for layer in (torch.nn.Conv2d(channels, channels, 3, padding=1), torch.nn.ReLU(inplace=True))]
        self.conv = torch.nn.Sequential(*layers)
        self.add_module(last, torch.nn.Conv2d(channels, outputs * SHAPES_PER_CELL, 3, padding=1))
        self.last, self.outputs = last, outputs

    def forward(self, levels: Levels) -> Levels:
        for layer in list(self.conv)[::2]:
            levels = _of_maps(layer, levels, relu=True)
        return [self._rows(level) for level in _of_maps(getattr(self, self.last), levels)]

    def _rows(self, x: torch.Tensor) -> torch.Tensor:
        """(N, anchors * outputs, H, W) -> (N, H * W * anchors, outputs); free in channels_last memory."""
        return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, self.outputs)


class RetinaNet(torch.nn.Module):
    """The network; weights as torch makes them until `initialise`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        body = Backbone(config)
        body.freeze(config.trained_stages)
        pyramid = Pyramid(features(config)[-PYRAMID:], config.channels, len(config.anchor_sizes))
        self.backbone = torch.nn.ModuleDict(OrderedDict(body=body, fpn=pyramid))
        self.head = torch.nn.ModuleDict(OrderedDict(
            classification_head=Tower(config.channels, config.tower, "cls_logits", config.classes),
            regression_head=Tower(config.channels, config.tower, "bbox_reg", 4)))

    def forward(self, images: torch.Tensor) -> tuple[Levels, Levels]:
        """Scores and deltas per level."""
        levels = self.backbone["fpn"](self.backbone["body"](images))
        return self.head["classification_head"](levels), self.head["regression_head"](levels)


@torch.no_grad()
def initialise(model: RetinaNet, generator: torch.Generator) -> None:
    """Draw all weights in float32 on the CPU, so that every device starts equal.

    Pyramid: Kaiming uniform with a = 1. Heads: normal, standard deviation 0.01 at 256 channels and the same signal per
    layer at others (it grows with the root of 256 / channels). The class bias makes every score `prior`. The backbone,
    where no start weights replace it: Kaiming normal over the outputs (He et al. 2015).
    """
    std = HEAD_STD * math.sqrt(HEAD_CHANNELS / model.config.channels)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            drawn = torch.empty(module.weight.shape, dtype=torch.float32, device="cpu")
            module.weight.copy_(_drawn(name, drawn, std, generator))
            if module.bias is not None:
                module.bias.zero_()
    scores = model.head["classification_head"].get_submodule("cls_logits")
    scores.bias.fill_(-math.log((1 - model.config.prior) / model.config.prior))  # type: ignore[operator]


def _drawn(name: str, weight: torch.Tensor, std: float, generator: torch.Generator) -> torch.Tensor:
    if name.startswith("head."):
        return weight.normal_(0.0, std, generator=generator)
    if name.startswith("backbone.fpn."):
        return torch.nn.init.kaiming_uniform_(weight, a=1, generator=generator)
    return torch.nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu", generator=generator)


def reference_names(model: torch.nn.Module) -> list[str]:
    """Names of all weights as the reference logs them, frozen and pre-trained ones included."""
    return [f"module.{name}" for name, _ in model.named_parameters()]


def anchors(sizes: Sequence[int], image: int, maps: Sequence[tuple[int, int]]) -> torch.Tensor:
    """All anchors of an image x image input as corners, (A, 4) float32, in the order of the network's rows.

    Three sizes per level (times 2^(1/3), 2^(2/3), truncated), three ratios of height to width, rounded to whole pixels
    around the grid point, which is the cell's index times its stride (image // map).
    """
    return torch.cat([_level(size, image, rows, columns) for size, (rows, columns) in zip(sizes, maps, strict=True)])


def _level(size: int, image: int, rows: int, columns: int) -> torch.Tensor:
    scales = torch.tensor([size, int(size * 2 ** (1 / 3)), int(size * 2 ** (2 / 3))], dtype=torch.float32, device="cpu")
    tall = torch.tensor([0.5, 1.0, 2.0], device="cpu").sqrt()
    heights, widths = (tall[:, None] * scales).flatten(), (scales / tall[:, None]).flatten()
    cell = (torch.stack([-widths, -heights, widths, heights], 1) / 2).round()
    y = torch.arange(rows, dtype=torch.float32, device="cpu") * (image // rows)
    x = torch.arange(columns, dtype=torch.float32, device="cpu") * (image // columns)
    y, x = torch.meshgrid(y, x, indexing="ij")
    grid = torch.stack([x, y, x, y], -1)
    return (grid[:, :, None] + cell).reshape(-1, 4)


def map_sizes(image: int, levels: int) -> list[tuple[int, int]]:
    """Rows and columns of each level of an image x image input: strides 2 with padding round up."""
    sides = [-(-image // 8)]
    while len(sides) < levels:
        sides.append(-(-sides[-1] // 2))
    return [(side, side) for side in sides]
