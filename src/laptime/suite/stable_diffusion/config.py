"""Configurations of Stable Diffusion v2: `full` is the reference, `mini` replaces sizes only. No torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from laptime.config import Parallel, Speed
from laptime.errors import InvalidConfiguration


@dataclass(frozen=True)
class ModelConfig:
    """The U-Net that is trained (reference, train_32x08x02.yaml and openaimodel.py)."""

    width: int = 320
    multipliers: tuple[int, ...] = (1, 2, 4, 4)  # of the width, one per level
    blocks: int = 2  # residual blocks per level
    attention: tuple[bool, ...] = (True, True, True, False)  # which levels have transformer blocks
    head_width: int = 64
    groups: int = 16  # of the norms of residual blocks (the reference's change; the original has 32)
    transformer_groups: int = 32  # of the norm before a transformer block
    conditioned: bool = True  # False (a planted fault): the caption is not looked at
    timed: bool = True  # False: the network is not told how noisy its input is; at mini scale it learns all the same


@dataclass(frozen=True)
class TextConfig:
    """Text tower of the frozen contrastive network (OpenCLIP ViT-H-14)."""

    vocabulary: int = 49408
    length: int = 77
    width: int = 1024
    heads: int = 16
    layers: int = 24
    unused_layers: int = 1  # at the end, left out where the tower gives the context ("penultimate")


@dataclass(frozen=True)
class VisionConfig:
    """Image tower of the frozen contrastive network (OpenCLIP ViT-H-14)."""

    side: int = 224
    patch: int = 14
    width: int = 1280
    heads: int = 16
    layers: int = 32
    embedding: int = 1024  # that both towers end in


@dataclass(frozen=True)
class AutoencoderConfig:
    """The frozen autoencoder (published v1-inference.yaml, `first_stage_config`)."""

    channels: int = 128
    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    blocks: int = 2
    latent: int = 4  # channels of a latent
    groups: int = 32
    scale: float = 0.18215  # latents times this are what is learnt


@dataclass(frozen=True)
class DiffusionConfig:
    """How noise is added, and what is learnt (reference, ddpm.py)."""

    steps: int = 1000
    first_beta: float = 0.00085
    last_beta: float = 0.012
    learnt: str = "velocity"  # "noise" (a planted fault): sampling still takes the output for a velocity


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW. `base_learning_rate` is scaled by the global batch, as the reference does (`scale_lr`)."""

    base_learning_rate: float = 1.25e-7
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.01


@dataclass(frozen=True)
class ScheduleConfig:
    """Linear warm-up from a fraction of the rate, constant after it. A run gives up after `train_steps` steps."""

    warmup_steps: int = 1000
    warmup_start: float = 1e-6
    train_steps: int = 2500  # 5,120,000 images at the reference's batch: ten checkpoints; published runs needed nine


@dataclass(frozen=True)
class SamplingConfig:
    """How pictures are made for the evaluation (reference: DDIM without noise, classifier-free guidance)."""

    steps: int = 50
    guidance: float = 8.0
    batch_size: int = 64  # pictures at a time, per process


@dataclass(frozen=True)
class DataConfig:
    """`side`: of pictures, in pixels. `checksums`: "file=SHA-256 prefix" of published files."""

    train_samples: int = 6513144  # number that the reference's code gives
    eval_samples: int = 30000
    side: int = 512
    features: int = 2048  # per picture, of the network behind FID
    shards: int = 832
    shuffle_buffer: int = 1000
    checksums: tuple[str, ...] = ("checkpoints/inception/pt_inception-2015-12-05-6726825d.pth=6726825d",)
    # a planted fault:
    shuffle_captions: bool = False  # while training, every picture has the caption of another one
    # only for generated data:
    uncaptioned: float = 0.0  # share of training pictures with an empty caption
    statistics_samples: int = 0  # real pictures behind the reference statistics


