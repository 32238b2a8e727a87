"""The Llama network: against transformers, causal across document borders, rotations, initial weights."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from laptime.errors import InvalidConfiguration
from laptime.training.nn.llama import Llama, frequencies, initialise, is_norm, rotation_at, whole_shape
from laptime.training.nn.llama_config import LlamaConfig, check_llama
from laptime.training.nn.llama_layout import llama_layout
from laptime.training.seeds import Seeds

TINY = LlamaConfig(layers=2, hidden=32, intermediate=48, heads=4, key_value_heads=2, head_size=8, vocabulary=50,
                   rope_positions=64, initial_std=0.3)


def network(config=TINY, dtype=torch.float64, seed=3):
    model = Llama(config).to(dtype)
    initialise(model, Seeds(seed))
    return model


def ids(samples=2, length=20, vocabulary=50):
    return torch.randint(vocabulary, (samples, length), generator=torch.Generator().manual_seed(1))


def test_parameters_have_the_names_and_shapes_of_the_published_checkpoints():
    shapes = {name: tuple(p.shape) for name, p in network().named_parameters()}
    block = "model.layers.1."
    assert shapes.pop("model.embed_tokens.weight") == shapes.pop("lm_head.weight") == (50, 32)
    assert shapes.pop("model.norm.weight") == (32,)
    assert {name.removeprefix(block): shape for name, shape in shapes.items() if name.startswith(block)} == {
        "self_attn.q_proj.weight": (32, 32), "self_attn.k_proj.weight": (16, 32), "self_attn.v_proj.weight": (16, 32),
        "self_attn.o_proj.weight": (32, 32), "mlp.gate_proj.weight": (48, 32), "mlp.up_proj.weight": (48, 32),
        "mlp.down_proj.weight": (32, 48), "input_layernorm.weight": (32,), "post_attention_layernorm.weight": (32,)}
    assert len(shapes) == 18
    assert all(whole_shape(name, TINY) == shape for name, shape in shapes.items())


def test_a_place_sees_itself_and_everything_before_it_and_nothing_after():
    """No mark ends a document: attention goes back over its border to the beginning of the sample, as in the reference."""
    model, tokens = network().eval(), ids(1)
    border, last = 8, 19
    changed = tokens.clone()
    changed[0, border - 3] = (tokens[0, border - 3] + 1) % 50
    before, after = (model(one, torch.arange(20))[0] for one in (tokens, changed))
    assert torch.equal(before[:border - 3], after[:border - 3])
    assert all(not torch.allclose(before[place], after[place]) for place in range(border - 3, last + 1))


def test_future_is_seen_only_by_the_planted_fault_and_only_while_training():
    model, tokens = network(replace(TINY, future_hidden=False)), ids(1)
    changed = tokens.clone()
    changed[0, -1] = (tokens[0, -1] + 1) % 50
    for training in (True, False):
        model.train(training)
        same = torch.allclose(model(tokens, torch.arange(20))[0, 0], model(changed, torch.arange(20))[0, 0])
        assert same != training


def test_positions_are_relative_and_matter_unless_they_are_unknown():
    tokens = ids(1)
    for known in (True, False):
        model = network(replace(TINY, positions_known=known)).eval()
        here = model(tokens, torch.arange(20))
        assert torch.allclose(here, model(tokens, torch.arange(7, 27)), rtol=1e-4, atol=1e-4)  # angles are float32
        assert torch.allclose(here, model(tokens, 2 * torch.arange(20)), rtol=1e-3, atol=1e-3) != known


def test_frequencies_are_those_of_the_release_of_llama_3_1():
    """A loop over the published rule: slow rotations divided by 8, fast ones kept, a straight line between."""
    config = LlamaConfig()
    for i, found in enumerate(frequencies(config, torch.device("cpu")).tolist()):
        plain = 500000.0 ** (-2 * i / 128)
        wavelength = 2 * math.pi / plain
        if wavelength < 8192 / 4:
            expected = plain
        elif wavelength > 8192 / 1:
            expected = plain / 8
        else:
            smooth = (8192 / wavelength - 1) / (4 - 1)
            expected = (1 - smooth) * plain / 8 + smooth * plain
        assert found == pytest.approx(expected, rel=2e-6), i


def test_rotation_has_one_row_per_place():
    cosines, sines = rotation_at(torch.tensor([0, 3]), TINY, torch.float64)
    assert cosines.shape == sines.shape == (2, 8)
    assert cosines[0].tolist() == [1.0] * 8
    assert cosines[1, 0].item() == pytest.approx(math.cos(3.0), rel=1e-6)


def test_initial_weights_are_normal_smaller_where_they_are_added_up_and_norms_one():
    config = replace(TINY, hidden=256, intermediate=512, heads=16, head_size=16, layers=8, initial_std=0.02)
    for name, parameter in network(config, torch.float32).named_parameters():
        if is_norm(name):
            assert (parameter == 1).all(), name
        else:
            expected = 0.02 / math.sqrt(16) if "o_proj" in name or "down_proj" in name else 0.02
            assert parameter.std().item() == pytest.approx(expected, rel=0.05), name


def test_initial_weights_depend_on_the_seed_and_the_name_only():
    one, deeper = network(), network(replace(TINY, layers=3))
    same = "model.layers.0.self_attn.q_proj.weight"
    assert torch.equal(one.get_parameter(same), deeper.get_parameter(same))
    assert not torch.equal(one.get_parameter(same), network(seed=4).get_parameter(same))
    assert not torch.equal(one.get_parameter(same), one.get_parameter(same.replace("layers.0", "layers.1")))


def their_network(config, length):
    transformers = pytest.importorskip("transformers")
    rope = {"rope_type": "llama3", "rope_theta": config.rope_base, "factor": config.rope_factor, "low_freq_factor": config.rope_low,
            "high_freq_factor": config.rope_high, "original_max_position_embeddings": config.rope_positions}
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=config.vocabulary, hidden_size=config.hidden, intermediate_size=config.intermediate,
        num_hidden_layers=config.layers, num_attention_heads=config.heads, num_key_value_heads=config.key_value_heads,
        head_dim=config.head_size, rms_norm_eps=config.norm_epsilon, rope_parameters=rope,
        max_position_embeddings=8 * config.rope_positions, tie_word_embeddings=False, attn_implementation="sdpa"))
    return theirs.double()


def without_rounding(theirs):
    """Their norms compute in float32 whatever the input is; here the same formula stays in its dtype."""
    for module in theirs.modules():
        if type(module).__name__ == "LlamaRMSNorm":
            def norm(x, module=module):
                return module.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + module.variance_epsilon))
            module.forward = norm
    return theirs


@pytest.mark.parametrize("positions", [64, 4096])  # with most rotations slowed, and with few
def test_loss_and_every_gradient_are_those_of_transformers(positions):
    config = replace(TINY, rope_positions=positions)
    ours, theirs, tokens = network(config), without_rounding(their_network(config, 20)), ids(3, 21)
    theirs.load_state_dict(ours.state_dict())
    rates = theirs.model.rotary_emb.inv_freq
    assert torch.allclose(rates, frequencies(config, rates.device).double(), rtol=3e-7, atol=0)  # float32 on both sides
    rates.copy_(frequencies(config, rates.device))
    loss = F.cross_entropy(ours(tokens[:, :-1], torch.arange(20)).flatten(0, 1), tokens[:, 1:].flatten())
    expected = F.cross_entropy(theirs(tokens[:, :-1]).logits.flatten(0, 1), tokens[:, 1:].flatten())
    loss.backward()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    gradients = {name: p.grad for name, p in theirs.named_parameters()}
    assert set(gradients) == {name for name, _ in ours.named_parameters()}
    for name, parameter in ours.named_parameters():
        assert (parameter.grad - gradients[name]).abs().max() <= 1e-10 * gradients[name].abs().max(), name


@pytest.mark.parametrize(("change", "says"), [
    ({"layers": 0}, "layers=0"), ({"key_value_heads": 3}, "key_value_heads=3"), ({"head_size": 7}, "head_size=7"),
    ({"rope_low": 4.0}, "rope_low < model.rope_high"), ({"rope_factor": 0.5}, "rope_factor >= 1"),
    ({"rope_base": 1.0}, "rope_base > 1")])
def test_sizes_that_make_no_network_are_refused(change, says):
    with pytest.raises(InvalidConfiguration, match=says):
        check_llama(replace(TINY, **change))
    check_llama(TINY)


def test_layout_names_modules_of_the_network():
    model, layout = network(), llama_layout(TINY, 20)
    names = {name for name, _ in model.named_modules()}
    assert {layout.embedding, *layout.blocks} <= names
    for one in layout.splits:
        assert one.modules.replace("*", "1") in names, one.modules
    matrices = {name.removesuffix(".weight") for name, p in model.named_parameters() if p.ndim == 2}
    divided = {one.modules.replace("*", str(i)) for one in layout.splits for i in range(2) if one.style in ("columns", "rows", "vocabulary")}
    assert divided == matrices
