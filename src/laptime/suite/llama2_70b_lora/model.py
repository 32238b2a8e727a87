"""Llama (`training.nn.llama`) with frozen weights and trained low-rank adapters in every attention (Hu et al. 2021).

The reference fuses the products of queries, keys and values into one, so they share the adapter's first matrix. Here
the frozen products stay apart, under the names of the published checkpoints: the sums are the same.
Letters: B samples, L places, H hidden, N heads, D head size, R rank, V vocabulary.
"""

from collections.abc import Mapping

import torch
from torch.nn import functional as F

from laptime.suite.llama2_70b_lora.config import AdapterConfig
from laptime.training.nn.keyed_dropout import KeyedDropout
from laptime.training.nn.llama import Attention, Block, Llama, Rotation, rotated, rotation_at
from laptime.training.nn.llama_config import LlamaConfig

ADAPTER = "_adapter."  # in the name of every trained parameter


class Adapter(torch.nn.Module):
    """What is added to some products of one x: scale times up(down(dropout(x))), with one matrix `down` for all."""

    def __init__(self, inputs: int, outputs: Mapping[str, int], config: AdapterConfig, place: str) -> None:
        super().__init__()
        self.inputs, self.place = inputs, place
        self.scale = config.alpha / config.rank
        self.dropout = KeyedDropout(inputs, config.dropout, place)
        self.down = torch.nn.Linear(inputs, config.rank, bias=False)
        self.up = torch.nn.ModuleDict({name: torch.nn.Linear(config.rank, size, bias=False)
                                       for name, size in outputs.items()})

    def forward(self, x_BLH: torch.Tensor, keys_BL: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """One (B, L, outputs) for each product."""
        kept = self.dropout(x_BLH.flatten(0, 1), keys_BL.flatten()).view_as(x_BLH)
        low_BLR = self.down(kept)
        return tuple(self.scale * up(low_BLR) for up in self.up.values())


class AdaptedAttention(Attention):
    """Causal self-attention whose four products have adapters."""

    def __init__(self, config: LlamaConfig, adapter: AdapterConfig, layer: int) -> None:
        super().__init__(config)
        query, shared = config.heads * config.head_size, config.key_value_heads * config.head_size
        self.qkv_adapter = Adapter(config.hidden, {"q": query, "k": shared, "v": shared}, adapter, f"{layer}.qkv")
        self.o_adapter = Adapter(query, {"o": config.hidden}, adapter, f"{layer}.o")

    def forward(self, x_BLH: torch.Tensor, rotation: Rotation, keys_BL: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        products = (layer(x_BLH) for layer in (self.q_proj, self.k_proj, self.v_proj))
        added = self.qkv_adapter(x_BLH, keys_BL)
        q_BNLD, k_BKLD, v_BKLD = (self._heads(one + more) for one, more in zip(products, added, strict=True))
        q_BNLD, k_BKLD = rotated(q_BNLD, rotation), rotated(k_BKLD, rotation)
        if self.training and not self.future_hidden:
            y_BNLD = F.scaled_dot_product_attention(q_BNLD, k_BKLD, v_BKLD, enable_gqa=True)
        else:
            y_BNLD = self.attend(q_BNLD, k_BKLD, v_BKLD)
        y_BLH = y_BNLD.transpose(1, 2).flatten(2)
        return self.o_proj(y_BLH) + self.o_adapter(y_BLH, keys_BL)[0]


class AdaptedBlock(Block):
    """A block whose attention is adapted."""

    def __init__(self, config: LlamaConfig, adapter: AdapterConfig, layer: int) -> None:
        super().__init__(config)
        self.self_attn = AdaptedAttention(config, adapter, layer)

    def forward(self, x_BLH: torch.Tensor, rotation: Rotation, keys_BL: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        x_BLH = x_BLH + self.self_attn(self.input_layernorm(x_BLH), rotation, keys_BL)
        return x_BLH + self.mlp(self.post_attention_layernorm(x_BLH))


class AdaptedLlama(Llama):
    """The network; only adapters are trained. Values as torch makes them until `weights.py` writes them."""

    def __init__(self, config: LlamaConfig, adapter: AdapterConfig) -> None:
        super().__init__(config)
        self.adapter = adapter
        self.model.layers = torch.nn.ModuleList(AdaptedBlock(config, adapter, i) for i in range(config.layers))
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(is_adapter(name))

    def forward(self, tokens_BL: torch.Tensor, positions_L: torch.Tensor, keys_BL: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Ids, their places in the sample and the keys (int32) of what dropout drops there -> logits (B, L, V)."""
        x_BLH = self.model.embed_tokens(tokens_BL)
        rotation = rotation_at(positions_L, self.config, torch.promote_types(x_BLH.dtype, torch.float32))
        for block in self.model.layers:
            x_BLH = block(x_BLH, rotation, keys_BL)
        return self.lm_head(self.model.norm(x_BLH))


def is_adapter(name: str) -> bool:
    """Whether a parameter is trained."""
    return ADAPTER in name


def narrow(model: AdaptedLlama, dtype: torch.dtype) -> None:
    """Keep frozen weights in `dtype`; adapters stay as they are."""
    for name, parameter in model.named_parameters():
        if not is_adapter(name):
            parameter.data = parameter.data.to(dtype)