@dataclass(frozen=True)
class StableDiffusionConfig:
    """Everything about a run. The loss is a mean over the whole global batch: nothing depends on how it is spread."""

    global_batch_size: int = 2048
    model: ModelConfig = field(default_factory=ModelConfig)
    text: TextConfig = field(default_factory=TextConfig)
    vision: VisionConfig = field(default_factory=VisionConfig)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    data: DataConfig = field(default_factory=DataConfig)
    parallel: Parallel = field(default_factory=Parallel)
    speed: Speed = field(default_factory=Speed)

    @property
    def latent_side(self) -> int:
        return self.data.side // 2 ** (len(self.autoencoder.multipliers) - 1)

    @property
    def learning_rate(self) -> float:
        return self.optimizer.base_learning_rate * self.global_batch_size


def full() -> StableDiffusionConfig:
    """The reference: batch 2048, AdamW, 1000 steps of warm-up (reference, train_32x08x08.yaml)."""
    return StableDiffusionConfig()


def mini() -> StableDiffusionConfig:
    """Two CPU cores, about a minute: small pictures of shapes, and the same kinds of networks, small."""
    reference = full()
    return replace(
        reference,
        global_batch_size=32,
        model=replace(reference.model, width=32, multipliers=(1, 2), blocks=1, attention=(False, True), head_width=16,
                      groups=8, transformer_groups=8),
        text=replace(reference.text, vocabulary=568, length=12, width=48, heads=4, layers=3),
        vision=replace(reference.vision, side=32, patch=4, width=64, heads=4, layers=2, embedding=32),
        autoencoder=replace(reference.autoencoder, channels=16, multipliers=(1, 2, 2), blocks=1, groups=8, scale=1.05),
        optimizer=replace(reference.optimizer, base_learning_rate=1e-3 / 32),
        schedule=replace(reference.schedule, warmup_steps=50, train_steps=300),
        sampling=replace(reference.sampling, steps=8, guidance=3.0, batch_size=80),
        data=replace(reference.data, train_samples=6400, eval_samples=160, side=32, features=64, shards=16,
                     shuffle_buffer=400, checksums=(), uncaptioned=0.1, statistics_samples=1000),
    )


def smoke() -> StableDiffusionConfig:
    """A few seconds on one core: proves the chain, not the quality."""
    small = mini()
    return replace(
        small,
        global_batch_size=16,
        optimizer=replace(small.optimizer, base_learning_rate=2e-4),
        schedule=replace(small.schedule, warmup_steps=5, train_steps=46),
        sampling=replace(small.sampling, steps=2, batch_size=32),
        data=replace(small.data, train_samples=256, eval_samples=64, shards=4, shuffle_buffer=32,
                     statistics_samples=128),
    )


PRESETS: Mapping[str, Callable[[], StableDiffusionConfig]] = {"full": full, "mini": mini, "smoke": smoke}

# Planted faults: what a target must tell apart from sound training (`laptime rcp faults`).
FAULTS: Mapping[str, tuple[str, ...]] = {
    "captions of other pictures": ("data.shuffle_captions=true",),
    "caption not looked at": ("model.conditioned=false",),
    "rate not scaled by the batch": (
        f"optimizer.base_learning_rate={mini().optimizer.base_learning_rate / mini().global_batch_size:g}",),
    "noise learnt for velocity": ("diffusion.learnt=noise",),
    "learning rate x10": (f"optimizer.base_learning_rate={10 * mini().optimizer.base_learning_rate:g}",),
}


def validate(config: StableDiffusionConfig, processes: int) -> None:
    """Raises InvalidConfiguration for what cannot be run on `processes` processes, before anything is built."""
    shares = processes * config.parallel.accumulation_steps
    if config.parallel.accumulation_steps < 1 or config.global_batch_size < 1 or config.global_batch_size % shares:
        raise InvalidConfiguration(
            f"expected a global_batch_size divisible by processes x accumulation_steps = {shares}, "
            f"found {config.global_batch_size}", hint="Change global_batch_size or parallel.accumulation_steps.")
    _expect(config.global_batch_size <= config.data.train_samples,
            f"a global_batch_size of at most data.train_samples = {config.data.train_samples}",
            config.global_batch_size)
    _check_model(config.model)
    _check_towers(config)
    _check_diffusion(config)
    _check_data(config)


