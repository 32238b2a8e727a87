"""Llama (Touvron et al. 2023; version 3.1: Grattafiori et al. 2024) with causal attention over whole samples.

RMS norms, rotary positions (Su et al. 2021), key/value heads shared by query heads, SwiGLU, no biases, no dropout,
untied embeddings. Modules carry the names of the published checkpoints. The network is an embedding, blocks and a head.
Letters: B samples, L places, H hidden, N heads, K key/value heads, D head size, V vocabulary.
"""

import math

import torch
from torch.nn import functional as F

from laptime.training.distributed.pieces import write
from laptime.training.nn.causal_attention import CausalAttention
from laptime.training.nn.float8 import Linear
from laptime.training.nn.llama_config import LlamaConfig
from laptime.training.seeds import Seeds

Rotation = tuple[torch.Tensor, torch.Tensor]  # cosines and sines, each (L, D)
OUTPUTS = ("o_proj.weight", "down_proj.weight")  # what is added to the residual sum


class Attention(torch.nn.Module):
    """Causal self-attention over the whole sample; each key/value head serves N / K query heads."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.head_size, self.future_hidden = config.head_size, config.future_hidden
        self.q_proj = Linear(config.hidden, config.heads * config.head_size, bias=False)
        self.k_proj = Linear(config.hidden, config.key_value_heads * config.head_size, bias=False)
        self.v_proj = Linear(config.hidden, config.key_value_heads * config.head_size, bias=False)
        self.o_proj = Linear(config.heads * config.head_size, config.hidden, bias=False)
        self.attend = CausalAttention()

    def forward(self, x_BLH: torch.Tensor, rotation: Rotation) -> torch.Tensor:
        q_BNLD, k_BKLD, v_BKLD = (self._heads(layer(x_BLH)) for layer in (self.q_proj, self.k_proj, self.v_proj))
        q_BNLD, k_BKLD = rotated(q_BNLD, rotation), rotated(k_BKLD, rotation)
        if self.training and not self.future_hidden:
            y_BNLD = F.scaled_dot_product_attention(q_BNLD, k_BKLD, v_BKLD, enable_gqa=True)
        else:
            y_BNLD = self.attend(q_BNLD, k_BKLD, v_BKLD)
        return self.o_proj(y_BNLD.transpose(1, 2).flatten(2))

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (-1, self.head_size)).transpose(1, 2)


class Feed(torch.nn.Module):
    """SwiGLU (Shazeer 2020): down(silu(gate(x)) * up(x))."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.gate_proj = Linear(config.hidden, config.intermediate, bias=False)
        self.up_proj = Linear(config.hidden, config.intermediate, bias=False)
        self.down_proj = Linear(config.intermediate, config.hidden, bias=False)

    def forward(self, x_BLH: torch.Tensor) -> torch.Tensor:
        return self.down_proj(F.silu(self.gate_proj(x_BLH)) * self.up_proj(x_BLH))


class Block(torch.nn.Module):
    """Attention and feed-forward, each on its normalised input and added to it."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.input_layernorm = torch.nn.RMSNorm(config.hidden, eps=config.norm_epsilon)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = torch.nn.RMSNorm(config.hidden, eps=config.norm_epsilon)
        self.mlp = Feed(config)

    def forward(self, x_BLH: torch.Tensor, rotation: Rotation) -> torch.Tensor:
        x_BLH = x_BLH + self.self_attn(self.input_layernorm(x_BLH), rotation)
        return x_BLH + self.mlp(self.post_attention_layernorm(x_BLH))


class Trunk(torch.nn.Module):
    """Everything but the head."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.embed_tokens = torch.nn.Embedding(config.vocabulary, config.hidden)
        self.layers = torch.nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = torch.nn.RMSNorm(config.hidden, eps=config.norm_epsilon)


