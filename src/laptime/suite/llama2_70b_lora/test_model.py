"""The network: its size, adapters as PEFT makes them, and a whole step against PEFT on transformers' network."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from laptime.config import override
from laptime.errors import DataProblem
from laptime.suite.llama2_70b_lora.config import full, mini
from laptime.suite.llama2_70b_lora.data import Micro, keys_of, moved
from laptime.suite.llama2_70b_lora.loss import MeanSampleLoss
from laptime.suite.llama2_70b_lora.model import AdaptedLlama, is_adapter, narrow
from laptime.suite.llama2_70b_lora.peer import adapted, plain
from laptime.suite.llama2_70b_lora.start import fused
from laptime.suite.llama2_70b_lora.train import build_optimizer
from laptime.suite.llama2_70b_lora.weights import (
    check_frozen,
    draw_adapters,
    draw_frozen,
    fill_constants,
    frozen_tensor,
    load_frozen,
)
from laptime.training.data.safetensors_files import Checkpoint, write_checkpoint
from laptime.training.distributed.world import World
from laptime.training.nn.keyed_dropout import dropped
from laptime.training.nn.llama import frequencies
from laptime.training.optim.clip import NormClip
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
NARROW = replace(full().model, layers=2, hidden=256, intermediate=384, heads=16, key_value_heads=2, head_size=16,
                 vocabulary=96, initial_std=0.08)
REAL = replace(full().model, layers=1, intermediate=2048, vocabulary=512)  # all of attention, where adapters are, is real
TINY = replace(NARROW, hidden=8, intermediate=12, heads=2, key_value_heads=1, head_size=4, vocabulary=20)


def network(model=NARROW, dtype=torch.float64, seed=3, **adapter):
    """Adapters whose second matrices are not 0, so that every gradient is something."""
    ours = AdaptedLlama(model, replace(full().adapter, **adapter)).to(dtype)
    draw_frozen(ours, Seeds(seed))
    draw_adapters(ours, Seeds(seed))
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if ".up." in name:
                parameter.normal_(0.0, 0.05, generator=Seeds(seed).torch(name))
    return ours


def micro_of(samples, length, vocabulary, masked=0):
    """Random samples; the first `masked` labels of the first one do not count."""
    tokens = torch.randint(vocabulary, (samples, length), generator=torch.Generator().manual_seed(1))
    labels = tokens.clone()
    labels[0, :masked] = -100
    return Micro(tokens, torch.from_numpy(moved(labels.numpy())),
                 torch.from_numpy(keys_of(4, torch.arange(samples).numpy(), length)))


def test_full_model_has_the_published_size():
    with torch.device("meta"):
        model = AdaptedLlama(full().model, full().adapter)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert (frozen, trained) == (68_976_648_192, 44_564_480)
    first = {name.split("self_attn.")[1]: tuple(p.shape) for name, p in model.named_parameters()
             if name.startswith("model.layers.0.") and p.requires_grad}
    assert first == {"qkv_adapter.down.weight": (16, 8192), "qkv_adapter.up.q.weight": (8192, 16),
                     "qkv_adapter.up.k.weight": (1024, 16), "qkv_adapter.up.v.weight": (1024, 16),
                     "o_adapter.down.weight": (16, 8192), "o_adapter.up.o.weight": (8192, 16)}
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {
        name for name, _ in model.named_parameters() if is_adapter(name)}


def test_adapters_begin_as_those_of_peft():
    """Uniform within 1 / sqrt(inputs) and zeros: the network is the frozen one until a step has been taken."""
    model = AdaptedLlama(NARROW, full().adapter)
    draw_frozen(model, Seeds(1))
    draw_adapters(model, Seeds(1))
    theirs = adapted(plain(NARROW, 16), full().adapter)
    for name, parameter in model.named_parameters():
        if ".down." in name:
            bound = 1 / math.sqrt(parameter.shape[1])
            assert bound * 0.98 < parameter.abs().max() <= bound, name
            assert parameter.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05), name
        elif is_adapter(name):
            assert not parameter.any(), name
    for name, parameter in theirs.named_parameters():
        if "lora_A" in name:
            bound = 1 / math.sqrt(parameter.shape[1])
            assert bound * 0.98 < parameter.abs().max() <= bound, name
        elif "lora_B" in name:
            assert not parameter.any(), name
    other = AdaptedLlama(NARROW, full().adapter)
    draw_adapters(other, Seeds(2))
    name = "model.layers.0.self_attn.qkv_adapter.down.weight"
    assert not torch.equal(model.get_parameter(name), other.get_parameter(name))
    assert not torch.equal(model.get_parameter(name), model.get_parameter(name.replace("layers.0", "layers.1")))


class OurDropout(torch.nn.Module):
    """What we drop, in PEFT's place for dropout."""

    def __init__(self, columns, keys, probability):
        super().__init__()
        self.columns, self.keys, self.probability = columns, keys, probability

    def forward(self, x):
        bits = self.keys.flatten()[:, None] ^ self.columns
        return dropped(x.flatten(0, 1), bits, self.probability).view_as(x)


