"""The frozen contrastive network of OpenCLIP (Radford et al. 2021): text tower, image tower, and their similarity.

The text tower without its last blocks gives the context of the U-Net; both towers together give the CLIP score. Names
of modules are those of the published state dict, so that it loads as it is.
"""

import torch
from torch import nn
from torch.nn import functional as F

from laptime.suite.stable_diffusion.config import TextConfig, VisionConfig

MEAN = (0.48145466, 0.4578275, 0.40821073)  # of the published training images, per channel in [0, 1]
STD = (0.26862954, 0.26130258, 0.27577711)


class Attention(nn.Module):
    """Self-attention of (N, L, D) with one matrix for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, causal: bool) -> torch.Tensor:
        mixed = F.linear(x, self.in_proj_weight, self.in_proj_bias).unflatten(-1, (3, self.heads, -1))
        q, k, v = mixed.permute(2, 0, 3, 1, 4)
        return self.out_proj(F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two layers with exact GELU between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc, self.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c_proj(F.gelu(self.c_fc(x)))


class ResidualBlock(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(width), Attention(width, heads)
        self.ln_2, self.mlp = nn.LayerNorm(width), MLP(width)

    def forward(self, x: torch.Tensor, causal: bool) -> torch.Tensor:
        x = x + self.attn(self.ln_1(x), causal)
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """Blocks one after another, the last `unused` of them left out."""

    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(ResidualBlock(width, heads) for _ in range(layers))

    def forward(self, x: torch.Tensor, causal: bool, unused: int = 0) -> torch.Tensor:
        for block in self.resblocks[:len(self.resblocks) - unused]:
            x = block(x, causal)
        return x


class TextTower(nn.Module):
    """Numbers (N, L) to a context (N, L, width), or to embeddings (N, embedding) read at the end of each caption."""

    def __init__(self, config: TextConfig, embedding: int) -> None:
        super().__init__()
        self.unused = config.unused_layers
        self.token_embedding = nn.Embedding(config.vocabulary, config.width)
        self.positional_embedding = nn.Parameter(torch.empty(config.length, config.width))
        self.transformer = Transformer(config.width, config.heads, config.layers)
        self.ln_final = nn.LayerNorm(config.width)
        self.text_projection = nn.Parameter(torch.empty(config.width, embedding))

    def context(self, numbers: torch.Tensor) -> torch.Tensor:
        return self._states(numbers, self.unused)

    def embedded(self, numbers: torch.Tensor) -> torch.Tensor:
        ends = numbers.argmax(1)  # the end has the largest number of the vocabulary
        states = self._states(numbers, 0)
        return states[torch.arange(len(numbers), device=numbers.device), ends] @ self.text_projection

    def _states(self, numbers: torch.Tensor, unused: int) -> torch.Tensor:
        x = self.token_embedding(numbers) + self.positional_embedding
        return self.ln_final(self.transformer(x, causal=True, unused=unused))


class ImageTower(nn.Module):
    """Normalised images (N, 3, side, side) to embeddings (N, embedding)."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width, tokens = config.width, (config.side // config.patch) ** 2 + 1
        self.conv1 = nn.Conv2d(3, width, config.patch, stride=config.patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(tokens, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Transformer(width, config.heads, config.layers)
        self.proj = nn.Parameter(torch.empty(width, config.embedding))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches = self.conv1(images).flatten(2).transpose(1, 2)
        first = self.class_embedding.to(patches.dtype).expand(len(images), 1, -1)
        x = self.ln_pre(torch.cat([first, patches], dim=1) + self.positional_embedding)
        return self.ln_post(self.transformer(x, causal=False)[:, 0]) @ self.proj


class Clip(TextTower):
    """Both towers under their published names, where those of the text tower have no prefix."""

    def __init__(self, text: TextConfig, vision: VisionConfig) -> None:
        super().__init__(text, vision.embedding)
        self.side = vision.side
        self.visual = ImageTower(vision)
        self.logit_scale = nn.Parameter(torch.zeros(()))

    def embedded_images(self, pictures: torch.Tensor) -> torch.Tensor:
        """(N, embedding) of pictures (N, 3, H, W) in [0, 1]."""
        if pictures.shape[-1] != self.side:
            pictures = F.interpolate(pictures, (self.side, self.side), mode="bicubic", align_corners=False,
                                     antialias=True).clamp(0, 1)
        mean, std = (torch.tensor(values, device=pictures.device, dtype=pictures.dtype)[:, None, None]
                     for values in (MEAN, STD))
        return self.visual((pictures - mean) / std)

    def similarity(self, pictures: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """(N,) cosines of pictures and their captions."""
        return F.cosine_similarity(self.embedded_images(pictures).double(), self.embedded(numbers).double(), dim=1)


@torch.no_grad()
def initialise(clip: nn.Module, generator: torch.Generator) -> None:
    """Published initial values: normal with deviations that shrink with width and depth."""
    for name, parameter in clip.named_parameters():
        width = parameter.shape[-1] if parameter.dim() else 1
        if parameter.dim() > 1 or name.endswith("_embedding"):
            std = 0.02 if name.startswith("token_") else 0.01 if name.startswith("positional") else width**-0.5
            parameter.normal_(0.0, std, generator=generator)
