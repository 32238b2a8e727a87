"""What `laptime bench` measures of this benchmark, and the independent implementation beside it.

The peer is diffusers' UNet2DConditionModel with transformers' CLIPTextModel for the context and torch's fused AdamW,
eager and compiled, in the dtype that ours has. It gets finished latents and noise; ours draws both in its step.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from laptime.config import Json, override
from laptime.errors import UserError
from laptime.suite.stable_diffusion.config import AutoencoderConfig, StableDiffusionConfig, full, mini
from laptime.suite.stable_diffusion.model import TRANSFORMER_EPSILON
from laptime.suite.stable_diffusion.reader import synthetic
from laptime.training.distributed.world import World
from laptime.training.speed import Precision, can_compile, resolve

Step = Callable[[], None]
FULL_BATCH = {"cuda": 32}  # one accelerator with 80 GB or more in bfloat16
SMALL_BATCH = 1  # a step of the full network then takes some seconds on two CPU cores
MISSING = "the peer is the packages diffusers and transformers, of the extra dev: pip install 'laptime[dev]'"


def full_case(device: torch.device) -> StableDiffusionConfig:
    """The full network at a batch that one device holds."""
    return _under_way(full(), FULL_BATCH.get(device.type, SMALL_BATCH), device)


def _under_way(config: StableDiffusionConfig, batch: int, device: torch.device) -> StableDiffusionConfig:
    """`config` at a batch of the measurement, with the reference's rate as it is after the warm-up, and as a CPU is
    fastest at large widths.

    In the first steps of a warm-up nearly all gradients are 0 or, behind two layers that start at zero, so small that
    their squares are subnormal, which a CPU computes ten times slower: a state that a run leaves after a few steps.
    """
    rate = config.learning_rate / batch  # the rate is scaled by the batch again
    layout = ["speed.memory_format=contiguous"] if device.type == "cpu" else []  # channels_last: weights are copied
    return override(config, [f"global_batch_size={batch}", f"optimizer.base_learning_rate={rate!r}",
                             "schedule.warmup_steps=0", *layout])


def short_case(device: torch.device) -> StableDiffusionConfig:
    """The full widths at less depth and a quarter of the side: seconds on a CPU."""
    config = _under_way(full(), 4, device)
    return replace(config, data=replace(config.data, side=128),
                   text=replace(config.text, layers=2, vocabulary=568),
                   model=replace(config.model, multipliers=(1, 2), attention=(True, True), blocks=1))


def mini_case(device: torch.device) -> StableDiffusionConfig:
    """As it is run."""
    return mini()


def facts(config: StableDiffusionConfig) -> Mapping[str, Json]:
    """What the manifest of this configuration's data says."""
    return {"train_samples": config.data.train_samples, "eval_samples": config.data.eval_samples,
            "latent_side": config.latent_side, "length": config.text.length}


def mini_feed(samples: int) -> StableDiffusionConfig:
    """The generated pictures of mini."""
    return override(mini(), [f"data.train_samples={max(64, samples)}", "data.eval_samples=10", "data.shards=1",
                             "data.statistics_samples=70", "data.shuffle_buffer=16"])