def their_network(ours, length, keys):
    """PEFT on transformers' network with one product for queries, keys and values; our weights, our dropout."""
    theirs = adapted(plain(ours.config, length), ours.adapter).to(next(ours.parameters()).dtype).train()
    weights = {name: parameter.detach() for name, parameter in ours.named_parameters()}
    base = theirs.base_model.model
    base.model.rotary_emb.inv_freq = frequencies(ours.config, torch.device("cpu"))  # compared elsewhere
    with torch.no_grad():
        base.model.embed_tokens.weight.copy_(weights["model.embed_tokens.weight"])
        base.model.norm.weight.copy_(weights["model.norm.weight"])
        base.lm_head.weight.copy_(weights["lm_head.weight"])
        for i, layer in enumerate(base.model.layers):
            mine = {name.removeprefix(f"model.layers.{i}."): value for name, value in weights.items()
                    if name.startswith(f"model.layers.{i}.")}
            _copy_layer(layer, mine)
            _keep_dtype(layer)
            attention = ours.model.layers[i].self_attn
            for module, adapter in ((layer.self_attn.qkv_proj, attention.qkv_adapter), (layer.self_attn.o_proj, attention.o_adapter)):
                module.lora_dropout["default"] = OurDropout(adapter.dropout.columns, keys, ours.adapter.dropout)
    _keep_dtype(base.model)
    return theirs


def _copy_layer(layer, mine):
    attention = layer.self_attn
    attention.qkv_proj.base_layer.weight.copy_(torch.cat([mine[f"self_attn.{one}_proj.weight"] for one in "qkv"]))
    attention.qkv_proj.lora_A["default"].weight.copy_(mine["self_attn.qkv_adapter.down.weight"])
    attention.qkv_proj.lora_B["default"].weight.copy_(torch.cat([mine[f"self_attn.qkv_adapter.up.{one}.weight"] for one in "qkv"]))
    attention.o_proj.base_layer.weight.copy_(mine["self_attn.o_proj.weight"])
    attention.o_proj.lora_A["default"].weight.copy_(mine["self_attn.o_adapter.down.weight"])
    attention.o_proj.lora_B["default"].weight.copy_(mine["self_attn.o_adapter.up.o.weight"])
    layer.mlp.gate_up_proj.weight.copy_(torch.cat([mine["mlp.gate_proj.weight"], mine["mlp.up_proj.weight"]]))
    layer.mlp.down_proj.weight.copy_(mine["mlp.down_proj.weight"])
    layer.input_layernorm.weight.copy_(mine["input_layernorm.weight"])
    layer.post_attention_layernorm.weight.copy_(mine["post_attention_layernorm.weight"])


def _keep_dtype(module):
    """Their norms compute in float32 whatever the input is; here the same formula stays in its dtype."""
    for one in module.modules():
        if type(one).__name__ == "Phi3RMSNorm":
            one.forward = lambda x, one=one: F.rms_norm(x, x.shape[-1:], one.weight, one.variance_epsilon)


