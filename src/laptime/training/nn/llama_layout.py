"""How a Llama may be spread over processes (docs/parallel.md), by the names of its modules. No torch."""

from laptime.training.distributed.layout import Layout, Split
from laptime.training.nn.llama_config import LlamaConfig


def llama_layout(config: LlamaConfig, length: int) -> Layout:
    """The layout of `nn.llama.Llama` for samples of `length` places."""
    return Layout(
        embedding="model.embed_tokens",
        blocks=tuple(f"model.layers.{i}" for i in range(config.layers)),
        splits=(
            Split("model.embed_tokens", "vocabulary"),
            Split("model.layers.*.input_layernorm", "sequence"),
            Split("model.layers.*.self_attn", "enter"),
            *(Split(f"model.layers.*.self_attn.{name}", "columns") for name in ("q_proj", "k_proj", "v_proj")),
            Split("model.layers.*.self_attn.o_proj", "rows"),
            Split("model.layers.*.post_attention_layernorm", "sequence"),
            Split("model.layers.*.mlp", "enter"),
            *(Split(f"model.layers.*.mlp.{name}", "columns") for name in ("gate_proj", "up_proj")),
            Split("model.layers.*.mlp.down_proj", "rows"),
            Split("model.norm", "sequence"),
            Split("lm_head", "enter"), Split("lm_head", "columns"),
        ),
        divisible={"model.heads": config.heads, "model.key_value_heads": config.key_value_heads,
                   "model.intermediate": config.intermediate, "model.vocabulary": config.vocabulary},
        length=length,
        float8={f"model.layers.*.{name}": shape for name, shape in _products(config).items()})


def _products(config: LlamaConfig) -> dict[str, tuple[int, int]]:
    """(inputs, outputs) of the linear layers of a block."""
    query, shared = config.heads * config.head_size, config.key_value_heads * config.head_size
    hidden, wide = config.hidden, config.intermediate
    return {
        "self_attn.q_proj": (hidden, query), "self_attn.k_proj": (hidden, shared),
        "self_attn.v_proj": (hidden, shared), "self_attn.o_proj": (query, hidden),
        "mlp.gate_proj": (hidden, wide), "mlp.up_proj": (hidden, wide), "mlp.down_proj": (wide, hidden)}
