"""What `laptime bench` measures of this benchmark, and the independent implementation beside it.

The peer is transformers' GPT2LMHeadModel with torch's fused AdamW on every parameter, with its attention fused (sdpa)
or plain, eager and compiled, in the dtype that ours has, on the same windows.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch.nn import functional as F

from laptime.config import Json, override
from laptime.errors import UserError
from laptime.suite.gpt3.config import Gpt3Config, full, mini
from laptime.suite.gpt3.data import described, synthetic
from laptime.training.distributed.world import World
from laptime.training.speed import Precision, can_compile, resolve

Step = Callable[[], None]
RATE = 1e-4  # of the peer; what it learns does not matter


def wide_case(device: torch.device) -> Gpt3Config:
    """Blocks of the 6.7 billion network's width (Brown et al. 2020, table 2.1) on an accelerator, narrower on a CPU."""
    config = full()
    if device.type == "cuda":
        model = replace(config.model, layers=8, hidden=4096, heads=32, intermediate=16384)
        return replace(config, global_batch_size=4, model=model)
    model = replace(config.model, layers=2, hidden=768, heads=6, intermediate=3072, vocabulary=8192, tokens=8000)
    return replace(config, global_batch_size=2, model=model, data=replace(config.data, length=256))


def mini_case(device: torch.device) -> Gpt3Config:
    """As it is run."""
    return mini()


def work() -> Gpt3Config:
    """What planning counts operations of: the full network on one sample."""
    return replace(full(), global_batch_size=1)


def facts(config: Gpt3Config) -> Mapping[str, Json]:
    """What the manifest of this configuration's data says."""
    return described(config)


def mini_feed(samples: int) -> Gpt3Config:
    """The generated articles of mini; no checkpoint worth its name is made."""
    articles = max(600, samples)
    return override(mini(), [f"data.articles={articles}", "data.eval_tokens=900", "schedule.start_sequences=16",
                             "data.start_low=0", "data.start_high=9"])


def peer(config: Gpt3Config, device: torch.device, *, compiled: bool, attention: str) -> Step:
    """One whole training step on windows that stay. Raises UserError without transformers or a C compiler."""
    if compiled and not can_compile():
        raise UserError("no C compiler found: the compiled peer is left out")
    precision = Precision.of(resolve(config.speed, device))
    model = network(config, attention).train().to(device, precision.parameters)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=config.optimizer.weight_decay, fused=True)
    tokens, labels = synthetic(config, config.global_batch_size, World(0, 1, device))

    def loss() -> torch.Tensor:
        scores = model(tokens).logits
        return F.cross_entropy(scores.float().flatten(0, 1), labels.flatten(), ignore_index=-100)

    forward = torch.compile(loss, dynamic=False) if compiled else loss

    def step() -> None:
        with torch.autocast(device.type, dtype=precision.autocast, enabled=precision.autocast is not None):
            value = forward()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.clip_norm, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def network(config: Gpt3Config, attention: str) -> torch.nn.Module:
    """transformers' network of the same sizes. Raises UserError without it."""
    try:
        from transformers import GPT2Config, GPT2LMHeadModel
    except ImportError:
        raise UserError("the peer is the package transformers, of the extra dev: pip install 'laptime[dev]'") from None
    model = config.model
    their = GPT2Config(
        vocab_size=model.vocabulary, n_positions=config.data.length, n_embd=model.hidden, n_layer=model.layers,
        n_head=model.heads, n_inner=model.intermediate, activation_function="gelu_pytorch_tanh", bos_token_id=0,
        eos_token_id=1, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, layer_norm_epsilon=model.norm_epsilon,
        use_cache=False)
    their._attn_implementation = attention
    network: torch.nn.Module = GPT2LMHeadModel(their)
    return network


CASES: Mapping[str, Callable[[torch.device], Gpt3Config]] = {"mini": mini_case, "wide blocks": wide_case}
FACTS = facts
WORK = work
PEERS: Mapping[str, Callable[[Gpt3Config, torch.device], Step]] = {
    f"transformers, {how}, {attention}": partial(peer, compiled=how == "compiled", attention=attention)
    for how in ("eager", "compiled") for attention in ("sdpa", "eager")}
FEEDS: Mapping[str, Callable[[int], Gpt3Config]] = {"mini articles": mini_feed}
