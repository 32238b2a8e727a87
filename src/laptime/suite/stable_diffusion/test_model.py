"""The networks: exact sizes, and one whole step equal to diffusers' and transformers' with copied weights."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from laptime.suite.stable_diffusion.autoencoder import Autoencoder
from laptime.suite.stable_diffusion.clip import MEAN, STD, Clip
from laptime.suite.stable_diffusion.clip import initialise as initialise_clip
from laptime.suite.stable_diffusion.config import ModelConfig, full, mini
from laptime.suite.stable_diffusion.inception import Inception
from laptime.suite.stable_diffusion.model import SpatialTransformer, UNet, initialise, sinusoids
from laptime.suite.stable_diffusion.peer import their_autoencoder, their_names, their_unet

TINY = ModelConfig(width=32, multipliers=(1, 2, 2), blocks=2, attention=(True, True, False), head_width=8, groups=4,
                   transformer_groups=8)
WIDE = replace(full().model, multipliers=(1, 2, 4), blocks=1, attention=(True, False, True))


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def on_meta():
    config = full()
    with torch.device("meta"):
        return (UNet(config.model, context=config.text.width, channels=4), Clip(config.text, config.vision),
                Autoencoder(config.autoencoder), Inception())


def test_full_networks_have_the_published_sizes(on_meta):
    """U-Net: fact of the reference; ViT-H-14 and kl-f8: published counts; Inception: Keras' count with its 17,216 norm
    scales and 1008 classes."""
    unet, clip, coder, inception = on_meta
    assert count(unet) == 865_910_724
    assert count(clip) == 986_109_441
    assert count(coder) == 83_653_863
    assert count(inception) == 23_817_352 + 17_216 + 8 * 2049


def test_text_tower_of_the_context_has_no_image_tower(on_meta):
    _, clip, _, _ = on_meta
    assert count(clip) - count(clip.visual) - 1 == 354_032_640


def test_full_network_keeps_the_shape_of_its_latents(on_meta):
    unet = on_meta[0]
    with torch.device("meta"):
        found = unet(torch.zeros(2, 4, 64, 64), torch.zeros(2, dtype=torch.int64), torch.zeros(2, 77, 1024))
    assert found.shape == (2, 4, 64, 64)


def test_diffusers_network_of_the_same_sizes_has_as_many_parameters(on_meta):
    with torch.device("meta"):
        theirs = their_unet(full())
    assert count(theirs) == count(on_meta[0])
    assert len(list(theirs.parameters())) == len(list(on_meta[0].parameters()))


def filled(module, seed):
    """Every parameter random, those that start at zero too: else half of the gradients would be zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.0, 0.5 / max(1, parameter[0].numel()) ** 0.5 if parameter.dim() > 1 else 0.1, generator=generator)
            if parameter.dim() == 1:
                parameter.add_(1.0 if parameter.numel() > 4 else 0.0)
    return module


def copied(ours, theirs, names):
    """`theirs` with the weights of `ours`; every parameter of both is met once."""
    mine, other = dict(ours.named_parameters()), dict(theirs.named_parameters())
    assert sorted(names.values()) == sorted(other)
    with torch.no_grad():
        for name, their in names.items():
            other[their].copy_(mine[name].reshape(other[their].shape))
    return theirs


def step_difference(model, config, dtype, side):
    """Largest relative difference of loss and of any gradient in one training step."""
    generator = torch.Generator().manual_seed(2)
    ours = filled(UNet(model, context=config.text.width, channels=4), 1).to(dtype)
    theirs = copied(ours, their_unet(replace(config, model=model)).to(dtype), their_names(ours))
    seen, wanted = (torch.randn(2, 4, side, side, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2))
    context = torch.randn(2, 5, config.text.width, generator=generator, dtype=torch.float64).to(dtype)
    levels = torch.tensor([7, 801])
    mine, other = F.mse_loss(ours(seen, levels, context), wanted), F.mse_loss(theirs(seen, levels, context).sample, wanted)
    mine.backward()
    other.backward()
    gradients = dict(theirs.named_parameters())
    largest = max(float((p.grad - gradients[their_names(ours)[name]].grad.reshape(p.shape)).norm() / p.grad.norm())
                  for name, p in ours.named_parameters())
    return abs(float(mine.detach() - other.detach())) / float(other.detach()), largest


def test_step_equals_diffusers_in_loss_and_every_gradient():
    loss, gradient = step_difference(TINY, mini(), torch.float64, 8)
    assert loss < 1e-6  # the sinusoids of both are single precision
    assert gradient < 1e-5


