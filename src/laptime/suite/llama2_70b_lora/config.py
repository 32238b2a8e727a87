"""Configurations of Llama 2 70B with LoRA on GovReport: `full` is the reference, `mini` replaces sizes. No torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from laptime.config import Parallel, Speed
from laptime.errors import InvalidConfiguration
from laptime.training.distributed.layout import Layout, Split
from laptime.training.nn.llama_config import LlamaConfig, check_llama
from laptime.training.nn.llama_layout import llama_layout


@dataclass(frozen=True)
class AdapterConfig:
    """Low-rank adapters of the fused query, key and value product and of the output product (rules; reference command).

    What an adapter adds is alpha / rank times up(down(dropout(x))).
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.1


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW. Defaults: reference command; moments as in its library."""

    base_learning_rate: float = 4e-4
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 1e-4  # rules, hyperparameter table
    clip_norm: float = 0.3  # of the whole gradient; rules, hyperparameter table


@dataclass(frozen=True)
class ScheduleConfig:
    """Half a cosine from the base rate at step 0 to 0 at `max_steps`."""

    max_steps: int = 1024
    limit_steps: int = 0  # a run gives up here; 0: at `max_steps`


@dataclass(frozen=True)
class DataConfig:
    """Packed samples of `length` tokens (`published.py`)."""

    train_samples: int = 3901  # as every published log says
    eval_samples: int = 173
    length: int = 8192
    eval_batch_size: int = 1  # samples at a time on each process
    start: bool = True  # False (a planted fault): random frozen weights instead of the published ones
    # planted faults:
    shift_labels: bool = True  # False: the token to predict is the one that is seen
    keep_order: bool = True  # False: the tokens of a training sample are drawn in another order
    # only for generated data:
    reports: int = 0
    articles: int = 0  # that the frozen weights are trained on
    start_steps: int = 0
    start_low: float = 0.0  # window for the log perplexity of the frozen weights on articles
    start_high: float = 0.0


@dataclass(frozen=True)
class LoraConfig:
    """Everything about a run."""

    global_batch_size: int = 8
    model: LlamaConfig = field(default_factory=lambda: LlamaConfig(
        layers=80, hidden=8192, intermediate=28672, heads=64, key_value_heads=8, vocabulary=32000, rope_base=10000.0,
        rope_factor=1.0))  # published config.json; positions up to 8192 without scaling
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    data: DataConfig = field(default_factory=DataConfig)
    parallel: Parallel = field(default_factory=Parallel)
    speed: Speed = field(default_factory=Speed)


def full() -> LoraConfig:
    """The reference at its convergence point of batch 8: 3,100 samples of 8192 tokens, half an hour on eight
    accelerators of 80 GB with `parallel.shard=8` and `parallel.checkpointing=blocks`."""
    return LoraConfig()


def mini() -> LoraConfig:
    """Two CPU cores, half a minute: shallow and narrow, short samples of generated reports."""
    reference = full()
    return replace(
        reference,
        model=replace(reference.model, layers=2, hidden=128, intermediate=352, heads=4, key_value_heads=2, head_size=32,
                      vocabulary=640, rope_positions=256),
        optimizer=replace(reference.optimizer, base_learning_rate=1.5e-2),
        schedule=replace(reference.schedule, max_steps=256, limit_steps=112),
        data=replace(reference.data, train_samples=512, eval_samples=64, length=256, eval_batch_size=16, reports=1100,
                     articles=1800, start_steps=300, start_low=0.7, start_high=0.95),
    )


def smoke() -> LoraConfig:
    """A few seconds on one core: proves the chain, not the quality."""
    small = mini()
    return replace(
        small,
        model=replace(small.model, hidden=64, intermediate=176, head_size=16, vocabulary=512, rope_positions=224),
        schedule=replace(small.schedule, max_steps=64, limit_steps=0),
        data=replace(small.data, train_samples=192, eval_samples=12, length=224, reports=400, articles=200,
                     start_steps=120, start_low=1.0, start_high=4.0),
    )


PRESETS: Mapping[str, Callable[[], LoraConfig]] = {"full": full, "mini": mini, "smoke": smoke}


# Planted faults: what a target must tell apart from sound training (`laptime rcp faults`).
FAULTS: Mapping[str, tuple[str, ...]] = {
    "labels not shifted": ("data.shift_labels=false",),
    "order of tokens lost": ("data.keep_order=false",),
    "future seen while training": ("model.future_hidden=false",),
    "frozen weights not loaded": ("data.start=false",),
    "learning rate x10": (f"optimizer.base_learning_rate={10 * mini().optimizer.base_learning_rate:g}",),
}


def layout(config: LoraConfig) -> Layout:
    """How the network may be spread: the frozen one as every Llama, adapters with the products that they belong to."""
    frozen, attention = llama_layout(config.model, config.data.length), "model.layers.*.self_attn"
    return replace(frozen, splits=(
        *frozen.splits,
        Split(f"{attention}.qkv_adapter.down", "partial"),
        *(Split(f"{attention}.qkv_adapter.up.{name}", "columns") for name in ("q", "k", "v")),
        Split(f"{attention}.o_adapter.dropout", "columns"),
        Split(f"{attention}.o_adapter.down", "rows"),
        Split(f"{attention}.o_adapter.up.o", "sequence"),
    ))


def validate(config: LoraConfig, processes: int) -> None:
    """Raises InvalidConfiguration for what `processes` that read samples of their own cannot run."""
    shares = processes * config.parallel.accumulation_steps
    if config.parallel.accumulation_steps < 1 or config.global_batch_size < 1 or config.global_batch_size % shares:
        raise InvalidConfiguration(
            f"expected a global_batch_size divisible by processes x accumulation_steps = {shares}, "
            f"found {config.global_batch_size}", hint="Change global_batch_size or parallel.")
    check_llama(config.model)
    adapter, optimizer, schedule, data = config.adapter, config.optimizer, config.schedule, config.data
    _expect(adapter.rank >= 1 and adapter.alpha > 0 and 0 <= adapter.dropout < 1,
            "adapter.rank of at least 1, adapter.alpha above 0 and adapter.dropout in [0, 1)",
            f"{adapter.rank}, {adapter.alpha} and {adapter.dropout:g}")
    _expect(0 <= optimizer.beta1 < 1 and 0 <= optimizer.beta2 < 1, "optimizer.beta1 and optimizer.beta2 in [0, 1)",
            f"{optimizer.beta1} and {optimizer.beta2}")
    _expect(optimizer.clip_norm > 0 and optimizer.epsilon > 0, "optimizer.clip_norm and optimizer.epsilon above 0",
            f"{optimizer.clip_norm} and {optimizer.epsilon}")
    _expect(1 <= limit_steps(schedule) <= schedule.max_steps, "schedule.max_steps of at least 1 and "
            "schedule.limit_steps from 0 to schedule.max_steps", f"{schedule.max_steps} and {schedule.limit_steps}")
    _expect(data.length >= 2 and min(data.train_samples, data.eval_samples, data.eval_batch_size) >= 1,
            "data.length of at least 2, data.train_samples, data.eval_samples and data.eval_batch_size of at least 1",
            f"{data.length}, {data.train_samples}, {data.eval_samples} and {data.eval_batch_size}")


def limit_steps(schedule: ScheduleConfig) -> int:
    """Where a run gives up."""
    return schedule.limit_steps or schedule.max_steps


def _expect(holds: bool, expected: str, found: object) -> None:
    if not holds:
        raise InvalidConfiguration(f"expected {expected}, found {found}")
