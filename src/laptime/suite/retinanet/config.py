"""Configurations of RetinaNet on Open Images: `full` is the reference, `mini` replaces sizes only. No torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from laptime.config import Parallel, Speed
from laptime.errors import InvalidConfiguration

STAGES = 4
PYRAMID = 3  # levels taken from the backbone's last three stages; further ones are made by strided convolutions


@dataclass(frozen=True)
class ModelConfig:
    """The network. Backbone: ResNeXt bottlenecks of `groups` x `group_width` channels, doubled per stage."""

    classes: int = 264
    stem: int = 64  # channels
    groups: int = 32  # ResNeXt-50 32x4d (Xie et al. 2016)
    group_width: int = 4
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    trained_stages: int = 3  # the last ones; stem and earlier stages keep their start weights (reference)
    norm_epsilon: float = 1e-5
    pretrained: bool = True  # False (a planted fault): the backbone starts at random
    channels: int = 256  # of pyramid and heads
    tower: int = 4  # convolutions of a head before its last
    anchor_sizes: tuple[int, ...] = (32, 64, 128, 256, 512)  # pixels; one per level (Lin et al. 2017, section 4)
    prior: float = 0.01  # Lin et al. 2017, section 4.1


@dataclass(frozen=True)
class LossConfig:
    """Matching and loss. `span`: images over which the number of positive anchors that normalises a loss is pooled."""

    high: float = 0.5  # overlap from which an anchor is positive
    low: float = 0.4  # below: negative
    alpha: float = 0.25  # Lin et al. 2017, section 4
    gamma: float = 2.0
    span: int = 1  # reference: every image for itself


@dataclass(frozen=True)
class OptimizerConfig:
    """Which update and its constants."""

    name: Literal["adam"] = "adam"
    base_learning_rate: float = 1e-4  # reference, at every batch size
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0


@dataclass(frozen=True)
class ScheduleConfig:
    """Linear warm-up from `warmup_factor` times the base rate, then constant."""

    warmup_epochs: int = 1
    warmup_factor: float = 1e-3
    train_epochs: int = 8


@dataclass(frozen=True)
class DetectionConfig:
    """From scores to detections."""

    score: float = 0.05
    per_level: int = 1000  # best (anchor, class) pairs
    overlap: float = 0.5  # of suppression; 1 (a planted fault): none
    per_image: int = 300


@dataclass(frozen=True)
class DataConfig:
    """Images. `mean` and `std`: of RGB in 0..1 (ImageNet). Sizes in pixels."""

    train_images: int = 1170301
    eval_images: int = 24781
    size: int = 800  # images are resized to size x size
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    flip: bool = True
    mirror_boxes: bool = True  # False (a planted fault): boxes stay where they were in mirrored images
    shuffle_labels: bool = False  # a planted fault
    eval_batch_size: int = 8  # per process
    cache_bytes: int = 1 << 28  # per process; parts whose resized images fit stay in memory after their first use
    # only for generated data:
    image_low: int = 80
    image_high: int = 112
    objects: int = 4  # at most, of one image
    object_low: float = 0.15  # diameter against the image's shorter side
    object_high: float = 0.45
    hardness: float = 1.0


@dataclass(frozen=True)
class PretrainConfig:
    """How the start weights of a generated data set are made: a classifier of single objects. `steps` 0: not at all."""

    steps: int = 250
    images: int = 3000
    batch: int = 64
    size: int = 48
    learning_rate: float = 3e-3
    accuracy_low: float = 0.8  # of pictures it has not seen; the start is refused outside this window
    accuracy_high: float = 1.0


@dataclass(frozen=True)
class RetinaNetConfig:
    """Everything about a run."""

    global_batch_size: int = 256
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    detection: DetectionConfig = field(default_factory=DetectionConfig)
    data: DataConfig = field(default_factory=DataConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    parallel: Parallel = field(default_factory=Parallel)
    speed: Speed = field(default_factory=Speed)


def full() -> RetinaNetConfig:
    """The reference: 800 x 800 pixels, batch 256, Adam at 1e-4, at most 8 epochs; about four are needed."""
    return RetinaNetConfig()


def mini() -> RetinaNetConfig:
    """Two CPU cores, about a minute: a narrow network, six generated classes, a backbone trained while preparing."""
    reference = full()
    return replace(
        reference,
        global_batch_size=8,
        model=replace(reference.model, classes=6, stem=16, groups=8, group_width=2, blocks=(1, 1, 2, 1), channels=32,
                      tower=2, anchor_sizes=(14, 28, 56, 112)),
        optimizer=replace(reference.optimizer, base_learning_rate=1e-3),
        schedule=replace(reference.schedule, train_epochs=10),
        data=replace(reference.data, train_images=800, eval_images=160, size=96, eval_batch_size=16, object_low=0.22,
                     object_high=0.5, hardness=0.1),
    )


def smoke() -> RetinaNetConfig:
    """A few seconds on one core: proves the chain, not the quality."""
    small = mini()
    return replace(
        small,
        model=replace(small.model, classes=3, groups=4, group_width=4, blocks=(1, 1, 1, 1), channels=16, tower=1,
                      anchor_sizes=(20, 40, 60, 80)),
        optimizer=replace(small.optimizer, base_learning_rate=4e-3),
        data=replace(small.data, train_images=240, eval_images=48, size=64, eval_batch_size=16, image_low=56,
                     image_high=72, objects=1, object_low=0.4, object_high=0.7, hardness=0.0),
        pretrain=replace(small.pretrain, steps=40, images=640, batch=32, size=32, accuracy_low=0.5),
    )


PRESETS: Mapping[str, Callable[[], RetinaNetConfig]] = {"full": full, "mini": mini, "smoke": smoke}


# Planted faults: what a target must tell apart from sound training (`laptime rcp faults`).
FAULTS: Mapping[str, tuple[str, ...]] = {
    "shuffled labels": ("data.shuffle_labels=true",),
    "boxes not mirrored": ("data.mirror_boxes=false",),
    "learning rate x10": (f"optimizer.base_learning_rate={10 * mini().optimizer.base_learning_rate:g}",),
    "no suppression": ("detection.overlap=1",),
    "backbone not pre-trained": ("model.pretrained=false",),
}


def validate(config: RetinaNetConfig, processes: int) -> None:
    """Raises InvalidConfiguration for what cannot run on this many processes."""
    shares = processes * config.parallel.accumulation_steps
    if shares < 1 or config.global_batch_size < 1 or config.global_batch_size % shares:
        raise InvalidConfiguration(
            f"expected a global_batch_size divisible by processes x accumulation_steps = {shares}, "
            f"found {config.global_batch_size}", hint="Change global_batch_size or parallel.accumulation_steps.")
    _expect(config.global_batch_size <= config.data.train_images,
            f"a global_batch_size of at most data.train_images = {config.data.train_images}", config.global_batch_size)
    _check_span(config.loss.span, config.global_batch_size // shares, processes)
    _check_model(config.model)
    _check_values(config)
    _check_data(config.data)


def _check_span(span: int, micro_batch: int, processes: int) -> None:
    together = micro_batch * processes
    _expect(span >= 1 and together % span == 0 and (micro_batch % span == 0 or span % micro_batch == 0),
            f"a loss.span that divides the {micro_batch} images of a micro-batch, or is a multiple of them that "
            f"divides {together}", span)


def _check_model(model: ModelConfig) -> None:
    numbers = (model.classes, model.stem, model.groups, model.group_width, model.channels, *model.blocks)
    _expect(min(numbers) >= 1 and model.tower >= 0, "model.classes, stem, groups, group_width, channels and blocks of "
            "at least 1, model.tower of at least 0", (*numbers, model.tower))
    _expect(len(model.blocks) == STAGES, f"{STAGES} numbers in model.blocks", model.blocks)
    _expect(0 <= model.trained_stages <= STAGES, f"model.trained_stages from 0 to {STAGES}", model.trained_stages)
    _expect(PYRAMID <= len(model.anchor_sizes) <= PYRAMID + 2 and min(model.anchor_sizes) >= 1,
            "three to five positive model.anchor_sizes", model.anchor_sizes)
    _expect(0 < model.prior < 1, "model.prior between 0 and 1", model.prior)


def _check_values(config: RetinaNetConfig) -> None:
    loss, schedule, detection = config.loss, config.schedule, config.detection
    _expect(0 <= loss.low <= loss.high <= 1, "0 <= loss.low <= loss.high <= 1", (loss.low, loss.high))
    _expect(schedule.warmup_epochs >= 0 and schedule.train_epochs >= 1, "schedule.warmup_epochs of at least 0 and "
            "schedule.train_epochs of at least 1", (schedule.warmup_epochs, schedule.train_epochs))
    _expect(0 <= detection.overlap <= 1 and 0 <= detection.score <= 1, "detection.overlap and detection.score from 0 "
            "to 1", (detection.overlap, detection.score))
    _expect(min(detection.per_level, detection.per_image) >= 1, "detection.per_level and per_image of at least 1",
            (detection.per_level, detection.per_image))


def _check_data(data: DataConfig) -> None:
    _expect(min(data.train_images, data.eval_images, data.eval_batch_size) >= 1 and data.cache_bytes >= 0,
            "data.train_images, eval_images and eval_batch_size of at least 1",
            (data.train_images, data.eval_images, data.eval_batch_size))
    _expect(32 <= data.size <= 4096, "data.size from 32 to 4096", data.size)
    _expect(len(data.mean) == len(data.std) == 3 and min(data.std) > 0,
            "three values in data.mean, three positive ones in data.std", (data.mean, data.std))
    _expect(16 <= data.image_low <= data.image_high <= 4096, "16 <= data.image_low <= data.image_high <= 4096",
            (data.image_low, data.image_high))
    _expect(data.objects >= 1 and 0 < data.object_low <= data.object_high <= 1,
            "data.objects of at least 1 and 0 < data.object_low <= data.object_high <= 1",
            (data.objects, data.object_low, data.object_high))
    _expect(0 <= data.hardness <= 2, "data.hardness from 0 to 2", data.hardness)


def _expect(holds: bool, expected: str, found: object) -> None:
    if not holds:
        raise InvalidConfiguration(f"expected {expected}, found {found}")
