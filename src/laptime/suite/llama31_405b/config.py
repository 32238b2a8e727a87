"""Configurations of Llama 3.1 405B on C4: `full` is the reference, `mini` replaces sizes only. No torch."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from laptime.config import Parallel, Speed
from laptime.errors import InvalidConfiguration
from laptime.training.distributed.layout import Layout
from laptime.training.nn.llama_config import LlamaConfig, check_llama
from laptime.training.nn.llama_layout import llama_layout


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW (reference command). The rate is that of the reference batch; it grows with the batch (`base_rate`)."""

    reference_learning_rate: float = 8e-5
    end_learning_rate: float = 8e-7
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-5
    weight_decay: float = 0.1  # not of norms
    clip_norm: float = 1.0  # of the whole gradient


@dataclass(frozen=True)
class ScheduleConfig:
    """Steps at the reference batch: a linear warm-up, then a cosine. With another batch the samples are the same.

    Runs end long before the warm-up does: what a run sees is a ramp from almost 0.
    """

    reference_batch: int = 1152
    warmup_steps: int = 8000
    max_steps: int = 1_200_000
    limit_samples: int = 1_382_400_000  # a run gives up: 1,200,000 steps of 1,152


@dataclass(frozen=True)
class DataConfig:
    """Token files (`published.py`) in samples of `length` tokens and the one that follows."""

    length: int = 8192
    tokens: int = 32000  # ids of the tokenizer of the run; the checkpoint was trained with another one
    eval_samples: int = 5760  # the first of the evaluation file, in order
    eval_batch_size: int = 1  # samples at a time on each process
    start: bool = True  # False (a planted fault): random weights instead of the starting checkpoint
    # planted faults:
    shift_labels: bool = True  # False: the token to predict is the one that is seen
    keep_order: bool = True  # False: the tokens of a training sample are drawn in another order
    # only for generated data:
    articles: int = 0
    start_articles: int = 0  # others, that the starting checkpoint is trained on
    start_steps: int = 0
    start_low: float = 0.0  # window for the log perplexity of the starting checkpoint, with its own tokenizer
    start_high: float = 0.0


@dataclass(frozen=True)
class Llama405BConfig:
    """Everything about a run."""

    global_batch_size: int = 1152
    model: LlamaConfig = field(default_factory=lambda: LlamaConfig(
        layers=126, hidden=16384, intermediate=53248, heads=128, key_value_heads=8))  # published config.json
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    data: DataConfig = field(default_factory=DataConfig)
    parallel: Parallel = field(default_factory=Parallel)
    speed: Speed = field(default_factory=Speed)


def full() -> Llama405BConfig:
    """The reference at batch 1152: 313,000 samples of 8192 tokens, hours on hundreds of accelerators, with `parallel`
    as they need it (the reference: tensor=8, context=2, pipeline=18)."""
    return Llama405BConfig()


def mini() -> Llama405BConfig:
    """Two CPU cores, half a minute: shallow and narrow, short samples of generated articles."""
    reference = full()
    return replace(
        reference,
        global_batch_size=16,
        model=replace(reference.model, layers=2, hidden=128, intermediate=352, heads=4, key_value_heads=2, head_size=32,
                      vocabulary=512, rope_positions=128),
        optimizer=replace(reference.optimizer, reference_learning_rate=0.16, end_learning_rate=0.0016),
        schedule=replace(reference.schedule, reference_batch=16, limit_samples=4480),
        data=replace(reference.data, length=128, tokens=512, eval_samples=128, eval_batch_size=32, articles=3000,
                     start_articles=1500, start_steps=140, start_low=0.95, start_high=1.15),
    )