@pytest.mark.slow
def test_step_at_real_widths_equals_diffusers():
    """Widths, heads and context of the full network; one residual block per level, three of four levels."""
    loss, gradient = step_difference(WIDE, full(), torch.float32, 8)
    assert loss < 1e-5
    assert gradient < 2e-4


@pytest.mark.slow
def test_another_group_count_shows_in_the_comparison():
    """So that the comparison above can fail."""
    loss, _ = step_difference(replace(TINY, transformer_groups=4), mini(), torch.float64, 8)
    assert loss < 1e-6
    ours = filled(UNet(TINY, context=48, channels=4), 1)
    theirs = copied(ours, their_unet(replace(mini(), model=replace(TINY, groups=8))), their_names(ours))
    seen, levels, context = torch.ones(1, 4, 8, 8), torch.tensor([3]), torch.ones(1, 2, 48)
    assert not torch.allclose(ours(seen, levels, context), theirs(seen, levels, context).sample, atol=1e-3)


def test_untrained_network_says_nothing():
    model = UNet(TINY, context=48, channels=4)
    initialise(model, torch.Generator().manual_seed(1))
    found = model(torch.randn(2, 4, 8, 8), torch.tensor([1, 2]), torch.randn(2, 5, 48))
    assert torch.equal(found, torch.zeros_like(found))


def test_initial_weights_have_the_bounds_of_torch_s_defaults():
    mine, theirs = UNet(TINY, context=48, channels=4), UNet(TINY, context=48, channels=4)
    initialise(mine, torch.Generator().manual_seed(1))
    defaults = dict(theirs.named_parameters())
    for name, parameter in mine.named_parameters():
        if parameter.numel() > 500:
            assert parameter.std().item() == pytest.approx(defaults[name].std().item(), rel=0.15), name


def test_transformers_add_nothing_at_first():
    block = SpatialTransformer(16, 12, head_width=8, groups=4)
    x = torch.randn(2, 16, 3, 3)
    assert torch.equal(block(x, torch.randn(2, 4, 12)), x)


def test_planted_faults_take_away_what_they_say():
    generator = torch.Generator().manual_seed(3)
    seen, context = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 5, 48, generator=generator)
    levels = torch.tensor([10, 900])
    for change, other in (({"timed": False}, (seen, levels.flip(0), context)), ({"conditioned": False}, (seen, levels, context * 2))):
        sound, broken = (filled(UNet(model, context=48, channels=4), 1) for model in (TINY, replace(TINY, **change)))
        assert not torch.allclose(sound(seen, levels, context), sound(*other))
        assert torch.equal(broken(seen, levels, context), broken(*other))


def test_sinusoids_are_the_published_ones():
    found = sinusoids(torch.tensor([0, 5]), 4)
    five = torch.tensor(5.0)
    assert torch.allclose(found[0], torch.tensor([1.0, 1.0, 0.0, 0.0]))
    assert torch.allclose(found[1], torch.stack([five.cos(), (five / 100).cos(), five.sin(), (five / 100).sin()]))


# --- the frozen networks ---


def their_clip(text, vision, embedding):
    from transformers import CLIPConfig, CLIPModel

    common = {"hidden_act": "gelu", "projection_dim": embedding, "attention_dropout": 0.0}
    return CLIPModel(CLIPConfig(
        projection_dim=embedding,
        text_config={"vocab_size": text.vocabulary, "hidden_size": text.width, "intermediate_size": 4 * text.width, "num_hidden_layers": text.layers,
                     "num_attention_heads": text.heads, "max_position_embeddings": text.length, "eos_token_id": 2, "bos_token_id": 0,
                     "pad_token_id": 1, **common},
        vision_config={"hidden_size": vision.width, "intermediate_size": 4 * vision.width, "num_hidden_layers": vision.layers,
                       "num_attention_heads": vision.heads, "image_size": vision.side, "patch_size": vision.patch, **common})).eval()


