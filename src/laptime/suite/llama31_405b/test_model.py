"""The network at full scale: size, published configuration, what sees what, a whole step against transformers."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from laptime.suite.llama31_405b.config import full, mini
from laptime.suite.llama31_405b.peer import network
from laptime.suite.llama31_405b.train import build_optimizer
from laptime.training.data.token_batches import Micro
from laptime.training.distributed.world import World
from laptime.training.metrics.log_perplexity import MeanTokenLoss
from laptime.training.nn.llama import Llama, frequencies, initialise, is_norm
from laptime.training.nn.llama_checkpoint import parameter_names
from laptime.training.optim.clip import NormClip
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
WIDE = replace(full().model, layers=1, vocabulary=512)  # depth and vocabulary are cut; every width is the real one
QUARTER = replace(WIDE, hidden=4096, intermediate=13312, heads=32, key_value_heads=2)  # the real ratios
NARROW_FEED = replace(WIDE, intermediate=1024)  # real but for the feed-forward
LENGTH = 24


def test_full_model_has_the_published_size():
    with torch.device("meta"):
        model = Llama(full().model)
    hidden, feed, shared = 16384, 53248, 8 * 128
    block = 2 * hidden * hidden + 2 * hidden * shared + 3 * hidden * feed + 2 * hidden
    assert sum(p.numel() for p in model.model.layers.parameters()) == 126 * block
    assert sum(p.numel() for p in model.parameters()) == 126 * block + 2 * 128256 * hidden + hidden == 405_853_388_800


def test_full_preset_is_the_published_configuration():
    """By the words of the published config.json."""
    theirs = network_settings(full().model)
    assert {name: getattr(theirs, name) for name in (
        "num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim",
        "vocab_size", "rms_norm_eps", "hidden_act", "attention_bias", "mlp_bias", "tie_word_embeddings")} == {"num_hidden_layers": 126, "hidden_size": 16384, "intermediate_size": 53248, "num_attention_heads": 128,
           "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 128256, "rms_norm_eps": 1e-5, "hidden_act": "silu",
           "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": False}
    assert theirs.rope_parameters == {
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192}


def network_settings(model):
    """The settings of transformers' network of the same sizes, without its weights."""
    pytest.importorskip("transformers")
    with torch.device("meta"):
        theirs = network(model, full().data.length, "sdpa")
    assert {name: tuple(p.shape) for name, p in theirs.named_parameters()}.keys() == set(parameter_names(model))
    return theirs.config


def test_documents_in_one_sample_see_each_other():
    """As in the reference: no border in attention, positions go on over it."""
    model = Llama(replace(mini().model, hidden=16, intermediate=24, head_size=4, vocabulary=50, rope_positions=12, initial_std=0.3)).double()
    initialise(model, Seeds(3))
    tokens = torch.randint(50, (1, 12), generator=torch.Generator().manual_seed(1))
    other = tokens.clone()
    other[:, :5] = (other[:, :5] + 11) % 50  # another first document of five tokens
    second = model(tokens, torch.arange(12))[:, 5:]
    assert (second - model(other, torch.arange(12))[:, 5:]).abs().amax(-1).min() > 0
    restarted = model(tokens, torch.cat([torch.arange(5), torch.arange(7)]))[:, 5:]
    assert (second - restarted).abs().amax(-1).min() > 0


def their_model(ours):
    """transformers' network on the same weights, in the dtype that they have throughout."""
    pytest.importorskip("transformers")
    with torch.device("meta"):
        theirs = network(ours.config, LENGTH, "sdpa")
    theirs.load_state_dict(ours.state_dict(), assign=True)
    rotary = theirs.model.rotary_emb
    rotary.inv_freq = frequencies(ours.config, torch.device("cpu"))  # compared elsewhere
    for module in theirs.modules():
        if type(module).__name__ == "LlamaRMSNorm":  # theirs always computes in float32
            module.forward = lambda x, module=module: F.rms_norm(x, x.shape[-1:], module.weight, module.variance_epsilon)
    for parameter in theirs.parameters():
        parameter.requires_grad_()
    return theirs


@pytest.mark.parametrize("config", [
    pytest.param(QUARTER, marks=pytest.mark.slow, id="quarter"),  # 5 GB
    pytest.param(NARROW_FEED, marks=pytest.mark.full, id="narrow feed-forward"),  # 19 GB
    pytest.param(WIDE, marks=pytest.mark.full, id="whole")])  # 90 GB, not measured
def test_a_step_at_wide_layers_is_that_of_transformers(config):
    """Float64. Weights are shared, and a gradient of theirs goes as soon as it is compared."""
    ours = Llama(config).double()
    initialise(ours, Seeds(1))
    theirs = their_model(ours)
    windows = torch.randint(512, (1, LENGTH + 1), generator=torch.Generator().manual_seed(2))
    micro = Micro(windows[:, :-1], windows[:, 1:])
    loss = MeanTokenLoss(LENGTH, ALONE)(ours, micro)
    loss.backward()
    norms, scales = {}, {}
    for name, parameter in theirs.named_parameters():
        parameter.register_post_accumulate_grad_hook(compared(name, ours.get_parameter(name), norms, scales))
    expected = F.cross_entropy(theirs(micro.tokens, use_cache=False).logits.flatten(0, 1), micro.labels.flatten())
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    assert set(norms) == {name for name, _ in ours.named_parameters()}
    compare_updates(ours, torch.stack(list(norms.values())).norm().item(), scales)


def compared(name, parameter, norms, scales):
    """Compares a gradient, keeps its norm and, of the scale of a norm, a copy; then frees it."""
    def hook(their):
        assert (parameter.grad - their.grad).abs().max() <= 1e-11 * their.grad.abs().max(), name
        norms[name] = their.grad.norm()
        if is_norm(name):
            scales[name] = their.grad.clone()
        their.grad = None
    return hook


def compare_updates(ours, norm, scales):
    """Clipping and AdamW of the scales of norms, against torch's own."""
    copies = {name: torch.nn.Parameter(ours.get_parameter(name).detach().clone()) for name in scales}
    for name, copy in copies.items():
        copy.grad = scales[name] / max(1.0, norm)
    torch.optim.AdamW(copies.values(), lr=1e-3, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.0).step()
    NormClip(ours.parameters(), 1.0)()
    optimizer = build_optimizer(full().optimizer, torch.nn.ModuleDict({
        name.replace(".", " "): module for name, module in ours.named_modules() if is_norm(f"{name}.weight")}))
    optimizer.rate.fill_(1e-3)
    optimizer.step()
    assert len(copies) == 3
    for name, copy in copies.items():
        assert torch.allclose(ours.get_parameter(name), copy, rtol=1e-7, atol=0), name
