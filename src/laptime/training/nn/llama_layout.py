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
        length=length)
