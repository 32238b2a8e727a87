"""Configurations of Llama 3.1 8B on C4: `full` is the reference, `mini` replaces sizes only. No torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from laptime.config import Parallel, Speed
from laptime.errors import InvalidConfiguration
from laptime.training.distributed.layout import Layout
from laptime.training.nn.llama_config import LlamaConfig, check_llama
from laptime.training.nn.llama_layout import llama_layout


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW. Defaults: reference command; the rate: reference convergence point of batch 32."""

    base_learning_rate: float = 8e-4
    end_share: float = 0.1  # of the base rate, at the end of the schedule (rules)
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-5
    weight_decay: float = 0.1  # not of norms
    clip_norm: float = 1.0  # of the whole gradient


@dataclass(frozen=True)
class ScheduleConfig:
    """Linear warm-up, then a cosine that ends at `max_steps`; a run gives up after `limit_steps`."""

    warmup_steps: int = 128  # convergence point of batch 32: 4,096 samples
    max_steps: int = 1_200_000
    limit_steps: int = 1_200_000


@dataclass(frozen=True)
class DataConfig:
    """Token files (`published.py`) in samples of `length` tokens and the one that follows."""

    length: int = 8192
    eval_samples: int = 1024  # the first of the evaluation file, in order
    eval_batch_size: int = 1  # samples at a time on each process
    # planted faults:
    shift_labels: bool = True  # False: the token to predict is the one that is seen
    keep_order: bool = True  # False: the tokens of a training sample are drawn in another order
    # only for generated data:
    articles: int = 0


@dataclass(frozen=True)
class Llama8BConfig:
    """Everything about a run."""

    global_batch_size: int = 32
    model: LlamaConfig = field(default_factory=LlamaConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    data: DataConfig = field(default_factory=DataConfig)
    parallel: Parallel = field(default_factory=Parallel)
    speed: Speed = field(default_factory=Speed)


def full() -> Llama8BConfig:
    """The reference at its convergence point of batch 32: 180,000 samples of 8192 tokens, hours on eight accelerators
    of 192 GB; smaller ones need `parallel.shard` or `parallel.tensor`."""
    return Llama8BConfig()


def mini() -> Llama8BConfig:
    """Two CPU cores, half a minute: shallow and narrow, short samples of generated articles."""
    reference = full()
    return replace(
        reference,
        global_batch_size=16,
        model=replace(reference.model, layers=2, hidden=128, intermediate=352, heads=4, key_value_heads=2, head_size=32,
                      vocabulary=512, rope_positions=128),
        optimizer=replace(reference.optimizer, base_learning_rate=5e-3),
        schedule=replace(reference.schedule, warmup_steps=40, limit_steps=260),
        data=replace(reference.data, length=128, eval_samples=128, eval_batch_size=32, articles=3000),
    )


def smoke() -> Llama8BConfig:
    """A few seconds on one core: proves the chain, not the quality."""
    small = mini()
    return replace(
        small,
        global_batch_size=8,
        model=replace(small.model, hidden=64, intermediate=176, heads=4, head_size=16, vocabulary=320,
                      rope_positions=64),
        schedule=replace(small.schedule, warmup_steps=10, limit_steps=160),
        data=replace(small.data, length=64, eval_samples=32, eval_batch_size=16, articles=320),
    )


PRESETS: Mapping[str, Callable[[], Llama8BConfig]] = {"full": full, "mini": mini, "smoke": smoke}


# Planted faults: what a target must tell apart from sound training (`laptime rcp faults`).
FAULTS: Mapping[str, tuple[str, ...]] = {
    "labels not shifted": ("data.shift_labels=false",),
    "order of tokens lost": ("data.keep_order=false",),
    "positions unknown": ("model.positions_known=false",),
    "future seen while training": ("model.future_hidden=false",),
    "learning rate x10": (f"optimizer.base_learning_rate={10 * mini().optimizer.base_learning_rate:g}",),
}


def layout(config: Llama8BConfig) -> Layout:
    """How the network may be spread."""
    return llama_layout(config.model, config.data.length)


def validate(config: Llama8BConfig, processes: int) -> None:
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
    _expect(0 <= optimizer.end_share <= 1, "optimizer.end_share from 0 to 1", optimizer.end_share)
    _expect(0 <= schedule.warmup_steps < schedule.max_steps, "schedule.warmup_steps from 0 to below schedule.max_steps",
            f"{schedule.warmup_steps} and {schedule.max_steps}")
    _expect(schedule.limit_steps >= 1, "schedule.limit_steps of at least 1", schedule.limit_steps)
    _expect(min(data.length, data.eval_samples, data.eval_batch_size) >= 1,
            "data.length, data.eval_samples and data.eval_batch_size of at least 1",
            f"{data.length}, {data.eval_samples} and {data.eval_batch_size}")


def _expect(holds: bool, expected: str, found: object) -> None:
    if not holds:
        raise InvalidConfiguration(f"expected {expected}, found {found}")
