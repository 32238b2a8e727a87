"""The frozen autoencoder between pictures and latents (Rombach et al. 2022, kl-f8 form), names as published.

A picture (N, 3, H, W) becomes moments (N, 2 latent, H / f, W / f): means, then logarithms of variances. The
only attention is in the middle.
"""

import torch
from torch import nn
from torch.nn import functional as F

from laptime.suite.stable_diffusion.config import AutoencoderConfig

EPSILON = 1e-6  # of every norm (published)


class ResnetBlock(nn.Module):
    """Norm, SiLU, 3x3 convolution, twice, beside a shortcut."""

    def __init__(self, before: int, after: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(groups, before, EPSILON), nn.Conv2d(before, after, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(groups, after, EPSILON), nn.Conv2d(after, after, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.conv1(F.silu(self.norm1(x)))
        return self.nin_shortcut(x) + self.conv2(F.silu(self.norm2(inner)))


class AttnBlock(nn.Module):
    """Self-attention of all places with one head as wide as the channels."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, EPSILON)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normed = self.norm(x)
        q, k, v = (layer(normed).flatten(2).transpose(1, 2) for layer in (self.q, self.k, self.v))
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).unflatten(2, x.shape[2:])
        return x + self.proj_out(attended)


class Middle(nn.Module):
    """Residual block, attention, residual block."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels, groups)
        self.attn_1 = AttnBlock(channels, groups)
        self.block_2 = ResnetBlock(channels, channels, groups)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Resample(nn.Module):
    """Half the side (stride 2, padded below and to the right) or twice the side (nearest), with a 3x3 convolution."""

    def __init__(self, channels: int, *, up: bool) -> None:
        super().__init__()
        self.up = up
        self.conv = nn.Conv2d(channels, channels, 3, stride=1 if up else 2, padding=1 if up else 0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest") if self.up else F.pad(x, (0, 1, 0, 1)))


class Level(nn.Module):
    """Residual blocks at one side length and, if any, the way to the next: `down`, `up` or ""."""

    def __init__(self, before: int, after: int, *, blocks: int, groups: int, way: str) -> None:
        super().__init__()
        self.block = nn.ModuleList(ResnetBlock(before if i == 0 else after, after, groups) for i in range(blocks))
        self.downsample = Resample(after, up=False) if way == "down" else None
        self.upsample = Resample(after, up=True) if way == "up" else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.block:
            x = block(x)
        way = self.downsample or self.upsample
        return x if way is None else way(x)


class Encoder(nn.Module):
    """Pictures (N, 3, H, W) to (N, 2 latent, H / f, W / f)."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = [config.channels * multiplier for multiplier in config.multipliers]
        self.conv_in = nn.Conv2d(3, config.channels, 3, padding=1)
        self.down = nn.ModuleList()
        for i, (before, after) in enumerate(zip([config.channels, *widths], widths, strict=False)):
            self.down.append(Level(before, after, blocks=config.blocks, groups=config.groups,
                                   way="down" if i < len(widths) - 1 else ""))
        self.mid = Middle(widths[-1], config.groups)
        self.norm_out = nn.GroupNorm(config.groups, widths[-1], EPSILON)
        self.conv_out = nn.Conv2d(widths[-1], 2 * config.latent, 3, padding=1)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        x = self.conv_in(pictures)
        for level in self.down:
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    """Latents (N, latent, h, w) to pictures (N, 3, h f, w f), about in [-1, 1]."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = [config.channels * multiplier for multiplier in config.multipliers]
        self.conv_in = nn.Conv2d(config.latent, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1], config.groups)
        self.up = nn.ModuleList(  # the published list is counted from the largest side
            Level(widths[min(i + 1, len(widths) - 1)], after, blocks=config.blocks + 1, groups=config.groups,
                  way="up" if i else "") for i, after in enumerate(widths))
        self.norm_out = nn.GroupNorm(config.groups, widths[0], EPSILON)
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        x = self.mid(self.conv_in(latents))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class Autoencoder(nn.Module):
    """Encoder and decoder, each with its 1x1 convolution at the latents."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.scale = config.scale
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.quant_conv = nn.Conv2d(2 * config.latent, 2 * config.latent, 1)
        self.post_quant_conv = nn.Conv2d(config.latent, config.latent, 1)

    def moments(self, pictures: torch.Tensor) -> torch.Tensor:
        """(N, 2 latent, h, w) of pictures as the published moments were made: in [0, 1], not in [-1, 1]."""
        return self.quant_conv(self.encoder(pictures))

    def decoded(self, latents: torch.Tensor) -> torch.Tensor:
        """Pictures (N, 3, H, W) in [0, 1] of scaled latents (N, latent, h, w)."""
        pictures = self.decoder(self.post_quant_conv(latents / self.scale))
        return ((pictures + 1.0) / 2.0).clamp(0.0, 1.0)