def peer(config: StableDiffusionConfig, device: torch.device, *, compiled: bool) -> Step:
    """One whole training step on a batch that stays. Raises UserError without the packages or a C compiler."""
    if compiled and not can_compile():
        raise UserError("no C compiler found: the compiled peer is left out")
    precision = Precision.of(resolve(config.speed, device))
    model, text = (part.to(device, precision.parameters) for part in (their_unet(config).train(), their_text(config)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=config.optimizer.weight_decay, fused=True)
    batch = synthetic(config, config.global_batch_size, World(0, 1, device))
    seen, wanted = batch.moments.to(precision.parameters).chunk(2, 1)

    def loss() -> torch.Tensor:
        with torch.no_grad():
            context = text(batch.captions).last_hidden_state
        return F.mse_loss(model(seen, batch.levels, context).sample.float(), wanted.float())

    forward = torch.compile(loss, dynamic=False) if compiled else loss

    def step() -> None:
        with torch.autocast(device.type, dtype=precision.autocast, enabled=precision.autocast is not None):
            value = forward()
        value.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def their_unet(config: StableDiffusionConfig) -> nn.Module:
    """diffusers' network of the same sizes. Raises UserError without it."""
    try:
        from diffusers import UNet2DConditionModel
    except ImportError:
        raise UserError(MISSING) from None
    model = config.model
    widths = tuple(model.width * multiplier for multiplier in model.multipliers)
    network: nn.Module = UNet2DConditionModel(  # type: ignore[assignment]
        in_channels=config.autoencoder.latent, out_channels=config.autoencoder.latent, block_out_channels=widths,
        down_block_types=tuple("CrossAttnDownBlock2D" if has else "DownBlock2D" for has in model.attention),
        up_block_types=tuple("CrossAttnUpBlock2D" if has else "UpBlock2D" for has in reversed(model.attention)),
        layers_per_block=model.blocks, attention_head_dim=tuple(width // model.head_width for width in widths),
        cross_attention_dim=config.text.width, use_linear_projection=True, norm_num_groups=model.groups)
    for part in network.modules():
        if type(part).__name__ == "Transformer2DModel":  # its norm has another number of groups here
            part.norm = nn.GroupNorm(model.transformer_groups, part.norm.num_channels,  # type: ignore[union-attr, arg-type]
                                     TRANSFORMER_EPSILON)
    return network


def their_text(config: StableDiffusionConfig) -> nn.Module:
    """transformers' text tower as deep as ours is used. Raises UserError without it."""
    try:
        from transformers import CLIPTextConfig, CLIPTextModel
    except ImportError:
        raise UserError(MISSING) from None
    text = config.text
    tower: nn.Module = CLIPTextModel(CLIPTextConfig(
        vocab_size=text.vocabulary, hidden_size=text.width, intermediate_size=4 * text.width, hidden_act="gelu",
        num_hidden_layers=text.layers - text.unused_layers, num_attention_heads=text.heads,
        max_position_embeddings=text.length, bos_token_id=0, eos_token_id=2, pad_token_id=1))
    return tower.eval().requires_grad_(False)


def their_autoencoder(config: AutoencoderConfig) -> nn.Module:
    """diffusers' autoencoder of the same sizes. Raises UserError without it."""
    try:
        from diffusers import AutoencoderKL
    except ImportError:
        raise UserError(MISSING) from None
    levels = len(config.multipliers)
    network: nn.Module = AutoencoderKL(  # type: ignore[assignment]
        down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=tuple(config.channels * multiplier for multiplier in config.multipliers),
        layers_per_block=config.blocks, latent_channels=config.latent, norm_num_groups=config.groups)
    return network


PARTS = (  # of names, ours to theirs, both networks
    (r"\bres\.", ""), (r"\btime\.0\b", "time_embedding.linear_1"), (r"\btime\.2\b", "time_embedding.linear_2"),
    (r"^first\b", "conv_in"), (r"^norm\b", "conv_norm_out"), (r"^last\b", "conv_out"),
    (r"(?<=\.)time\b", "time_emb_proj"), (r"\bshortcut\b", "conv_shortcut"), (r"\bnin_shortcut\b", "conv_shortcut"),
    (r"\bbefore\b", "proj_in"), (r"\bafter\b", "proj_out"),
    (r"(attentions\.\d+)\.(norm[123])\b", r"\1.transformer_blocks.0.\2"),
    (r"\bown\.", "transformer_blocks.0.attn1."), (r"\bcross\.", "transformer_blocks.0.attn2."),
    (r"(attn[12])\.([qkv])\b", r"\1.to_\2"), (r"(attn[12])\.out\b", r"\1.to_out.0"),
    (r"\bmlp\.inner\b", "transformer_blocks.0.ff.net.0.proj"), (r"\bmlp\.out\b", "transformer_blocks.0.ff.net.2"),
    # autoencoder
    (r"\bnorm_out\b", "conv_norm_out"), (r"\bmid\.block_1\b", "mid_block.resnets.0"),
    (r"\bmid\.block_2\b", "mid_block.resnets.1"), (r"\bmid\.attn_1\.norm\b", "mid_block.attentions.0.group_norm"),
    (r"\bmid\.attn_1\.([qkv])\b", r"mid_block.attentions.0.to_\1"),
    (r"\bmid\.attn_1\.proj_out\b", "mid_block.attentions.0.to_out.0"),
    (r"\bdown\.(\d+)\.block\.", r"down_blocks.\1.resnets."),
    (r"\bdown\.(\d+)\.downsample\.", r"down_blocks.\1.downsamplers.0."),
    (r"\bup\.(\d+)\.block\.", r"up_blocks.\1.resnets."), (r"\bup\.(\d+)\.upsample\.", r"up_blocks.\1.upsamplers.0."),
)


def their_names(ours: nn.Module) -> dict[str, str]:
    """diffusers' names of the parameters of our U-Net or autoencoder."""
    names = [name for name, _ in ours.named_parameters()]
    blocks = getattr(getattr(ours, "config", None), "blocks", 0)
    levels = 1 + max((int(found[1]) for name in names if (found := re.search(r"\bup\.(\d+)\.block", name))), default=0)
    return {name: _theirs(_placed(name, blocks) if blocks else _turned(name, levels)) for name in names}


def _theirs(name: str) -> str:
    for pattern, replacement in PARTS:
        name = re.sub(pattern, replacement, name)
    return name


def _placed(name: str, blocks: int) -> str:
    """Our flat lists of stages as levels of residual blocks and transformers."""
    kind, _, rest = name.partition(".")
    number, _, inner = rest.partition(".")
    if kind in ("down", "up"):
        per_level = blocks + (kind == "up")
        level, place = divmod(int(number), per_level)
        part = "resnets" if inner.startswith("res.") else "attentions"
        return f"{kind}_blocks.{level}.{part}.{place}.{inner.partition('.')[2]}"
    if kind in ("halve", "widen"):
        side, way = ("down", "downsamplers") if kind == "halve" else ("up", "upsamplers")
        return f"{side}_blocks.{number}.{way}.0.conv.{inner}"
    for mine, their in (("middle_in.res.", "mid_block.resnets.0."), ("middle_in.attention.", "mid_block.attentions.0."),
                        ("middle_out.", "mid_block.resnets.1.")):
        name = name.replace(mine, their)
    return name


def _turned(name: str, levels: int) -> str:
    """The decoder's levels counted from the latents, as diffusers does."""
    return re.sub(r"^(decoder\.up)\.(\d+)\.", lambda found: f"{found[1]}.{levels - 1 - int(found[2])}.", name)


CASES: Mapping[str, Callable[[torch.device], StableDiffusionConfig]] = {
    "mini": mini_case, "full width, less depth": short_case, "full": full_case}
FACTS = facts
PEERS: Mapping[str, Callable[[StableDiffusionConfig, torch.device], Step]] = {
    "diffusers, eager": partial(peer, compiled=False), "diffusers, compiled": partial(peer, compiled=True)}
FEEDS: Mapping[str, Callable[[int], StableDiffusionConfig]] = {"mini pictures": mini_feed}