def smoke() -> Llama405BConfig:
    """A few seconds on one core: proves the chain, not the quality."""
    small = mini()
    return replace(
        small,
        global_batch_size=8,
        model=replace(small.model, hidden=64, intermediate=176, heads=4, head_size=16, vocabulary=320,
                      rope_positions=64),
        optimizer=replace(small.optimizer, reference_learning_rate=0.8, end_learning_rate=0.008),
        schedule=replace(small.schedule, reference_batch=8, limit_samples=1280),
        data=replace(small.data, length=64, tokens=320, eval_samples=32, eval_batch_size=16, articles=320,
                     start_articles=160, start_steps=60, start_low=1.0, start_high=5.0),
    )


PRESETS: Mapping[str, Callable[[], Llama405BConfig]] = {"full": full, "mini": mini, "smoke": smoke}


# Planted faults: what a target must tell apart from sound training (`laptime rcp faults`).
FAULTS: Mapping[str, tuple[str, ...]] = {
    "labels not shifted": ("data.shift_labels=false",),
    "order of tokens lost": ("data.keep_order=false",),
    "positions unknown": ("model.positions_known=false",),
    "starting checkpoint ignored": ("data.start=false",),
    "learning rate x10": (f"optimizer.reference_learning_rate={10 * mini().optimizer.reference_learning_rate:g}",),
}


def layout(config: Llama405BConfig) -> Layout:
    """How the network may be spread."""
    return llama_layout(config.model, config.data.length)


def base_rate(config: Llama405BConfig) -> float:
    """The reference rate times batch / reference batch: the number nearest to it that a checker's test accepts.

    The test multiplies: rate x reference batch == batch x reference rate, to the last bit.
    """
    reference, batch = config.schedule.reference_batch, config.global_batch_size
    wanted = batch * config.optimizer.reference_learning_rate
    near = wanted / reference
    candidates = (near, math.nextafter(near, 0.0), math.nextafter(near, 1.0))
    return next((rate for rate in candidates if rate * reference == wanted), near)


def scaled_steps(config: Llama405BConfig, steps: int) -> int:
    """Steps at the reference batch as steps at this one, rounded up."""
    return -(-steps * config.schedule.reference_batch // config.global_batch_size)


def validate(config: Llama405BConfig, processes: int) -> None:
    """Raises InvalidConfiguration for what `processes` that read samples of their own cannot run."""
    shares = processes * config.parallel.accumulation_steps
    if config.parallel.accumulation_steps < 1 or config.global_batch_size < 1 or config.global_batch_size % shares:
        raise InvalidConfiguration(
            f"expected a global_batch_size divisible by processes x accumulation_steps = {shares}, "
            f"found {config.global_batch_size}", hint="Change global_batch_size or parallel.")
    check_llama(config.model)
    optimizer, schedule, data = config.optimizer, config.schedule, config.data
    _expect(0 <= optimizer.beta1 < 1 and 0 <= optimizer.beta2 < 1, "optimizer.beta1 and optimizer.beta2 in [0, 1)",
            f"{optimizer.beta1} and {optimizer.beta2}")
    _expect(optimizer.clip_norm > 0 and optimizer.epsilon > 0, "optimizer.clip_norm and optimizer.epsilon above 0",
            f"{optimizer.clip_norm} and {optimizer.epsilon}")
    _expect(0 <= schedule.warmup_steps < schedule.max_steps, "schedule.warmup_steps from 0 to below schedule.max_steps",
            f"{schedule.warmup_steps} and {schedule.max_steps}")
    _expect(min(schedule.reference_batch, schedule.limit_samples) >= 1,
            "schedule.reference_batch and schedule.limit_samples of at least 1",
            f"{schedule.reference_batch} and {schedule.limit_samples}")
    _expect(min(data.length, data.eval_samples, data.eval_batch_size) >= 1,
            "data.length, data.eval_samples and data.eval_batch_size of at least 1",
            f"{data.length}, {data.eval_samples} and {data.eval_batch_size}")
    _expect(1 <= data.tokens <= config.model.vocabulary, f"data.tokens from 1 to model.vocabulary = "
            f"{config.model.vocabulary}", data.tokens)


def _expect(holds: bool, expected: str, found: object) -> None:
    if not holds:
        raise InvalidConfiguration(f"expected {expected}, found {found}")
