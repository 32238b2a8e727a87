"""The U-Net of Stable Diffusion v2 as this benchmark trains it (Rombach et al. 2022; reference, openaimodel.py).

A noisy latent (N, 4, h, w), the noise level's number (N,) and a context (N, L, D) become a prediction of the latent's
shape. The last convolution of every residual block, of every transformer and of the network starts at zero.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from laptime.suite.stable_diffusion.config import ModelConfig

EPSILON = 1e-5  # of the norms of residual blocks and output
TRANSFORMER_EPSILON = 1e-6  # of the norm before a transformer block
LONGEST_PERIOD = 10000.0  # of the sinusoids of a noise level
TIME_FACTOR = 4  # width of the time embedding over that of the network


class ResBlock(nn.Module):
    """Norm, SiLU, 3x3 convolution, plus time (N, 4 C, already through SiLU); norm, SiLU, 3x3 convolution; beside a
    shortcut."""

    def __init__(self, before: int, after: int, *, time: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(groups, before, EPSILON), nn.Conv2d(before, after, 3, padding=1)
        self.time = nn.Linear(time, after)
        self.norm2, self.conv2 = nn.GroupNorm(groups, after, EPSILON), zeroed(nn.Conv2d(after, after, 3, padding=1))
        self.shortcut = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        inner = self.conv1(F.silu(self.norm1(x))) + self.time(time)[:, :, None, None]
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(inner)))


class Attention(nn.Module):
    """Heads of queries (N, L, D) over keys and values of a context (N, M, C); no bias but at the end."""

    def __init__(self, width: int, context: int, head_width: int) -> None:
        super().__init__()
        self.head_width = head_width
        self.q = nn.Linear(width, width, bias=False)
        self.k, self.v = (nn.Linear(context, width, bias=False) for _ in range(2))
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        q, k, v = (layer(of).unflatten(-1, (-1, self.head_width)).transpose(1, 2)
                   for layer, of in ((self.q, x), (self.k, context), (self.v, context)))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class GatedMLP(nn.Module):
    """Linear to value and gate, value times exact GELU of the gate, linear back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(width, 8 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value, gate = self.inner(x).chunk(2, dim=-1)
        return self.out(value * F.gelu(gate))


class SpatialTransformer(nn.Module):
    """All places of (N, C, h, w) as tokens: self-attention, attention to the context, gated MLP, added to the input."""

    def __init__(self, width: int, context: int, *, head_width: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, TRANSFORMER_EPSILON)
        self.before = nn.Linear(width, width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.own = Attention(width, width, head_width)
        self.cross = Attention(width, context, head_width)
        self.mlp = GatedMLP(width)
        self.after = zeroed(nn.Linear(width, width))

    def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        tokens = self.before(self.norm(x).flatten(2).transpose(1, 2))
        normed = self.norm1(tokens)
        tokens = tokens + self.own(normed, normed)
        tokens = tokens + self.cross(self.norm2(tokens), context)
        tokens = tokens + self.mlp(self.norm3(tokens))
        return x + self.after(tokens).transpose(1, 2).unflatten(2, x.shape[2:])


class Stage(nn.Module):
    """A residual block and, where the level has them, a transformer."""

    def __init__(self, config: ModelConfig, before: int, after: int, context: int, *, attention: bool) -> None:
        super().__init__()
        self.res = ResBlock(before, after, time=TIME_FACTOR * config.width, groups=config.groups)
        self.attention = transformer(config, after, context) if attention else None

    def forward(self, x: torch.Tensor, time: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        x = self.res(x, time)
        return x if self.attention is None else self.attention(x, context)


class UNet(nn.Module):
    """The network; `context`: width of the context, `channels`: of a latent."""

    def __init__(self, config: ModelConfig, *, context: int, channels: int) -> None:
        super().__init__()
        self.config = config
        time, widths = TIME_FACTOR * config.width, [config.width * multiplier for multiplier in config.multipliers]
        self.time = nn.Sequential(nn.Linear(config.width, time), nn.SiLU(), nn.Linear(time, time))
        self.first = nn.Conv2d(channels, config.width, 3, padding=1)
        self.down, self.halve, kept = nn.ModuleList(), nn.ModuleList(), [config.width]
        for i, (width, attention) in enumerate(zip(widths, config.attention, strict=True)):
            for _ in range(config.blocks):
                self.down.append(Stage(config, kept[-1], width, context, attention=attention))
                kept.append(width)
            if i < len(widths) - 1:
                self.halve.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
                kept.append(width)
        self.middle_in = Stage(config, widths[-1], widths[-1], context, attention=True)
        self.middle_out = ResBlock(widths[-1], widths[-1], time=time, groups=config.groups)
        self.up, self.widen, current = nn.ModuleList(), nn.ModuleList(), widths[-1]
        for i, (width, attention) in reversed(list(enumerate(zip(widths, config.attention, strict=True)))):
            for _ in range(config.blocks + 1):
                self.up.append(Stage(config, current + kept.pop(), width, context, attention=attention))
                current = width
            if i:
                self.widen.append(nn.Conv2d(width, width, 3, padding=1))
        self.norm = nn.GroupNorm(config.groups, config.width, EPSILON)
        self.last = zeroed(nn.Conv2d(config.width, channels, 3, padding=1))

    def forward(self, latents: torch.Tensor, levels: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """latents (N, C, h, w), levels (N,) from 0 to 999, context (N, L, D)."""
        if not self.config.timed:
            levels = torch.zeros_like(levels)
        if not self.config.conditioned:
            context = torch.zeros_like(context)
        time = self.time(sinusoids(levels, self.config.width).to(self.first.weight.dtype))
        time = F.silu(time)  # once for all blocks
        x = self.first(latents)
        kept = [x]
        for i, stage in enumerate(self.down):
            x = stage(x, time, context)
            kept.append(x)
            if (i + 1) % self.config.blocks == 0 and i + 1 < len(self.down):
                x = self.halve[i // self.config.blocks](x)
                kept.append(x)
        x = self.middle_out(self.middle_in(x, time, context), time)
        per_level = self.config.blocks + 1
        for i, stage in enumerate(self.up):
            x = stage(torch.cat([x, kept.pop()], dim=1), time, context)
            if (i + 1) % per_level == 0 and i + 1 < len(self.up):
                x = self.widen[i // per_level](F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return self.last(F.silu(self.norm(x)))


def transformer(config: ModelConfig, width: int, context: int) -> SpatialTransformer:
    return SpatialTransformer(width, context, head_width=config.head_width, groups=config.transformer_groups)


def zeroed(layer: nn.Module) -> nn.Module:
    """`layer` with all its parameters zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def sinusoids(levels: torch.Tensor, width: int) -> torch.Tensor:
    """(N, width): cosines, then sines, of geometric frequencies from 1 down to nearly 1 / 10000."""
    half = width // 2
    frequencies = torch.exp(torch.arange(half, dtype=torch.float32, device=levels.device)
                            * (-math.log(LONGEST_PERIOD) / half))
    angles = levels[:, None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


@torch.no_grad()
def initialise(model: UNet, generator: torch.Generator) -> None:
    """The defaults of torch (uniform within 1 / sqrt(inputs)), drawn from `generator`; zeros stay zero.

    Parameters on the meta device stay as they are.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and not _is_zero(module, model):
            bound = 1.0 / math.sqrt(module.weight[0].numel())
            module.weight.uniform_(-bound, bound, generator=generator)
            if module.bias is not None:
                module.bias.uniform_(-bound, bound, generator=generator)


def _is_zero(module: nn.Module, model: UNet) -> bool:
    """Whether a layer is one of those that start at zero."""
    ends = {id(model.last)}
    for part in model.modules():
        if isinstance(part, ResBlock):
            ends.add(id(part.conv2))
        elif isinstance(part, SpatialTransformer):
            ends.add(id(part.after))
    return id(module) in ends
