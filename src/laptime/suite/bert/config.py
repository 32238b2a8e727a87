"""Configurations of BERT-large on Wikipedia: `full` is the reference, `mini` replaces sizes only. No torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from laptime.config import Parallel, Speed
from laptime.errors import InvalidConfiguration
from laptime.training.distributed.layout import Layout, Split


@dataclass(frozen=True)
class ModelConfig:
    """The network (published `bert_config.json` of BERT-large, uncased)."""

    layers: int = 24
    hidden: int = 1024
    heads: int = 16
    intermediate: int = 4096
    positions: int = 512
    segments: int = 2
    vocabulary: int = 30522
    dropout: float = 0.1  # of embeddings and of what each half of a layer adds
    attention_dropout: float = 0.1  # of attention weights
    norm_epsilon: float = 1e-12
    initial_std: float = 0.02
    start: bool = True  # False (a planted fault): random weights instead of the starting checkpoint
    positions_known: bool = True  # False (a planted fault): no position embeddings


@dataclass(frozen=True)
class OptimizerConfig:
    """LAMB. Defaults: the reference's command for a global batch of 8192."""

    base_learning_rate: float = 0.00288293
    beta1: float = 0.88
    beta2: float = 0.88
    epsilon: float = 1e-6
    weight_decay: float = 0.0166629
    clip_norm: float = 1.0  # of the whole gradient
    adapt: bool = True  # False: no trust ratios


@dataclass(frozen=True)
class ScheduleConfig:
    """Decay to 0 over `train_steps` from step 0 on, and before that a warm-up that may have begun before step 0."""

    train_steps: int = 600
    warmup_steps: int = 287
    start_warmup_step: int = -76
    power: float = 1.0


@dataclass(frozen=True)
class DataConfig:
    """Samples of at most `length` tokens, at most `predictions` of them masked; `checksums`: "file=MD5" of sources."""

    train_samples: int = 156725653  # no source at hand confirms it: preparing the data counts and says if it differs
    eval_samples: int = 10000
    length: int = 512
    predictions: int = 76
    evaluate_training: bool = False  # True (v0.7): the evaluation samples are the first ones of the training set
    eval_batch_size: int = 256  # per process
    checksums: tuple[str, ...] = ("vocab.txt=64800d5d8528ce344256daf115d4965e",
                                  "tf1_ckpt/model.ckpt-28252.data-00000-of-00001=50797acd537880bfb5a7ade80d976129")
    # how samples are made from text (the reference's data preparation):
    masked: float = 0.15
    short_probability: float = 0.1
    copies: int = 10
    # planted faults:
    shuffle_labels: bool = False  # the words to guess are those of other samples
    keep_masks: bool = True  # False: nothing is masked while training
    # only for generated data:
    articles: int = 0
    start_steps: int = 0  # of the training that makes the starting checkpoint
    start_length: int = 0  # of its samples, in tokens
    start_low: float = 0.0  # window for the accuracy of the starting checkpoint
    start_high: float = 1.0


@dataclass(frozen=True)
class BertConfig:
    """Everything about a run. `loss_span`: samples over which the masked-word loss is normalised (the reference: those
    that one replica sees at a time)."""

    global_batch_size: int = 8192
    loss_span: int = 64  # reference command: 8192 per step over 128 replicas
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    data: DataConfig = field(default_factory=DataConfig)
    parallel: Parallel = field(default_factory=Parallel)
    speed: Speed = field(default_factory=Speed)


def full() -> BertConfig:
    """The reference: batch 8192, LAMB, 600 steps (reference README, its large command)."""
    return BertConfig()


def v0_7() -> BertConfig:
    """The first round: accuracy is taken on the first 10,000 samples of the training set."""
    reference = full()
    return replace(reference, data=replace(reference.data, evaluate_training=True))


def mini() -> BertConfig:
    """Two CPU cores, about a minute: shallow and narrow, short samples of generated articles."""
    reference = full()
    return replace(
        reference,
        global_batch_size=32,
        loss_span=32,
        model=replace(reference.model, layers=2, hidden=64, heads=2, intermediate=256, positions=64, vocabulary=600,
                      initial_std=0.08),
        optimizer=replace(reference.optimizer, base_learning_rate=0.01, beta1=0.9, beta2=0.98, weight_decay=0.01),
        schedule=replace(reference.schedule, train_steps=700, warmup_steps=0, start_warmup_step=0),
        data=replace(reference.data, train_samples=12800, eval_samples=512, length=64, predictions=10, checksums=(),
                     copies=3, articles=3000, start_steps=1200, start_length=32, start_low=0.20, start_high=0.35,
                     eval_batch_size=128),
    )


def smoke() -> BertConfig:
    """A few seconds on one core: proves the chain, not the quality."""
    small = mini()
    return replace(
        small,
        global_batch_size=16,
        loss_span=8,
        model=replace(small.model, vocabulary=300, positions=48),
        schedule=replace(small.schedule, train_steps=240),
        data=replace(small.data, train_samples=512, eval_samples=128, length=48, predictions=8, copies=1,
                     articles=300, start_steps=60, start_low=0.03, start_high=0.12, eval_batch_size=64),
    )