def _check_model(model: ModelConfig) -> None:
    _expect(min(model.width, model.blocks, model.head_width, *model.multipliers, 1) >= 1 and bool(model.multipliers),
            "model.width, model.blocks, model.head_width and model.multipliers of at least 1",
            f"{model.width}, {model.blocks}, {model.head_width} and {model.multipliers}")
    _expect(len(model.attention) == len(model.multipliers), f"model.attention for {len(model.multipliers)} levels",
            len(model.attention))
    widths = [model.width * multiplier for multiplier in model.multipliers]
    _expect(model.width % 2 == 0 and all(width % model.groups == 0 for width in widths),
            "even widths that model.groups divides", f"{widths} and {model.groups} groups")
    attended = {width for width, has in zip(widths, model.attention, strict=True) if has} | {widths[-1]}
    _expect(all(width % model.head_width == 0 and width % model.transformer_groups == 0 for width in attended),
            "model.head_width and model.transformer_groups that divide the width of every level with attention",
            f"{model.head_width} and {model.transformer_groups} for {sorted(attended)}")


def _check_towers(config: StableDiffusionConfig) -> None:
    text, vision, coder = config.text, config.vision, config.autoencoder
    _expect(text.width % text.heads == 0 and vision.width % vision.heads == 0, "heads that divide the width of a tower",
            f"{text.heads} of {text.width} and {vision.heads} of {vision.width}")
    _expect(0 <= text.unused_layers < text.layers and text.length >= 3,
            "text.unused_layers below text.layers and text.length of at least 3",
            f"{text.unused_layers} and {text.length}")
    _expect(vision.side % vision.patch == 0, "a vision.patch that divides vision.side", vision.patch)
    _expect(all(coder.channels * multiplier % coder.groups == 0 for multiplier in coder.multipliers),
            "autoencoder.groups that divide the channels", coder.groups)
    _expect(config.data.side % 2 ** (len(coder.multipliers) + len(config.model.multipliers) - 2) == 0,
            "a data.side that autoencoder and model can halve", config.data.side)


def _check_diffusion(config: StableDiffusionConfig) -> None:
    diffusion, sampling, optimizer = config.diffusion, config.sampling, config.optimizer
    _expect(0 < diffusion.first_beta <= diffusion.last_beta < 1, "0 < diffusion.first_beta <= diffusion.last_beta < 1",
            f"{diffusion.first_beta} and {diffusion.last_beta}")
    _expect(diffusion.learnt in ("velocity", "noise"), "diffusion.learnt to be velocity or noise", diffusion.learnt)
    _expect(1 <= sampling.steps < diffusion.steps and diffusion.steps % sampling.steps == 0
            and sampling.batch_size >= 1,
            f"sampling.steps that divide {diffusion.steps} and are fewer, and sampling.batch_size of at least 1",
            f"{sampling.steps} and {sampling.batch_size}")
    _expect(0 <= optimizer.beta1 < 1 and 0 <= optimizer.beta2 < 1, "optimizer.beta1 and optimizer.beta2 in [0, 1)",
            f"{optimizer.beta1} and {optimizer.beta2}")
    _expect(config.schedule.warmup_steps >= 0 and config.schedule.train_steps >= 1,
            "schedule.warmup_steps of at least 0 and schedule.train_steps of at least 1",
            f"{config.schedule.warmup_steps} and {config.schedule.train_steps}")


def _check_data(config: StableDiffusionConfig) -> None:
    data = config.data
    _expect(data.eval_samples >= 2, "data.eval_samples of at least 2", data.eval_samples)
    _expect(1 <= data.shards <= data.train_samples and data.shuffle_buffer >= 1,
            f"data.shards from 1 to {data.train_samples} and data.shuffle_buffer of at least 1",
            f"{data.shards} and {data.shuffle_buffer}")
    _expect(0 <= data.uncaptioned < 1, "data.uncaptioned in [0, 1)", data.uncaptioned)


def _expect(holds: bool, expected: str, found: object) -> None:
    if not holds:
        raise InvalidConfiguration(f"expected {expected}, found {found}")