def their_clip_state(clip):
    """Our tensors under transformers' names."""
    state = {}
    for name, tensor in clip.state_dict().items():
        side = "vision_model" if name.startswith("visual.") else "text_model"
        own = name.removeprefix("visual.")
        plain = {"token_embedding.weight": "embeddings.token_embedding.weight", "conv1.weight": "embeddings.patch_embedding.weight",
                 "positional_embedding": "embeddings.position_embedding.weight", "class_embedding": "embeddings.class_embedding",
                 "ln_final.weight": "final_layer_norm.weight", "ln_final.bias": "final_layer_norm.bias", "ln_pre.weight": "pre_layrnorm.weight",
                 "ln_pre.bias": "pre_layrnorm.bias", "ln_post.weight": "post_layernorm.weight", "ln_post.bias": "post_layernorm.bias"}
        if own in ("text_projection", "proj"):
            state["text_projection.weight" if own == "text_projection" else "visual_projection.weight"] = tensor.T
        elif own == "logit_scale":
            state[own] = tensor
        elif own in plain:
            state[f"{side}.{plain[own]}"] = tensor
        else:
            _, _, layer, rest = own.split(".", 3)
            base = f"{side}.encoder.layers.{layer}."
            if rest.startswith("attn.in_proj"):
                kind = rest.rpartition("_")[2]
                for which, part in zip("qkv", tensor.chunk(3), strict=True):
                    state[f"{base}self_attn.{which}_proj.{kind}"] = part
            else:
                for mine, other in (("ln_1", "layer_norm1"), ("ln_2", "layer_norm2"), ("attn.out_proj", "self_attn.out_proj"),
                                    ("mlp.c_fc", "mlp.fc1"), ("mlp.c_proj", "mlp.fc2")):
                    rest = rest.replace(mine, other)
                state[base + rest] = tensor
    return state


@pytest.fixture(params=["mini", "real widths"])
def towers(request):
    config = mini() if request.param == "mini" else full()
    text, vision = replace(config.text, layers=2, vocabulary=568), replace(config.vision, layers=1)
    clip = Clip(text, vision).eval()
    initialise_clip(clip, torch.Generator().manual_seed(1))
    theirs = their_clip(text, vision, vision.embedding)
    missing = theirs.load_state_dict(their_clip_state(clip), strict=False)
    assert not missing.unexpected_keys
    assert all("position_ids" in name for name in missing.missing_keys)
    return clip, theirs, text, vision


@torch.no_grad()
def test_both_towers_equal_transformers(towers):
    clip, theirs, text, vision = towers
    generator = torch.Generator().manual_seed(3)
    numbers = torch.zeros(3, text.length, dtype=torch.int64)
    for row, length in enumerate((3, 5, text.length)):
        numbers[row, :length] = torch.randint(1, text.vocabulary - 2, (length,), generator=generator)
        numbers[row, 0], numbers[row, length - 1] = text.vocabulary - 2, text.vocabulary - 1
    pictures = torch.rand(3, 3, vision.side, vision.side, generator=generator)
    normed = (pictures - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    output = theirs(input_ids=numbers, pixel_values=normed)
    assert torch.allclose(F.normalize(clip.embedded(numbers), dim=1), output.text_embeds, atol=1e-5)
    cosines = (output.text_embeds * output.image_embeds).sum(1)
    assert torch.allclose(clip.similarity(pictures, numbers).float(), cosines, atol=1e-5)
    hidden = theirs.text_model(input_ids=numbers, output_hidden_states=True).hidden_states[-2]
    assert torch.allclose(clip.context(numbers), theirs.text_model.final_layer_norm(hidden), atol=1e-4)


@pytest.mark.parametrize("config", [replace(mini().autoencoder, multipliers=(1, 2, 2, 4)), replace(full().autoencoder, multipliers=(1, 4), blocks=1)],
                         ids=["small", "real widths"])
def test_autoencoder_equals_diffusers_in_values_and_gradients(config):
    ours = filled(Autoencoder(config), 4)
    theirs, names = their_autoencoder(config), their_names(ours)
    copied(ours, theirs, names)
    pictures = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    moments = ours.moments(pictures)
    other = theirs.quant_conv(theirs.encoder(pictures))
    assert torch.allclose(moments, other, rtol=1e-4, atol=1e-4)
    mine, decoded = ours.decoder(ours.post_quant_conv(moments[:, :4])), theirs.decode(other[:, :4]).sample
    assert torch.allclose(mine, decoded, rtol=1e-3, atol=1e-3)
    mine.square().mean().backward()
    decoded.square().mean().backward()
    gradients = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        difference = (parameter.grad - gradients[names[name]].grad.reshape(parameter.shape)).norm()
        assert difference <= 1e-3 * parameter.grad.norm() + 1e-6, name


def test_decoded_pictures_lie_between_0_and_1():
    coder = filled(Autoencoder(mini().autoencoder), 4)
    found = coder.decoded(5 * torch.randn(2, 4, 8, 8))
    assert found.shape == (2, 3, 32, 32)
    assert found.min() >= 0
    assert found.max() <= 1


def test_layers_of_the_network_are_of_the_shared_kinds():
    """Nothing in it has a state that steps change beside parameters."""
    with torch.device("meta"):
        model = UNet(full().model, context=1024, channels=4)
    assert not list(model.buffers())
    assert not [part for part in model.modules() if isinstance(part, nn.Dropout | nn.BatchNorm2d)]