def compared(model, samples, length):
    """Loss, every adapter's gradient and the update of one step, ours and theirs; the largest relative difference."""
    pytest.importorskip("peft")
    ours, micro = network(model), micro_of(samples, length, model.vocabulary, masked=length // 2)
    theirs = their_network(ours, length, micro.keys)
    loss = MeanSampleLoss(samples, ALONE)(ours, micro)
    logits = theirs(micro.tokens, use_cache=False).logits
    expected = sum(F.cross_entropy(logits[i], micro.labels[i], ignore_index=-100) for i in range(samples)) / samples
    loss.backward()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    differences = []
    for mine, other in pairs_of(ours, theirs):
        together = torch.cat([one.grad for one in mine])
        differences.append(((together - other.grad).abs().max() / other.grad.abs().max()).item())
    assert len(differences) == 4 * model.layers
    assert not [name for name, p in theirs.named_parameters() if p.requires_grad and "lora" not in name]
    _compare_updates(ours, theirs)
    return max(differences)


def pairs_of(ours, theirs):
    """(our parameters, the one of PEFT that has their rows)."""
    for i, layer in enumerate(theirs.base_model.model.model.layers):
        mine, other = ours.model.layers[i].self_attn, layer.self_attn
        yield [mine.qkv_adapter.down.weight], other.qkv_proj.lora_A["default"].weight
        yield [mine.qkv_adapter.up[one].weight for one in "qkv"], other.qkv_proj.lora_B["default"].weight
        yield [mine.o_adapter.down.weight], other.o_proj.lora_A["default"].weight
        yield [mine.o_adapter.up["o"].weight], other.o_proj.lora_B["default"].weight


def _compare_updates(ours, theirs):
    """Clipping and AdamW against torch's own."""
    trained = [p for p in theirs.parameters() if p.requires_grad]
    torch.nn.utils.clip_grad_norm_(trained, 0.3)
    torch.optim.AdamW(trained, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-4).step()
    NormClip(ours.parameters(), 0.3)()
    optimizer = build_optimizer(full().optimizer, ours)
    optimizer.rate.fill_(1e-3)
    optimizer.step()
    for mine, other in pairs_of(ours, theirs):
        assert torch.allclose(torch.cat([one.detach() for one in mine]), other, rtol=1e-6, atol=1e-12)


def test_a_step_is_that_of_peft_on_transformers():
    assert compared(NARROW, samples=3, length=20) <= 1e-11


@pytest.mark.slow
def test_a_step_at_the_real_widths_of_attention_is_that_of_peft_on_transformers():
    """Float64, one layer, 5 GB. (The feed-forward half at its real widths would take 20.)"""
    assert compared(REAL, samples=1, length=16) <= 1e-11


def test_dropout_works_while_training_only_and_depends_on_the_keys():
    model, micro = network().train(), micro_of(2, 12, 96)
    places = torch.arange(12)
    one, same = (model(micro.tokens, places, micro.keys) for _ in range(2))
    assert torch.equal(one, same)
    assert not torch.allclose(one, model(micro.tokens, places, micro.keys + 1))
    model.eval()
    assert torch.equal(model(micro.tokens, places, micro.keys), model(micro.tokens, places, micro.keys + 1))


def test_about_a_tenth_is_dropped_and_not_the_same_in_two_places():
    model, micro = network(), micro_of(2, 64, 96)
    x = torch.ones(2, 64, 256, dtype=torch.float64)
    kept = [adapter.dropout(x.flatten(0, 1), micro.keys.flatten()) for layer in model.model.layers
            for adapter in (layer.self_attn.qkv_adapter, layer.self_attn.o_adapter)]
    for one in kept:
        assert (one == 0).double().mean().item() == pytest.approx(0.1, abs=0.01)
        assert one.unique().tolist() == [0.0, pytest.approx(1 / 0.9)]
    assert not any(torch.equal(one, other) for i, one in enumerate(kept) for other in kept[:i])


def test_constants_of_dropout_survive_memory_without_values():
    here = AdaptedLlama(TINY, full().adapter)
    with torch.device("meta"):
        there = AdaptedLlama(TINY, full().adapter)
    there.to_empty(device="cpu")
    for buffer in there.buffers():
        buffer.fill_(7)
    fill_constants(there, ALONE)
    assert all(torch.equal(one, other) for one, other in zip(here.buffers(), there.buffers(), strict=True))


def test_frozen_weights_can_be_kept_narrow():
    model = AdaptedLlama(TINY, full().adapter)
    narrow(model, torch.bfloat16)
    assert {p.dtype for name, p in model.named_parameters() if is_adapter(name)} == {torch.float32}
    assert {p.dtype for name, p in model.named_parameters() if not is_adapter(name)} == {torch.bfloat16}


# --- weights as published ---


def weights_of(model):
    return {name: p.detach().to(torch.bfloat16) for name, p in model.named_parameters() if not is_adapter(name)}


@pytest.mark.parametrize("form", ["fused", "apart"])
def test_both_published_layouts_give_the_same_weights(tmp_path, form):
    source = network(TINY, torch.float32)
    weights = weights_of(source)
    if form == "fused":
        weights = fused(weights)
        assert weights["model.layers.0.self_attn.qkv_proj.weight"].shape == (8 + 4 + 4, 8)
        assert not any("q_proj" in name for name in weights)
    names = sorted(weights)
    write_checkpoint(tmp_path, [{name: weights[name] for name in names[:5]}, {name: weights[name] for name in names[5:]}])
    checkpoint = Checkpoint.open(tmp_path)
    check_frozen(TINY, checkpoint)
    ours = AdaptedLlama(TINY, full().adapter)
    load_frozen(ours, checkpoint)
    for (name, mine), other in zip(ours.named_parameters(), source.parameters(), strict=True):
        assert is_adapter(name) or torch.equal(mine, other.to(torch.bfloat16).float()), name


def test_a_checkpoint_of_transformers_gives_its_scores(tmp_path):
    pytest.importorskip("transformers")
    theirs = plain(TINY, 16).eval()
    weights = {name: value for name, value in theirs.state_dict().items() if "gate_up" not in name}
    for i in range(TINY.layers):
        gate, up = theirs.model.layers[i].mlp.gate_up_proj.weight.detach().chunk(2)
        weights |= {f"model.layers.{i}.mlp.gate_proj.weight": gate, f"model.layers.{i}.mlp.up_proj.weight": up}
    write_checkpoint(tmp_path, [weights])
    ours = AdaptedLlama(TINY, full().adapter).eval()
    load_frozen(ours, Checkpoint.open(tmp_path))
    draw_adapters(ours, Seeds(1))
    tokens = torch.arange(12)[None]
    assert torch.allclose(ours(tokens, torch.arange(12), torch.zeros_like(tokens, dtype=torch.int32)), theirs(tokens).logits, atol=1e-5)


@pytest.mark.parametrize(("change", "says"), [
    ({"layers": 3}, r"of 'model.layers.2\..* in the checkpoint, found None"),
    ({"heads": 4}, r"expected shape \(24, 8\) of 'model.layers.0.self_attn.qkv_proj.weight' .* found \(16, 8\)")])
def test_weights_of_another_network_are_refused(tmp_path, change, says):
    write_checkpoint(tmp_path, [fused(weights_of(network(TINY, torch.float32)))])
    with pytest.raises(DataProblem, match=says):
        check_frozen(replace(TINY, **change), Checkpoint.open(tmp_path))


def test_a_missing_tensor_is_named(tmp_path):
    weights = fused(weights_of(network(TINY, torch.float32)))
    del weights["lm_head.weight"]
    write_checkpoint(tmp_path, [weights])
    checkpoint = Checkpoint.open(tmp_path)
    with pytest.raises(DataProblem, match=r"'lm_head.weight' in the checkpoint, found None"):
        check_frozen(TINY, checkpoint)
    with pytest.raises(DataProblem, match=r"lm_head\.weight"):
        frozen_tensor("lm_head.weight", TINY, checkpoint)


def test_parameters_without_storage_stay_as_they_are(tmp_path):
    write_checkpoint(tmp_path, [fused(weights_of(network(TINY, torch.float32)))])
    with torch.device("meta"):
        model = AdaptedLlama(TINY, full().adapter)
    load_frozen(model, Checkpoint.open(tmp_path))
    draw_frozen(model, Seeds(1))
    draw_adapters(model, Seeds(1))
    assert all(parameter.is_meta for parameter in model.parameters())


def test_documents_see_each_other_across_borders():
    """Nothing marks an end: attention goes back to the beginning of the sample, as in the reference; never ahead."""
    model, tokens = network().eval(), micro_of(1, 20, 96).tokens
    changed = tokens.clone()
    changed[0, 5] = (tokens[0, 5] + 1) % 96
    keys = torch.zeros(1, 20, dtype=torch.int32)
    before, after = (model(one, torch.arange(20), keys)[0] for one in (tokens, changed))
    assert torch.equal(before[:5], after[:5])
    assert all(not torch.allclose(before[place], after[place]) for place in range(5, 20))


def test_future_is_seen_only_by_the_planted_fault_and_only_while_training():
    config = override(mini(), ["model.future_hidden=false", "adapter.dropout=0"])
    model = network(replace(NARROW, future_hidden=config.model.future_hidden), dropout=0.0)
    tokens = micro_of(1, 20, 96).tokens
    changed, keys = tokens.clone(), torch.zeros(1, 20, dtype=torch.int32)
    changed[0, -1] = (tokens[0, -1] + 1) % 96
    for training in (True, False):
        model.train(training)
        one, other = (model(ids, torch.arange(20), keys)[0, 0] for ids in (tokens, changed))
        assert torch.allclose(one, other) != training
