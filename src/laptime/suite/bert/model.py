"""BERT (Devlin et al. 2018) on packed sequences: no token of padding is computed.

Modules carry the reference's names, so that a parameter's name is its reference name with other punctuation. Letters:
T tokens of all sequences, B sequences, P masked positions, H hidden, N heads, D = H / N.
"""

import math
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from laptime.suite.bert import on_cpu
from laptime.suite.bert.config import ModelConfig
from laptime.training.data.packing import Packing
from laptime.training.nn.keyed_dropout import KeyedAttentionDropout, KeyedDropout


@dataclass(frozen=True)
class Tokens:
    """The input of one micro-batch, on the device. `keys`: of dropout, one per token."""

    packing: Packing
    bounds: torch.Tensor  # (B + 1) int32
    numbers: torch.Tensor  # (T) int32, as are the next three
    segments: torch.Tensor
    positions: torch.Tensor
    keys: torch.Tensor


def gelu(x: torch.Tensor) -> torch.Tensor:
    """In its tanh form (reference)."""
    return on_cpu.gelu(x) if on_cpu.suits(x) else F.gelu(x, approximate="tanh")


class Embeddings(torch.nn.Module):
    """Word + segment + position, normalised."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.word_embeddings = torch.nn.Embedding(config.vocabulary, config.hidden)
        self.position_embeddings = torch.nn.Embedding(config.positions, config.hidden)
        self.token_type_embeddings = torch.nn.Embedding(config.segments, config.hidden)
        self.LayerNorm = torch.nn.LayerNorm(config.hidden, eps=config.norm_epsilon)
        self.dropout = KeyedDropout(config.hidden, config.dropout, "embed")
        self.positions_known = config.positions_known

    def forward(self, tokens: Tokens) -> torch.Tensor:
        positions = tokens.positions if self.positions_known else torch.zeros_like(tokens.positions)
        x_TH = self.word_embeddings(tokens.numbers) + self.token_type_embeddings(tokens.segments)
        x_TH = self.LayerNorm(x_TH + self.position_embeddings(positions))
        return self.dropout(x_TH, tokens.keys)


class Attention(torch.nn.Module):
    """Self-attention within each sequence."""

    def __init__(self, config: ModelConfig, place: str) -> None:
        super().__init__()
        self.heads = config.heads
        self.query, self.key, self.value = (torch.nn.Linear(config.hidden, config.hidden) for _ in range(3))
        self.dropout = KeyedAttentionDropout(config.heads, config.positions, config.attention_dropout, f"{place}a")

    def forward(self, x_TH: torch.Tensor, tokens: Tokens) -> torch.Tensor:
        layers = (self.query, self.key, self.value)
        qkv = F.linear(x_TH, torch.cat([one.weight for one in layers]), torch.cat([one.bias for one in layers]))
        if qkv.is_cuda and qkv.dtype in (torch.bfloat16, torch.float16):
            return self._fused(qkv, tokens)
        return self._by_groups(qkv, tokens)

    def _by_groups(self, qkv: torch.Tensor, tokens: Tokens) -> torch.Tensor:
        """Sequences of one length at a time, so that every product is dense and whole."""
        if self.training and self.dropout.probability and on_cpu.suits(qkv):
            dropout = on_cpu.Dropout(tokens.keys, self.dropout.columns, self.dropout.probability)
            return on_cpu.attention(qkv, tokens.packing.groups, self.heads, dropout)
        sizes = [group.tokens for group in tokens.packing.groups]
        parts = zip(tokens.packing.groups, qkv.split(sizes), tokens.keys.split(sizes), strict=True)
        return torch.cat([self._group(part, keys.view(group.count, group.length)) for group, part, keys in parts])

    def _group(self, qkv: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """qkv: (n length, 3 H), keys: (n, length) -> (n length, H)."""
        count, length = keys.shape
        q, k, v = qkv.view(count, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # each (n, N, length, D)
        if self.training and self.dropout.probability:
            scores = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(q.shape[-1]))
            y = self.dropout(scores.softmax(-1), keys) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v)
        return y.transpose(1, 2).reshape(count * length, -1)

    def _fused(self, qkv: torch.Tensor, tokens: Tokens) -> torch.Tensor:
        """The device's kernel for cumulative lengths; its dropout takes the device's own generator."""
        q, k, v = qkv.view(len(qkv), 3, self.heads, -1).unbind(1)
        longest = self.dropout.columns.shape[-1]
        y, *_ = torch.ops.aten._flash_attention_forward(
            q, k, v, tokens.bounds, tokens.bounds, longest, longest,
            self.dropout.probability if self.training else 0.0, False, False)
        return y.reshape(len(qkv), -1)


class Sublayer(torch.nn.Module):
    """What ends both halves of a layer: dense, dropout, add, normalise."""

    def __init__(self, width: int, config: ModelConfig, place: str) -> None:
        super().__init__()
        self.dense = torch.nn.Linear(width, config.hidden)
        self.LayerNorm = torch.nn.LayerNorm(config.hidden, eps=config.norm_epsilon)
        self.dropout = KeyedDropout(config.hidden, config.dropout, place)

    def forward(self, y: torch.Tensor, x_TH: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        return self.LayerNorm(x_TH + self.dropout(self.dense(y), keys))


class Layer(torch.nn.Module):
    """Attention and a two-layer network, each added to its input and normalised afterwards."""

    def __init__(self, config: ModelConfig, number: int) -> None:
        super().__init__()
        self.attention = torch.nn.ModuleDict({"self": Attention(config, str(number)),
                                              "output": Sublayer(config.hidden, config, f"{number}o")})
        self.intermediate = torch.nn.ModuleDict({"dense": torch.nn.Linear(config.hidden, config.intermediate)})
        self.output = Sublayer(config.intermediate, config, f"{number}f")

    def forward(self, x_TH: torch.Tensor, tokens: Tokens) -> torch.Tensor:
        x_TH = self.attention["output"](self.attention["self"](x_TH, tokens), x_TH, tokens.keys)
        y = gelu(self.intermediate["dense"](x_TH))
        return self.output(y, x_TH, tokens.keys)


class Encoder(torch.nn.Module):
    """Embeddings, layers, and the pooled first token of each sequence."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = torch.nn.ModuleDict({f"layer_{i}": Layer(config, i) for i in range(config.layers)})
        self.pooler = torch.nn.ModuleDict({"dense": torch.nn.Linear(config.hidden, config.hidden)})

    def forward(self, tokens: Tokens) -> tuple[torch.Tensor, torch.Tensor]:
        x_TH = self.embeddings(tokens)
        for layer in self.encoder.values():
            x_TH = layer(x_TH, tokens)
        return x_TH, torch.tanh(self.pooler["dense"](x_TH[tokens.bounds[:-1]]))


