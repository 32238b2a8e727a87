"""GPT-3 (Brown et al. 2020) with dense attention: pre-layer normalisation, biases everywhere, tied embeddings.

Letters: B samples, S positions, H hidden, N heads, D = H / N, V vocabulary. The rows of the fused query, key and value
matrix lie head by head, (N, 3, D), as in the reference's checkpoint: consecutive rows are whole heads.
"""

import torch
from torch.nn import functional as F

from laptime.suite.gpt3.config import ModelConfig
from laptime.training.nn.causal_attention import CausalAttention
from laptime.training.nn.float8 import Linear


class Norm(torch.nn.Module):
    """Layer normalisation whose `weight` is the scale minus one, as both references keep it.

    It matters because the weight decays: it does so towards a scale of 1.
    """

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight, self.bias = (torch.nn.Parameter(torch.zeros(width)) for _ in range(2))
        self.epsilon = epsilon

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, x.shape[-1:], 1.0 + self.weight, self.bias, self.epsilon)


class Embedding(torch.nn.Module):
    """Word plus position."""

    def __init__(self, config: ModelConfig, length: int) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(config.vocabulary, config.hidden)
        self.places = torch.nn.Embedding(length, config.hidden)
        self.known = config.positions_known

    def forward(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """tokens: (B, S), positions: (S) -> (B, S, H)."""
        return self.words(tokens) + self.places(positions if self.known else torch.zeros_like(positions))


class Attention(torch.nn.Module):
    """Every position looks at itself and all before it: across documents, as the references do."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = Linear(config.hidden, 3 * config.hidden)
        self.output = Linear(config.hidden, config.hidden)
        self.attend = CausalAttention()

    def forward(self, x_BSH: torch.Tensor) -> torch.Tensor:
        each_BSND = self.qkv(x_BSH).unflatten(-1, (self.heads, -1)).chunk(3, -1)
        q, k, v = (one.transpose(1, 2) for one in each_BSND)  # (B, N, S, D)
        return self.output(self.attend(q, k, v).transpose(1, 2).flatten(2))


class Mlp(torch.nn.Module):
    """Two layers with GELU in its tanh form between them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = Linear(config.hidden, config.intermediate)
        self.down = Linear(config.intermediate, config.hidden)

    def forward(self, x_BSH: torch.Tensor) -> torch.Tensor:
        return self.down(F.gelu(self.up(x_BSH), approximate="tanh"))


class Block(torch.nn.Module):
    """Attention and a two-layer network, each on the normalised input and added to it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm1, self.norm2 = (Norm(config.hidden, config.norm_epsilon) for _ in range(2))
        self.attention, self.mlp = Attention(config), Mlp(config)

    def forward(self, x_BSH: torch.Tensor) -> torch.Tensor:
        x_BSH = x_BSH + self.attention(self.norm1(x_BSH))
        return x_BSH + self.mlp(self.norm2(x_BSH))


class Head(torch.nn.Module):
    """Scores of all words; the weights are those of the word embeddings."""

    def forward(self, x_BSH: torch.Tensor, words_VH: torch.Tensor) -> torch.Tensor:
        return F.linear(x_BSH, words_VH)


class Gpt3(torch.nn.Module):
    """The network; weights as torch makes them until `initialise` or a checkpoint."""

    def __init__(self, config: ModelConfig, length: int) -> None:
        super().__init__()
        self.embedding = Embedding(config, length)
        self.blocks = torch.nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = Norm(config.hidden, config.norm_epsilon)
        self.head = Head()

    def forward(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """tokens: (B, S), positions: (S) -> word scores (B, S, V)."""
        x_BSH = self.embedding(tokens, positions)
        for block in self.blocks:
            x_BSH = block(x_BSH)
        return self.head(self.norm(x_BSH), self.embedding.words.weight)