PRESETS: Mapping[str, Callable[[], BertConfig]] = {"full": full, "v0.7": v0_7, "mini": mini, "smoke": smoke}


def layout(config: BertConfig) -> Layout:
    """How the network can be spread over processes: layers by heads and inner columns, depth by layers.

    Sequences are packed, without padding, so their positions cannot be shared.
    """
    layer = "bert.encoder.layer_*"
    return Layout(
        embedding="bert.embeddings",
        blocks=tuple(f"bert.encoder.layer_{i}" for i in range(config.model.layers)),
        shared=("bert.embeddings.word_embeddings.weight",),
        splits=(Split(f"{layer}.attention.self", "enter", counts=("heads",)),
                *(Split(f"{layer}.attention.self.{name}", "columns") for name in ("query", "key", "value", "dropout")),
                Split(f"{layer}.attention.output.dense", "rows"), Split(f"{layer}.intermediate.dense", "enter"),
                Split(f"{layer}.intermediate.dense", "columns"), Split(f"{layer}.output.dense", "rows")),
        divisible={"model.heads": config.model.heads, "model.intermediate": config.model.intermediate})


# Planted faults: what a target must tell apart from sound training (`laptime rcp faults`).
FAULTS: Mapping[str, tuple[str, ...]] = {
    "shuffled words": ("data.shuffle_labels=true",),
    "nothing masked": ("data.keep_masks=false",),
    "positions unknown": ("model.positions_known=false",),
    "starting checkpoint ignored": ("model.start=false",),
    "learning rate x10": (f"optimizer.base_learning_rate={10 * mini().optimizer.base_learning_rate:g}",),
}


def validate(config: BertConfig, processes: int) -> None:
    """Raises InvalidConfiguration for what cannot be run on `processes` processes, before anything is built."""
    shares = processes * config.parallel.accumulation_steps
    if config.parallel.accumulation_steps < 1 or config.global_batch_size < 1 or config.global_batch_size % shares:
        raise InvalidConfiguration(
            f"expected a global_batch_size divisible by processes x accumulation_steps = {shares}, "
            f"found {config.global_batch_size}", hint="Change global_batch_size or parallel.accumulation_steps.")
    if config.loss_span < 1 or config.global_batch_size % config.loss_span:
        raise InvalidConfiguration(f"expected a loss_span that divides global_batch_size = {config.global_batch_size}, "
                                   f"found {config.loss_span}", hint="Change loss_span.")
    if config.global_batch_size > config.data.train_samples:
        raise InvalidConfiguration(f"expected a global_batch_size of at most data.train_samples = "
                                   f"{config.data.train_samples}, found {config.global_batch_size}")
    _check_model(config.model)
    _check_optimizer(config.optimizer, config.schedule)
    _check_data(config.data, config.model)


def _check_model(model: ModelConfig) -> None:
    sizes = ("layers", "hidden", "heads", "intermediate", "positions", "segments")
    _expect(all(getattr(model, name) >= 1 for name in sizes) and model.hidden % model.heads == 0,
            f"model.{', model.'.join(sizes)} of at least 1 and heads that divide hidden",
            ", ".join(str(getattr(model, name)) for name in sizes))
    _expect(6 <= model.vocabulary <= 65535, "model.vocabulary of 6 to 65535", model.vocabulary)
    _expect(0 <= model.dropout < 1 and 0 <= model.attention_dropout < 1, "dropout in [0, 1)",
            f"{model.dropout} and {model.attention_dropout}")


def _check_optimizer(optimizer: OptimizerConfig, schedule: ScheduleConfig) -> None:
    _expect(0 <= optimizer.beta1 < 1 and 0 <= optimizer.beta2 < 1, "optimizer.beta1 and optimizer.beta2 in [0, 1)",
            f"{optimizer.beta1} and {optimizer.beta2}")
    _expect(optimizer.clip_norm > 0 and optimizer.epsilon >= 0, "optimizer.clip_norm > 0 and optimizer.epsilon >= 0",
            f"{optimizer.clip_norm} and {optimizer.epsilon}")
    _expect(schedule.train_steps >= 1 and schedule.warmup_steps >= 0,
            "schedule.train_steps of at least 1 and schedule.warmup_steps of at least 0",
            f"{schedule.train_steps} and {schedule.warmup_steps}")


def _check_data(data: DataConfig, model: ModelConfig) -> None:
    _expect(8 <= data.length <= model.positions, f"data.length from 8 to model.positions = {model.positions}",
            data.length)
    _expect(1 <= data.predictions < data.length, "data.predictions from 1 to below data.length", data.predictions)
    _expect(min(data.train_samples, data.eval_samples, data.eval_batch_size, data.copies) >= 1,
            "data.train_samples, data.eval_samples, data.eval_batch_size and data.copies of at least 1",
            f"{data.train_samples}, {data.eval_samples}, {data.eval_batch_size} and {data.copies}")
    _expect(0 < data.masked < 1 and 0 <= data.short_probability <= 1,
            "data.masked and data.short_probability from 0 to 1", f"{data.masked} and {data.short_probability}")


def _expect(holds: bool, expected: str, found: object) -> None:
    if not holds:
        raise InvalidConfiguration(f"expected {expected}, found {found}")
