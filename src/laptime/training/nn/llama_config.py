"""Sizes of a Llama network, and its checks. No torch: configurations are read without it."""

from dataclasses import dataclass

from laptime.errors import InvalidConfiguration


@dataclass(frozen=True)
class LlamaConfig:
    """The network. Defaults: the published `config.json` of Llama 3.1 8B."""

    layers: int = 32
    hidden: int = 4096
    intermediate: int = 14336
    heads: int = 32
    key_value_heads: int = 8
    head_size: int = 128
    vocabulary: int = 128256
    norm_epsilon: float = 1e-5
    rope_base: float = 500000.0
    rope_factor: float = 8.0  # Llama 3.1's scaling: slow rotations are this much slower
    rope_low: float = 1.0  # slower than `rope_positions` / rope_low positions per turn: slowed down
    rope_high: float = 4.0  # faster than `rope_positions` / rope_high: as they were
    rope_positions: int = 8192
    initial_std: float = 0.02
    # planted faults:
    positions_known: bool = True  # False: nothing is rotated
    future_hidden: bool = True  # False: while training, attention looks ahead


def check_llama(model: LlamaConfig) -> None:
    """Raises InvalidConfiguration for sizes that make no network."""
    sizes = ("layers", "hidden", "intermediate", "heads", "key_value_heads", "head_size", "vocabulary")
    found = {name: getattr(model, name) for name in sizes}
    if min(found.values()) < 1 or model.heads % model.key_value_heads or model.head_size % 2:
        raise InvalidConfiguration(
            "expected sizes of the model of at least 1, heads that divide by key_value_heads and an even head_size, "
            f"found {', '.join(f'{name}={value}' for name, value in found.items())}")
    if not 0 < model.rope_low < model.rope_high or model.rope_factor < 1 or model.rope_base <= 1:
        raise InvalidConfiguration(
            "expected 0 < model.rope_low < model.rope_high, model.rope_factor >= 1 and model.rope_base > 1, found "
            f"{model.rope_low:g}, {model.rope_high:g}, {model.rope_factor:g} and {model.rope_base:g}")
