"""Configurations of ResNet-50 v1.5 on ILSVRC-2012: `full` is the reference, `mini` replaces sizes only. No torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from laptime.config import Parallel, Speed
from laptime.errors import InvalidConfiguration


@dataclass(frozen=True)
class ModelConfig:
    """The network. `norm_span`: samples per batch-norm group (the rules' model_bn_span)."""

    width: int = 64  # channels of the stem; bottlenecks are width * (1, 2, 4, 8), outputs four times that
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    classes: int = 1000
    norm_span: int = 128  # reference command: 1024 per step over 8 replicas
    norm_momentum: float = 0.1  # running = 0.9 old + 0.1 new
    norm_epsilon: float = 1e-5
    norm: bool = True  # False (a planted fault): no batch norm at all


@dataclass(frozen=True)
class OptimizerConfig:
    """SGD or LARS. `momentum_form`: "inside" keeps the learning rate in the velocity (v <- m v - lr g; w <- w + v),
    "outside" multiplies it on the way out (v <- m v + g; w <- w - lr v); they differ when the rate changes."""

    name: Literal["sgd", "lars"] = "lars"
    base_learning_rate: float = 8.5  # reference command for batch 2048
    end_learning_rate: float = 0.0001
    momentum: float = 0.9
    weight_decay: float = 0.0002
    lars_eta: float = 0.001
    lars_epsilon: float = 0.0
    momentum_form: Literal["inside", "outside"] = "inside"


@dataclass(frozen=True)
class ScheduleConfig:
    """Linear warm-up, then "polynomial": power decay to the end rate; "step": `factors` from `boundaries` on."""

    name: Literal["polynomial", "step"] = "polynomial"
    warmup_epochs: int = 5
    train_epochs: int = 41
    power: float = 2.0
    boundaries: tuple[int, ...] = (30, 60, 80, 90)  # epochs
    factors: tuple[float, ...] = (0.1, 0.01, 0.001, 0.0001)


@dataclass(frozen=True)
class DataConfig:
    """Images. Sizes in pixels; `mean` of 0-255 RGB values; crop ranges of the distorted-box operator."""

    train_images: int = 1281167
    eval_images: int = 50000
    crop: int = 224
    eval_resize: int = 256  # shorter side before the centre crop
    mean: tuple[float, ...] = (123.68, 116.78, 103.94)
    area_low: float = 0.05
    area_high: float = 1.0
    aspect_low: float = 0.75
    aspect_high: float = 1.33
    flip: bool = True
    augment: bool = True  # False (a planted fault): centre crops in training too
    shuffle_labels: bool = False  # a planted fault
    eval_batch_size: int = 256  # per process
    cache_bytes: int = 1 << 28  # per process; decoded data sets up to this size stay in memory after their first use
    # only for generated data:
    image_low: int = 64
    image_high: int = 128
    label_noise: float = 0.04
    hardness: float = 1.0


@dataclass(frozen=True)
class ResNetConfig:
    """Everything about a run. `evaluation_offset`: first evaluation after epoch 1 + offset (0..3)."""

    global_batch_size: int = 2048
    label_smoothing: float = 0.1
    evaluation_offset: int = 2
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    data: DataConfig = field(default_factory=DataConfig)
    parallel: Parallel = field(default_factory=Parallel)
    speed: Speed = field(default_factory=Speed)


def full() -> ResNetConfig:
    """The reference: batch 2048, LARS, 41 epochs, evaluation after epochs 3, 7, ... (reference README, 8 GPUs)."""
    return ResNetConfig()


def v0_5() -> ResNetConfig:
    """The first round: SGD with stepwise decay (TF1 reference), no label smoothing, learning rate outside the velocity.

    Base rate 0.128 per 256 samples, weight decay 1e-4, 5 warm-up epochs; the table of factors ends at epoch 90.
    """
    reference = full()
    return replace(
        reference,
        label_smoothing=0.0,
        optimizer=replace(reference.optimizer, name="sgd", base_learning_rate=0.128 * 2048 / 256,
                          weight_decay=0.0001, momentum_form="outside"),
        schedule=replace(reference.schedule, name="step", train_epochs=100),
    )


def mini() -> ResNetConfig:
    """Two CPU cores, about a minute: narrow and shallow, small generated images, evaluation after every epoch."""
    reference = full()
    return replace(
        reference,
        global_batch_size=64,
        evaluation_offset=0,
        model=replace(reference.model, width=12, blocks=(1, 1, 1, 1), classes=10, norm_span=64),
        optimizer=replace(reference.optimizer, base_learning_rate=5.0),
        schedule=replace(reference.schedule, warmup_epochs=1, train_epochs=10),
        data=replace(reference.data, train_images=4096, eval_images=1024, crop=48, eval_resize=55, hardness=0.25),
    )


def smoke() -> ResNetConfig:
    """A few seconds on one core: proves the chain, not the quality. SGD, so that both optimizers run end to end."""
    small = mini()
    return replace(
        small,
        global_batch_size=16,
        model=replace(small.model, width=8, norm_span=8),
        optimizer=replace(small.optimizer, name="sgd", base_learning_rate=0.05),
        schedule=replace(small.schedule, warmup_epochs=1, train_epochs=8),
        data=replace(small.data, train_images=512, eval_images=200, crop=48, eval_resize=52, eval_batch_size=50,
                     image_low=56, image_high=72, hardness=0.0),
    )


PRESETS: Mapping[str, Callable[[], ResNetConfig]] = {"full": full, "v0.5": v0_5, "mini": mini, "smoke": smoke}


# Planted faults: what a target must tell apart from sound training (`laptime rcp faults`).
FAULTS: Mapping[str, tuple[str, ...]] = {
    "shuffled labels": ("data.shuffle_labels=true",),
    "batch norm off": ("model.norm=false",),
    "learning rate x10": (f"optimizer.base_learning_rate={10 * mini().optimizer.base_learning_rate:g}",),
    "momentum form swapped": ("optimizer.momentum_form=outside",),
    "augmentation removed": ("data.augment=false",),
}


def validate(config: ResNetConfig, processes: int) -> None:
    """Raises InvalidConfiguration for what cannot be run on `processes` processes, before anything is built."""
    shares = processes * config.parallel.accumulation_steps
    if config.parallel.accumulation_steps < 1 or config.global_batch_size < 1 or config.global_batch_size % shares:
        raise InvalidConfiguration(
            f"expected a global_batch_size divisible by processes x accumulation_steps = {shares}, "
            f"found {config.global_batch_size}", hint="Change global_batch_size or parallel.accumulation_steps.")
    if config.global_batch_size > config.data.train_images:
        raise InvalidConfiguration(f"expected a global_batch_size of at most data.train_images = "
                                   f"{config.data.train_images}, found {config.global_batch_size}")
    _check_model(config.model)
    _check_schedule(config.schedule)
    _check_data(config.data, config.model.classes)
    if not 0 <= config.evaluation_offset <= 3:  # benchmark-specific rules: offset 0, 1, 2 or 3
        raise InvalidConfiguration(f"expected evaluation_offset from 0 to 3, found {config.evaluation_offset}")
    if not 0 <= config.label_smoothing < 1:
        raise InvalidConfiguration(f"expected label_smoothing in [0, 1), found {config.label_smoothing}")


def _check_data(data: DataConfig, classes: int) -> None:
    """Sizes that can be read, and ranges that can be drawn from."""
    at_least_one = ("train_images", "eval_images", "crop", "eval_batch_size")
    _expect(all(getattr(data, name) >= 1 for name in at_least_one) and data.cache_bytes >= 0,
            f"data.{', data.'.join(at_least_one)} of at least 1",
            ", ".join(str(getattr(data, name)) for name in at_least_one))
    _expect(data.eval_resize >= data.crop, f"data.eval_resize of at least data.crop = {data.crop}", data.eval_resize)
    _expect(0 < data.area_low <= data.area_high <= 1, "0 < data.area_low <= data.area_high <= 1",
            f"{data.area_low} and {data.area_high}")
    _expect(0 < data.aspect_low <= data.aspect_high, "0 < data.aspect_low <= data.aspect_high",
            f"{data.aspect_low} and {data.aspect_high}")
    _expect(len(data.mean) == 3, "three values in data.mean", len(data.mean))
    _expect(8 <= data.image_low <= data.image_high <= 4096, "8 <= data.image_low <= data.image_high <= 4096",
            f"{data.image_low} and {data.image_high}")
    _expect(0 <= data.label_noise < 1 and (data.label_noise == 0 or classes > 1), "data.label_noise in [0, 1)",
            data.label_noise)
    _expect(0 <= data.hardness <= 2, "data.hardness from 0 to 2", data.hardness)


def _expect(holds: bool, expected: str, found: object) -> None:
    if not holds:
        raise InvalidConfiguration(f"expected {expected}, found {found}")


def _check_model(model: ModelConfig) -> None:
    if min(model.width, model.classes, len(model.blocks), *model.blocks, model.norm_span) < 1:
        raise InvalidConfiguration(f"expected model.width, model.classes, model.norm_span and model.blocks of at least "
                                   f"1 each, found {model.width}, {model.classes}, {model.norm_span}, {model.blocks}")


def _check_schedule(schedule: ScheduleConfig) -> None:
    if not 0 <= schedule.warmup_epochs <= schedule.train_epochs or schedule.train_epochs < 1:
        raise InvalidConfiguration(f"expected 0 <= schedule.warmup_epochs <= schedule.train_epochs, "
                                   f"found {schedule.warmup_epochs} and {schedule.train_epochs}")
    pairs = zip(schedule.boundaries, schedule.boundaries[1:], strict=False)
    if len(schedule.boundaries) != len(schedule.factors) or any(low >= high for low, high in pairs):
        raise InvalidConfiguration(f"expected increasing schedule.boundaries with one of schedule.factors each, "
                                   f"found {schedule.boundaries} and {schedule.factors}")