class Llama(torch.nn.Module):
    """The network; weights as torch makes them until `initialise` or a checkpoint."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Trunk(config)
        self.lm_head = torch.nn.Linear(config.hidden, config.vocabulary, bias=False)

    def forward(self, tokens_BL: torch.Tensor, positions_L: torch.Tensor) -> torch.Tensor:
        """Ids and their places in the sample -> logits (B, L, V)."""
        x_BLH = self.model.embed_tokens(tokens_BL)
        rotation = rotation_at(positions_L, self.config, x_BLH.dtype)
        for block in self.model.layers:
            x_BLH = block(x_BLH, rotation)
        return self.lm_head(self.model.norm(x_BLH))


def rotation_at(positions_L: torch.Tensor, config: LlamaConfig, dtype: torch.dtype) -> Rotation:
    """Cosines and sines (L, D) of the angles of every place; angles are float32, as in the references."""
    angles = positions_L.float()[:, None] * frequencies(config, positions_L.device)
    angles = torch.cat([angles, angles], dim=-1) if config.positions_known else torch.zeros_like(angles).repeat(1, 2)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def frequencies(config: LlamaConfig, device: torch.device) -> torch.Tensor:
    """Radians per place (D / 2) of every pair, float32, with the scaling of Llama 3.1.

    Pairs that turn once in more than rope_positions / rope_low places are slowed by rope_factor, those that turn in
    less than rope_positions / rope_high stay, and between the two the change is linear in the turns (3.1's release).
    """
    exponents = torch.arange(0, config.head_size, 2, dtype=torch.float32, device=device) / config.head_size
    plain = 1.0 / config.rope_base**exponents
    turns = config.rope_positions / (2.0 * math.pi / plain)
    share = ((turns - config.rope_low) / (config.rope_high - config.rope_low)).clamp(0.0, 1.0)
    return (1.0 - share) * plain / config.rope_factor + share * plain


def rotated(x_BNLD: torch.Tensor, rotation: Rotation) -> torch.Tensor:
    """Every pair (i, i + D / 2) turned by the angle of its place: the layout of the published checkpoints."""
    cosines, sines = rotation
    first, second = x_BNLD.chunk(2, dim=-1)
    return x_BNLD * cosines + torch.cat([-second, first], dim=-1) * sines


def initialise(model: Llama, seeds: Seeds) -> None:
    """Normal weights of `initial_std`, those of `OUTPUTS` divided by sqrt(2 layers), unit norms (Megatron-Core).

    Every parameter is drawn whole, in float32 on the CPU, from a generator of its own name: every way to spread the
    model begins with the same weights. Parameters without storage stay as they are.
    """
    std, layers = model.config.initial_std, model.config.layers
    for name, parameter in model.named_parameters():
        if parameter.is_meta:
            continue
        if is_norm(name):
            write(parameter, torch.ones(parameter.shape, device="cpu"))
            continue
        own = std / math.sqrt(2 * layers) if name.endswith(OUTPUTS) else std
        whole = torch.empty(whole_shape(name, model.config), device="cpu")
        write(parameter, whole.normal_(0.0, own, generator=seeds.torch(f"init {name}")))


def is_norm(name: str) -> bool:
    """Whether a parameter is the scale of a norm: those are not decayed."""
    return name.endswith("norm.weight")


def whole_shape(name: str, config: LlamaConfig) -> tuple[int, ...]:
    """The shape of a parameter of the undivided model. Raises KeyError for a name that it does not have."""
    query, shared = config.heads * config.head_size, config.key_value_heads * config.head_size
    shapes = {
        "embed_tokens": (config.vocabulary, config.hidden), "lm_head": (config.vocabulary, config.hidden),
        "q_proj": (query, config.hidden), "k_proj": (shared, config.hidden), "v_proj": (shared, config.hidden),
        "o_proj": (config.hidden, query), "gate_proj": (config.intermediate, config.hidden),
        "up_proj": (config.intermediate, config.hidden), "down_proj": (config.hidden, config.intermediate)}
    return (config.hidden,) if is_norm(name) else shapes[name.split(".")[-2]]
