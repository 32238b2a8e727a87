"""What `laptime bench` measures of this benchmark, and the independent implementation beside it.

The peer is transformers' BertForPreTraining with torch's fused AdamW, with its attention fused (sdpa) or plain, eager
and compiled, in the dtype that ours has. It takes the same samples padded to the longest one of the batch, as it must,
and guesses words at the masked positions only, as ours does. Its update is plain AdamW where ours computes LAMB.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch.nn import functional as F

from laptime.config import Json, override
from laptime.errors import UserError
from laptime.suite.bert.config import BertConfig, full, mini
from laptime.suite.bert.data import synthetic
from laptime.suite.bert.samples import Micro
from laptime.training.distributed.world import World
from laptime.training.speed import Precision, can_compile, resolve

Step = Callable[[], None]
FULL_BATCH = {"cuda": 64}  # one accelerator with 80 GB or more in bfloat16
SMALL_BATCH = 2  # a step of the full network then takes some seconds on two CPU cores
RATE = 1e-4  # of the peer; what it learns does not matter


def full_case(device: torch.device) -> BertConfig:
    """The full network and sample length at a batch that one device holds."""
    batch = FULL_BATCH.get(device.type, SMALL_BATCH)
    return override(full(), [f"global_batch_size={batch}", f"loss_span={batch}"])


def mini_case(device: torch.device) -> BertConfig:
    """As it is run."""
    return mini()


def facts(config: BertConfig) -> Mapping[str, Json]:
    """What the manifest of this configuration's data says."""
    return {"train_samples": config.data.train_samples, "eval_samples": config.data.eval_samples,
            "vocabulary": config.model.vocabulary, "length": config.data.length}


def mini_feed(samples: int) -> BertConfig:
    """The generated articles of mini; no checkpoint worth its name is made."""
    wanted, articles = max(64, samples), max(300, samples)
    return override(mini(), [f"data.train_samples={wanted}", "data.eval_samples=10", f"data.articles={articles}",
                             "data.copies=1", "data.start_steps=1", "data.start_low=0"])


def peer(config: BertConfig, device: torch.device, *, compiled: bool, attention: str) -> Step:
    """One whole training step on a batch that stays. Raises UserError without transformers or a C compiler."""
    if compiled and not can_compile():
        raise UserError("no C compiler found: the compiled peer is left out")
    precision = Precision.of(resolve(config.speed, device))
    model = network(config, attention).train().to(device, precision.parameters)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=config.optimizer.weight_decay, fused=True)
    numbers, segments, mask, places, batch = padded(synthetic(config, config.global_batch_size, World(0, 1, device)))

    def loss() -> torch.Tensor:
        hidden, pooled = model.bert(numbers, attention_mask=mask, token_type_ids=segments)[:2]  # type: ignore[operator]
        chosen = hidden.flatten(0, 1)[places]
        words, following = model.cls(chosen, pooled)  # type: ignore[operator]
        return F.cross_entropy(words.float(), batch.labels) + F.cross_entropy(following.float(), batch.next_labels)

    forward = torch.compile(loss, dynamic=False) if compiled else loss

    def step() -> None:
        with torch.autocast(device.type, dtype=precision.autocast, enabled=precision.autocast is not None):
            value = forward()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.clip_norm, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def padded(batch: Micro) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, Micro]:
    """Numbers, segments and mask (B, longest), and where the masked words are among all places."""
    packing, tokens = batch.tokens.packing, batch.tokens
    longest, device = max(packing.lengths), batch.labels.device
    shown = torch.arange(longest) < torch.tensor(packing.lengths)[:, None]
    places = shown.flatten().nonzero().flatten().to(device)
    numbers, segments = (torch.zeros(shown.numel(), dtype=torch.int64, device=device) for _ in range(2))
    numbers[places], segments[places] = tokens.numbers.long(), tokens.segments.long()
    return numbers.view(shown.shape), segments.view(shown.shape), shown.long().to(device), places[batch.masked], batch


def network(config: BertConfig, attention: str) -> torch.nn.Module:
    """transformers' network of the same sizes. Raises UserError without it."""
    try:
        from transformers import BertConfig as TheirConfig
        from transformers import BertForPreTraining
    except ImportError:
        raise UserError("the peer is the package transformers, of the extra dev: pip install 'laptime[dev]'") from None
    model = config.model
    their = TheirConfig(
        vocab_size=model.vocabulary, hidden_size=model.hidden, num_hidden_layers=model.layers,
        num_attention_heads=model.heads, intermediate_size=model.intermediate, hidden_act="gelu_pytorch_tanh",
        hidden_dropout_prob=model.dropout, attention_probs_dropout_prob=model.attention_dropout,
        max_position_embeddings=model.positions, layer_norm_eps=model.norm_epsilon)
    their._attn_implementation = attention
    network: torch.nn.Module = BertForPreTraining(their)
    return network


def short_case(device: torch.device) -> BertConfig:
    """The full width and sample length at a twelfth of the depth: seconds on a CPU."""
    config = full()
    return replace(config, global_batch_size=4, loss_span=4, model=replace(config.model, layers=2))


CASES: Mapping[str, Callable[[torch.device], BertConfig]] = {"mini": mini_case, "full width, 2 layers": short_case,
                                                             "full": full_case}
FACTS = facts
PEERS: Mapping[str, Callable[[BertConfig, torch.device], Step]] = {
    f"transformers, {how}, {attention}": partial(peer, compiled=how == "compiled", attention=attention)
    for how in ("eager", "compiled") for attention in ("sdpa", "eager")}
FEEDS: Mapping[str, Callable[[int], BertConfig]] = {"mini articles": mini_feed}