class Transform(torch.nn.Module):
    """Dense, GELU, norm: before words are guessed."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense = torch.nn.Linear(config.hidden, config.hidden)
        self.LayerNorm = torch.nn.LayerNorm(config.hidden, eps=config.norm_epsilon)

    def forward(self, x_PH: torch.Tensor) -> torch.Tensor:
        return self.LayerNorm(gelu(self.dense(x_PH)))


class WordHead(torch.nn.Module):
    """Scores of all words at masked positions; the weights are those of the word embeddings."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.transform = Transform(config)
        self.output_bias = torch.nn.Parameter(torch.zeros(config.vocabulary))

    def forward(self, x_PH: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        return F.linear(self.transform(x_PH), words, self.output_bias)


class NextHead(torch.nn.Module):
    """Scores of "the second segment follows the first" and "it is a random one"."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.output_weights = torch.nn.Parameter(torch.zeros(2, config.hidden))
        self.output_bias = torch.nn.Parameter(torch.zeros(2))

    def forward(self, x_BH: torch.Tensor) -> torch.Tensor:
        return F.linear(x_BH, self.output_weights, self.output_bias)


class Bert(torch.nn.Module):
    """The network with both heads; weights as torch makes them until `initialise` or `load_start`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.bert = Encoder(config)
        self.cls = torch.nn.ModuleDict({"predictions": WordHead(config), "seq_relationship": NextHead(config)})

    def forward(self, tokens: Tokens, masked: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """masked: (P) positions among the T tokens -> word scores (P, vocabulary), next-sentence scores (B, 2)."""
        x_TH, pooled_BH = self.bert(tokens)
        words = self.cls["predictions"](x_TH[masked], self.bert.embeddings.word_embeddings.weight)
        return words, self.cls["seq_relationship"](pooled_BH)


@torch.no_grad()
def initialise(model: Bert, generator: torch.Generator, std: float) -> None:
    """Truncated normal weights (cut at two standard deviations), zero biases, unit norms (reference).

    Drawn in float32 on the CPU, so that every device starts equal; parameters without storage stay as they are.
    """
    for name, parameter in model.named_parameters():
        if parameter.is_meta:
            continue
        if parameter.ndim == 1:
            parameter.fill_(1.0 if name.endswith("LayerNorm.weight") else 0.0)
        else:
            drawn = torch.empty(parameter.shape, dtype=torch.float32, device="cpu")
            parameter.copy_(torch.nn.init.trunc_normal_(drawn, 0.0, std, -2 * std, 2 * std, generator=generator))


def reference_names(model: torch.nn.Module) -> dict[str, str]:
    """Parameter name -> name of that tensor in the reference's checkpoints and logs."""
    return {name: _reference_name(name) for name, _ in model.named_parameters()}


def transposed(name: str) -> bool:
    """Whether the reference keeps the tensor of this reference name the other way round (in, out)."""
    return name.endswith("/kernel")


def _reference_name(name: str) -> str:
    module, _, kind = name.rpartition(".")
    if module.endswith("embeddings"):
        return name.removesuffix(".weight").replace(".", "/")
    norm = module.endswith("LayerNorm")
    kinds = {"weight": "gamma" if norm else "kernel", "bias": "beta" if norm else "bias"}
    return f"{module}.{kinds.get(kind, kind)}".replace(".", "/")
