"""What `laptime bench` measures of this benchmark, and the independent implementation beside it.

The peer is transformers' LlamaForCausalLM with torch's fused AdamW, with its attention fused (sdpa) or plain, eager and
compiled, in the dtype that ours has, on samples of the same length. Clipping is the same.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch.nn import functional as F

from laptime.config import Json, override
from laptime.errors import UserError
from laptime.suite.llama31_405b.config import Llama405BConfig, full, mini
from laptime.suite.llama31_405b.published import token_set
from laptime.training.data.token_batches import synthetic
from laptime.training.distributed.world import World
from laptime.training.nn.llama_config import LlamaConfig
from laptime.training.speed import Precision, can_compile, resolve

Step = Callable[[], None]
RATE = 1e-4  # of the peer; what it learns does not matter


def mini_case(device: torch.device) -> Llama405BConfig:
    """As it is run."""
    return mini()


def wide_case(device: torch.device) -> Llama405BConfig:
    """The full width on an accelerator, a quarter of it on a CPU; depth, vocabulary and length cut to what fits."""
    config = full()
    if device.type == "cuda":  # 4.2 billion parameters: 67 GB with gradients and moments
        return replace(config, global_batch_size=1, model=replace(config.model, layers=1, vocabulary=32000))
    return replace(config, global_batch_size=1, model=replace(
        config.model, layers=1, hidden=4096, intermediate=13312, heads=32, key_value_heads=2, vocabulary=2048),
        data=replace(config.data, tokens=2048, length=256))


def work() -> Llama405BConfig:
    """What planning counts operations of: the full network on one sample."""
    return replace(full(), global_batch_size=1)


def facts(config: Llama405BConfig) -> Mapping[str, Json]:
    """What the manifest of this configuration's data says."""
    return {"train_samples": 1000 * config.global_batch_size, "eval_samples": config.data.eval_samples,
            "vocabulary": config.data.tokens, "length": config.data.length}


def mini_feed(samples: int) -> Llama405BConfig:
    """The generated articles of mini."""
    return override(mini(), [f"data.articles={max(600, samples)}", "data.eval_samples=8", "data.start_articles=500",
                             "data.start_steps=1", "data.start_high=9"])


def peer(config: Llama405BConfig, device: torch.device, *, compiled: bool, attention: str) -> Step:
    """One whole training step on a batch that stays. Raises UserError without transformers or a C compiler."""
    if compiled and not can_compile():
        raise UserError("no C compiler found: the compiled peer is left out")
    precision = Precision.of(resolve(config.speed, device))
    model = network(config.model, config.data.length, attention).train().to(device, precision.parameters)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=config.optimizer.weight_decay, fused=True)
    micro = synthetic(token_set(config), config.global_batch_size, World(0, 1, device))

    def loss() -> torch.Tensor:
        scores = model(micro.tokens, use_cache=False).logits
        return F.cross_entropy(scores.flatten(0, 1).float(), micro.labels.flatten())

    forward = torch.compile(loss, dynamic=False) if compiled else loss

    def step() -> None:
        with torch.autocast(device.type, dtype=precision.autocast, enabled=precision.autocast is not None):
            value = forward()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.clip_norm, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def network(model: LlamaConfig, length: int, attention: str) -> torch.nn.Module:
    """transformers' network of the same sizes. Raises UserError without it."""
    try:
        from transformers import LlamaConfig as TheirConfig
        from transformers import LlamaForCausalLM
    except ImportError:
        raise UserError("the peer is the package transformers, of the extra dev: pip install 'laptime[dev]'") from None
    scaling = {"rope_type": "llama3", "rope_theta": model.rope_base, "factor": model.rope_factor,
               "low_freq_factor": model.rope_low, "high_freq_factor": model.rope_high,
               "original_max_position_embeddings": model.rope_positions}
    their = TheirConfig(
        vocab_size=model.vocabulary, hidden_size=model.hidden, intermediate_size=model.intermediate,
        num_hidden_layers=model.layers, num_attention_heads=model.heads, num_key_value_heads=model.key_value_heads,
        head_dim=model.head_size, rms_norm_eps=model.norm_epsilon, rope_parameters=scaling,
        max_position_embeddings=max(length, int(model.rope_factor * model.rope_positions)), tie_word_embeddings=False)
    their._attn_implementation = attention
    made: torch.nn.Module = LlamaForCausalLM(their)
    return made


CASES: Mapping[str, Callable[[torch.device], Llama405BConfig]] = {"mini": mini_case, "wide, cut": wide_case}
FACTS = facts
WORK = work
PEERS: Mapping[str, Callable[[Llama405BConfig, torch.device], Step]] = {
    f"transformers, {how}, {attention}": partial(peer, compiled=how == "compiled", attention=attention)
    for how in ("eager", "compiled") for attention in ("sdpa", "eager")}
FEEDS: Mapping[str, Callable[[int], Llama405BConfig]] = {"mini articles": mini_feed}
