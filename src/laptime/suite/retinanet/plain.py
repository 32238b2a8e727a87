"""RetinaNet once more, written plainly and on its own: what tests and measurements compare with.

No public package of the `dev` extra has this network, so this one is written from the published description the way
most implementations are: batch norm as a layer of its own, a loop over the images of a batch for matching and loss, one
tensor of all levels, targets of all classes, automatic gradients. It shares no code with `model.py` and
`training.nn.boxes`. The names of its tensors are the reference's.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from laptime.suite.retinanet.config import RetinaNetConfig

Outputs = tuple[torch.Tensor, torch.Tensor]


class FixedNorm(nn.Module):
    """(x - mean) / sqrt(variance + epsilon) * weight + bias, of constants."""

    weight: torch.Tensor
    bias: torch.Tensor
    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(self, count: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.register_buffer("weight", torch.ones(count))
        self.register_buffer("bias", torch.zeros(count))
        self.register_buffer("running_mean", torch.zeros(count))
        self.register_buffer("running_var", torch.ones(count))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        w, b, m, v = (t.reshape(1, -1, 1, 1) for t in (self.weight, self.bias, self.running_mean, self.running_var))
        scale = w * (v + self.epsilon).rsqrt()
        return x * scale + (b - m * scale)


class Block(nn.Module):
    """ResNeXt bottleneck."""

    def __init__(self, before: int, width: int, stride: int, groups: int, epsilon: float) -> None:
        super().__init__()
        after = 2 * width
        self.conv1, self.bn1 = nn.Conv2d(before, width, 1, bias=False), FixedNorm(width, epsilon)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = FixedNorm(width, epsilon)
        self.conv3, self.bn3 = nn.Conv2d(width, after, 1, bias=False), FixedNorm(after, epsilon)
        self.downsample = None
        if stride > 1 or before != after:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), FixedNorm(after, epsilon))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class Body(nn.Module):
    """The backbone; gives C3, C4, C5."""

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(self, config: RetinaNetConfig) -> None:
        super().__init__()
        model = config.model
        self.conv1 = nn.Conv2d(3, model.stem, 7, 2, 3, bias=False)
        self.bn1 = FixedNorm(model.stem, model.norm_epsilon)
        before, width = model.stem, model.groups * model.group_width
        for number, blocks in enumerate(model.blocks, 1):
            stage = []
            for i in range(blocks):
                stride = 2 if number > 1 and i == 0 else 1
                stage.append(Block(before, width, stride, model.groups, model.norm_epsilon))
                before = 2 * width
            setattr(self, f"layer{number}", nn.Sequential(*stage))
            width *= 2

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        x = F.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        c2 = self.layer1(x)
        c3 = self.layer2(c2)
        c4 = self.layer3(c3)
        return [c3, c4, self.layer4(c4)]


class Fpn(nn.Module):
    """P3, P4, P5 and, as asked for, P6, P7."""

    def __init__(self, config: RetinaNetConfig) -> None:
        super().__init__()
        model, c = config.model, config.model.channels
        width = model.groups * model.group_width
        self.inner_blocks = nn.ModuleList([nn.Conv2d(width * factor, c, 1) for factor in (4, 8, 16)])
        self.layer_blocks = nn.ModuleList([nn.Conv2d(c, c, 3, padding=1) for _ in range(3)])
        names = ["p6", "p7"][:len(model.anchor_sizes) - 3]
        self.extra_blocks = nn.ModuleDict({name: nn.Conv2d(c, c, 3, 2, 1) for name in names})

    def forward(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        c3, c4, c5 = features
        m5 = self.inner_blocks[2](c5)
        m4 = self.inner_blocks[1](c4) + F.interpolate(m5, size=c4.shape[2:])
        m3 = self.inner_blocks[0](c3) + F.interpolate(m4, size=c3.shape[2:])
        out = [self.layer_blocks[0](m3), self.layer_blocks[1](m4), self.layer_blocks[2](m5)]
        if "p6" in self.extra_blocks:
            out.append(self.extra_blocks["p6"](out[-1]))
        if "p7" in self.extra_blocks:
            out.append(self.extra_blocks["p7"](torch.relu(out[-1])))
        return out


class Head(nn.Module):
    """One of the two heads; rows of all levels behind each other."""

    def __init__(self, config: RetinaNetConfig, name: str, per_anchor: int) -> None:
        super().__init__()
        c = config.model.channels
        layers: list[nn.Module] = []
        for _ in range(config.model.tower):
            layers += [nn.Conv2d(c, c, 3, padding=1), nn.ReLU()]
        self.conv, self.name, self.per_anchor = nn.Sequential(*layers), name, per_anchor
        setattr(self, name, nn.Conv2d(c, 9 * per_anchor, 3, padding=1))

    def forward(self, levels: list[torch.Tensor]) -> torch.Tensor:
        rows = []
        for level in levels:
            y = getattr(self, self.name)(self.conv(level))
            n, _, h, w = y.shape
            y = y.view(n, 9, self.per_anchor, h, w).permute(0, 3, 4, 1, 2)
            rows.append(y.reshape(n, h * w * 9, self.per_anchor))
        return torch.cat(rows, dim=1)


class PlainRetinaNet(nn.Module):
    """Scores (N, A, classes) and deltas (N, A, 4) of all levels."""

    def __init__(self, config: RetinaNetConfig) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict({"body": Body(config), "fpn": Fpn(config)})
        self.head = nn.ModuleDict({
            "classification_head": Head(config, "cls_logits", config.model.classes),
            "regression_head": Head(config, "bbox_reg", 4)})
        for name, parameter in self.backbone["body"].named_parameters():
            stage = int(name[5]) if name.startswith("layer") else 0
            parameter.requires_grad = stage > 4 - config.model.trained_stages

    def forward(self, images: torch.Tensor) -> Outputs:
        levels = self.backbone["fpn"](self.backbone["body"](images))
        return self.head["classification_head"](levels), self.head["regression_head"](levels)


def plain_anchors(config: RetinaNetConfig) -> torch.Tensor:
    """All anchors, made one by one."""
    rows, side = [], config.data.size
    grid = math.ceil(side / 8)
    for s in config.model.anchor_sizes:
        stride = side // grid
        shapes = []
        for ratio in (0.5, 1.0, 2.0):
            for scale in (s, int(s * 2 ** (1 / 3)), int(s * 2 ** (2 / 3))):
                shapes.append((round(scale / math.sqrt(ratio) / 2), round(scale * math.sqrt(ratio) / 2)))
        for i in range(grid):
            for j in range(grid):
                x, y = j * stride, i * stride
                rows += [[x - w, y - h, x + w, y + h] for w, h in shapes]
        grid = math.ceil(grid / 2)
    return torch.tensor(rows, dtype=torch.float32)


def plain_loss(outputs: Outputs, boxes: list[torch.Tensor], labels: list[torch.Tensor], anchors: torch.Tensor,
               config: RetinaNetConfig) -> torch.Tensor:
    """Mean over images of focal and L1 loss, each over max(1, positive anchors)."""
    losses = [_of_image((scores, deltas), box, label, anchors, config)
              for scores, deltas, box, label in zip(*outputs, boxes, labels, strict=True)]
    return torch.stack(losses).mean()


def _of_image(outputs: Outputs, boxes: torch.Tensor, labels: torch.Tensor, anchors: torch.Tensor,
              config: RetinaNetConfig) -> torch.Tensor:
    scores, deltas = outputs
    index = _matched(boxes, anchors, config)
    positive = index >= 0
    count = positive.sum().clamp(min=1)
    targets = torch.zeros_like(scores, dtype=anchors.dtype)
    targets[positive, labels[index[positive]]] = 1.0
    kept = index != -2
    x, y = scores[kept].to(anchors.dtype), targets[kept]
    p = torch.sigmoid(x)
    p_t = p * y + (1 - p) * (1 - y)
    a = config.loss.alpha
    focal = F.binary_cross_entropy_with_logits(x, y, reduction="none") * (1 - p_t) ** config.loss.gamma
    classes = (focal * (a * y + (1 - a) * (1 - y))).sum() / count
    wanted = _coded(boxes[index[positive]], anchors[positive])
    return classes + F.l1_loss(deltas[positive].to(anchors.dtype), wanted, reduction="sum") / count


def _matched(boxes: torch.Tensor, anchors: torch.Tensor, config: RetinaNetConfig) -> torch.Tensor:
    if not len(boxes):
        return torch.full((len(anchors),), -1, dtype=torch.int64, device=anchors.device)
    top_left = torch.max(boxes[:, None, :2], anchors[:, :2])
    bottom_right = torch.min(boxes[:, None, 2:], anchors[:, 2:])
    shared = (bottom_right - top_left).clamp(min=0).prod(2)
    sizes, anchor_sizes = ((t[:, 2:] - t[:, :2]).prod(1) for t in (boxes, anchors))
    quality = shared / (sizes[:, None] + anchor_sizes - shared)
    value, best = quality.max(dim=0)
    index = best.clone()
    index[value < config.loss.low] = -1
    index[(value >= config.loss.low) & (value < config.loss.high)] = -2
    _, ties = torch.where(quality == quality.max(dim=1, keepdim=True).values)
    index[ties] = best[ties]
    return index


def _coded(boxes: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    w, h = anchors[:, 2] - anchors[:, 0], anchors[:, 3] - anchors[:, 1]
    x, y = anchors[:, 0] + 0.5 * w, anchors[:, 1] + 0.5 * h
    bw, bh = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    bx, by = boxes[:, 0] + 0.5 * bw, boxes[:, 1] + 0.5 * bh
    return torch.stack([(bx - x) / w, (by - y) / h, torch.log(bw / w), torch.log(bh / h)], dim=1)
