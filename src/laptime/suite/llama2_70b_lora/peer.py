"""What `laptime bench` measures of this benchmark, and the independent implementation beside it.

The peer is PEFT's LoRA on transformers' Phi-3, which is the Llama network with one fused product for queries, keys and
values, as the reference has it; torch's fused AdamW, attention fused (sdpa) or plain, eager and compiled, frozen
weights in the dtype in which ours are, on samples of the same length. Clipping is the same.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch.nn import functional as F

from laptime.config import Json, override
from laptime.errors import UserError
from laptime.suite.llama2_70b_lora.config import AdapterConfig, LoraConfig, full, mini
from laptime.suite.llama2_70b_lora.data import synthetic
from laptime.training.distributed.world import World
from laptime.training.nn.llama_config import LlamaConfig
from laptime.training.speed import Precision, can_compile, resolve

Step = Callable[[], None]
RATE = 1e-4  # of the peer; what it learns does not matter


def mini_case(device: torch.device) -> LoraConfig:
    """As it is run."""
    return mini()


def wide_case(device: torch.device) -> LoraConfig:
    """The full width; depth and, on a CPU, feed-forward width, vocabulary and length cut to what one device holds."""
    config = full()
    if device.type == "cuda":  # 7 billion frozen parameters: 14 GB, and the activations of 8192 places
        return replace(config, global_batch_size=1, model=replace(config.model, layers=8))
    small = replace(config.model, layers=1, intermediate=4096, vocabulary=2048)
    return replace(config, global_batch_size=1, model=small, data=replace(config.data, length=256))


def work() -> LoraConfig:
    """What planning counts operations of: the full network on one sample."""
    return replace(full(), global_batch_size=1)


def facts(config: LoraConfig) -> Mapping[str, Json]:
    """What the manifest of this configuration's data says."""
    return {"train_samples": config.data.train_samples, "eval_samples": config.data.eval_samples,
            "vocabulary": config.model.vocabulary, "length": config.data.length}


def mini_feed(samples: int) -> LoraConfig:
    """The generated reports of mini."""
    count = max(64, samples)
    return override(mini(), [f"data.train_samples={count}", f"data.reports={32 * 8 + 3 * count}", "data.eval_samples=8",
                             "data.articles=500", "data.start_steps=1", "data.start_high=9"])


def peer(config: LoraConfig, device: torch.device, *, compiled: bool, attention: str) -> Step:
    """One whole training step on a batch that stays. Raises UserError without its packages or a C compiler."""
    if compiled and not can_compile():
        raise UserError("no C compiler found: the compiled peer is left out")
    precision = Precision.of(resolve(config.speed, device))
    model = adapted(plain(config.model, config.data.length, attention), config.adapter).train().to(device)
    trained = [one for one in model.parameters() if one.requires_grad]
    narrow = precision.autocast or precision.parameters
    for one in model.parameters():
        one.data = one.data.to(precision.parameters if one.requires_grad else narrow)
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=config.optimizer.weight_decay, fused=True)
    micro = synthetic(config, config.global_batch_size, World(0, 1, device))

    def loss() -> torch.Tensor:
        scores = model(micro.tokens, use_cache=False).logits
        return F.cross_entropy(scores.flatten(0, 1).float(), micro.labels.flatten())

    forward = torch.compile(loss, dynamic=False) if compiled else loss

    def step() -> None:
        with torch.autocast(device.type, dtype=precision.autocast, enabled=precision.autocast is not None):
            value = forward()
        value.backward()
        torch.nn.utils.clip_grad_norm_(trained, config.optimizer.clip_norm, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def plain(model: LlamaConfig, length: int, attention: str = "sdpa") -> torch.nn.Module:
    """transformers' network of the same sizes. Raises UserError without it."""
    try:
        from transformers import Phi3Config, Phi3ForCausalLM
    except ImportError:
        raise UserError("the peer is the package transformers, of the extra dev: pip install 'laptime[dev]'") from None
    their = Phi3Config(
        vocab_size=model.vocabulary, hidden_size=model.hidden, intermediate_size=model.intermediate,
        num_hidden_layers=model.layers, num_attention_heads=model.heads, num_key_value_heads=model.key_value_heads,
        rms_norm_eps=model.norm_epsilon, max_position_embeddings=length, original_max_position_embeddings=length,
        rope_parameters={"rope_type": "default", "rope_theta": model.rope_base}, tie_word_embeddings=False,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, sliding_window=None)
    their._attn_implementation = attention
    made: torch.nn.Module = Phi3ForCausalLM(their)
    return made


def adapted(network: torch.nn.Module, adapter: AdapterConfig) -> torch.nn.Module:
    """The network in PEFT's hands, as the reference asks for it. Raises UserError without it."""
    try:
        from peft import LoraConfig as TheirConfig
        from peft import get_peft_model
    except ImportError:
        raise UserError("the peer is the package peft, of the extra dev: pip install 'laptime[dev]'") from None
    wanted = TheirConfig(r=adapter.rank, lora_alpha=adapter.alpha, lora_dropout=adapter.dropout, bias="none",
                         task_type="CAUSAL_LM", target_modules=["qkv_proj", "o_proj"])
    with warnings.catch_warnings():  # it asks transformers by a name that goes
        warnings.simplefilter("ignore", FutureWarning)
        made: torch.nn.Module = get_peft_model(network, wanted)
    return made


CASES: Mapping[str, Callable[[torch.device], LoraConfig]] = {"mini": mini_case, "full width, cut": wide_case}
FACTS = facts
WORK = work
PEERS: Mapping[str, Callable[[LoraConfig, torch.device], Step]] = {
    f"transformers and PEFT, {how}, {attention}": partial(peer, compiled=how == "compiled", attention=attention)
    for how in ("eager", "compiled") for attention in ("sdpa", "eager")}
FEEDS: Mapping[str, Callable[[int], LoraConfig]] = {"mini reports": mini_feed}
