"""Configurations of GPT-3 175B on C4: `full` is the reference, `mini` replaces sizes only. No torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from laptime.config import Parallel, Speed
from laptime.errors import InvalidConfiguration
from laptime.training.distributed.layout import Layout, Split

REFERENCE_BATCH = 1536  # sequences per step of the training that made the starting checkpoint


@dataclass(frozen=True)
class ModelConfig:
    """The network (Brown et al. 2020, table 2.1, without sparse attention).

    `vocabulary`: rows of the embedding, padding included; `tokens`: numbers that the tokenizer gives.
    """

    layers: int = 96
    hidden: int = 12288
    heads: int = 96
    intermediate: int = 49152
    vocabulary: int = 51200  # reference: 50257 rounded up
    tokens: int = 50257
    norm_epsilon: float = 1e-5
    initial_std: float = 0.006  # of all weights; only seen where no checkpoint is loaded
    start: bool = True  # False (a planted fault): random weights instead of the starting checkpoint
    positions_known: bool = True  # False (a planted fault): no position embeddings


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW on every parameter (reference command). The rate follows from the batch: 2e-5 to 3072, 3e-5 from 4096."""

    base_learning_rate: float = 2e-5
    end_learning_rate: float = 2e-6  # rules: a tenth of the base
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    weight_decay: float = 0.1
    clip_norm: float = 1.0  # of the whole gradient


@dataclass(frozen=True)
class ScheduleConfig:
    """Warm-up and cosine in sequences from the beginning of all training; a run begins where its checkpoint ends."""

    warmup_sequences: int = 265 * REFERENCE_BATCH  # reference command: 407,040
    decay_sequences: int = 108600 * REFERENCE_BATCH  # reference command: 166,809,600
    start_sequences: int = 4000 * REFERENCE_BATCH  # seen by the checkpoint: 6,144,000
    limit_sequences: int = 20_000_000  # of a run, reference command: train-samples


@dataclass(frozen=True)
class DataConfig:
    """Token files (`published.py`) read in windows of `length` tokens."""

    length: int = 2048
    eval_tokens: int = 11_590_004  # that the validation set asks to predict, as the reference logs it
    eval_batch_size: int = 1  # sequences at a time on each process
    # planted faults:
    shuffle_labels: bool = False  # the tokens to predict are those of other places
    shift_labels: bool = True  # False: the token to predict is the one that is seen
    start_batch: int = REFERENCE_BATCH  # sequences per step of the training that made the checkpoint
    start_low: float = 2.77635  # log perplexity of the checkpoint: 2.7767 +- 0.00035 in 16 loads (reference)
    start_high: float = 2.77705
    # only for generated data:
    articles: int = 0
    start_rate: float = 0.0  # learning rate of the training that makes the checkpoint


@dataclass(frozen=True)
class Gpt3Config:
    """Everything about a run."""

    global_batch_size: int = REFERENCE_BATCH
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    data: DataConfig = field(default_factory=DataConfig)
    parallel: Parallel = field(default_factory=Parallel)
    speed: Speed = field(default_factory=Speed)


def full() -> Gpt3Config:
    """The reference: 175 billion parameters, batch 1536."""
    return Gpt3Config()


def mini() -> Gpt3Config:
    """Two CPU cores, about half a minute: shallow and narrow, short windows of generated articles."""
    reference = full()
    return replace(
        reference,
        global_batch_size=16,
        model=replace(reference.model, layers=2, hidden=96, heads=3, intermediate=384, vocabulary=704, tokens=700,
                      initial_std=0.06),
        optimizer=replace(reference.optimizer, base_learning_rate=2e-3, end_learning_rate=2e-4),
        schedule=replace(reference.schedule, warmup_sequences=800, decay_sequences=16000, start_sequences=2400,
                         limit_sequences=3200),
        data=replace(reference.data, length=128, eval_tokens=8000, eval_batch_size=16, articles=5200, start_batch=16,
                     start_rate=6e-3, start_low=1.15, start_high=1.45),
    )


def smoke() -> Gpt3Config:
    """A few seconds on one core: proves the chain, not the quality."""
    small = mini()
    return replace(
        small,
        model=replace(small.model, hidden=48, heads=2, intermediate=192, vocabulary=384, tokens=380, initial_std=0.08),
        optimizer=replace(small.optimizer, base_learning_rate=6e-3, end_learning_rate=6e-4),
        schedule=replace(small.schedule, warmup_sequences=160, decay_sequences=6400, start_sequences=480,
                         limit_sequences=2000),
        data=replace(small.data, length=64, eval_tokens=4000, articles=700, start_low=3.0, start_high=5.0),
    )


PRESETS: Mapping[str, Callable[[], Gpt3Config]] = {"full": full, "mini": mini, "smoke": smoke}


# Planted faults: what a target must tell apart from sound training (`laptime rcp faults`).
FAULTS: Mapping[str, tuple[str, ...]] = {
    "shuffled words": ("data.shuffle_labels=true",),
    "words not shifted": ("data.shift_labels=false",),
    "positions unknown": ("model.positions_known=false",),
    "starting checkpoint ignored": ("model.start=false",),
    "learning rate x10": (f"optimizer.base_learning_rate={10 * mini().optimizer.base_learning_rate:g}",),
}


def validate(config: Gpt3Config, processes: int) -> None:
    """Raises InvalidConfiguration for what cannot be run on `processes` processes that read samples of their own."""
    shares = processes * config.parallel.accumulation_steps
    if config.parallel.accumulation_steps < 1 or config.global_batch_size < 1 or config.global_batch_size % shares:
        raise InvalidConfiguration(
            f"expected a global_batch_size divisible by processes x accumulation_steps = {shares}, "
            f"found {config.global_batch_size}", hint="Change global_batch_size or parallel.accumulation_steps.")
    _check_model(config.model)
    _check_optimizer(config.optimizer)
    _check_schedule(config.schedule)
    _check_data(config.data)


def layout(config: Gpt3Config) -> Layout:
    """How the network may be spread (docs/parallel.md).

    Rows of the fused matrix lie head by head, so that a part of them is whole heads.
    """
    return Layout(
        embedding="embedding", blocks=tuple(f"blocks.{i}" for i in range(config.model.layers)),
        splits=(
            Split("embedding.words", "vocabulary"),
            Split("blocks.*.attention", "enter", counts=("heads",)),
            Split("blocks.*.attention.qkv", "columns"), Split("blocks.*.attention.output", "rows"),
            Split("blocks.*.mlp", "enter"), Split("blocks.*.mlp.up", "columns"), Split("blocks.*.mlp.down", "rows"),
            Split("blocks.*.norm1", "sequence"), Split("blocks.*.norm2", "sequence"), Split("norm", "sequence"),
            Split("head", "enter"),
        ),
        shared=("embedding.words.weight",),
        divisible={"model.heads": config.model.heads, "model.vocabulary": config.model.vocabulary,
                   "model.intermediate": config.model.intermediate},
        length=config.data.length,
        float8={"blocks.*.attention.qkv": (config.model.hidden, 3 * config.model.hidden),
                "blocks.*.attention.output": (config.model.hidden, config.model.hidden),
                "blocks.*.mlp.up": (config.model.hidden, config.model.intermediate),
                "blocks.*.mlp.down": (config.model.intermediate, config.model.hidden)})


def _check_model(model: ModelConfig) -> None:
    sizes = ("layers", "hidden", "heads", "intermediate")
    _expect(all(getattr(model, name) >= 1 for name in sizes) and model.hidden % model.heads == 0,
            f"model.{', model.'.join(sizes)} of at least 1 and heads that divide hidden",
            ", ".join(str(getattr(model, name)) for name in sizes))
    _expect(1 <= model.tokens <= model.vocabulary, "1 <= model.tokens <= model.vocabulary",
            f"{model.tokens} and {model.vocabulary}")


def _check_optimizer(optimizer: OptimizerConfig) -> None:
    _expect(0 <= optimizer.beta1 < 1 and 0 <= optimizer.beta2 < 1, "optimizer.beta1 and optimizer.beta2 in [0, 1)",
            f"{optimizer.beta1} and {optimizer.beta2}")
    _expect(optimizer.clip_norm > 0 and optimizer.epsilon >= 0, "optimizer.clip_norm > 0 and optimizer.epsilon >= 0",
            f"{optimizer.clip_norm} and {optimizer.epsilon}")


def _check_schedule(schedule: ScheduleConfig) -> None:
    _expect(0 <= schedule.warmup_sequences < schedule.decay_sequences,
            "0 <= schedule.warmup_sequences < schedule.decay_sequences",
            f"{schedule.warmup_sequences} and {schedule.decay_sequences}")
    _expect(schedule.start_sequences >= 0 and schedule.limit_sequences >= 1,
            "schedule.start_sequences of at least 0 and schedule.limit_sequences of at least 1",
            f"{schedule.start_sequences} and {schedule.limit_sequences}")


def _check_data(data: DataConfig) -> None:
    _expect(data.length >= 2, "data.length of at least 2", data.length)
    _expect(data.eval_tokens >= 1 and data.eval_batch_size >= 1 and data.start_batch >= 1,
            "data.eval_tokens, data.eval_batch_size and data.start_batch of at least 1",
            f"{data.eval_tokens}, {data.eval_batch_size} and {data.start_batch}")


def _expect(holds: bool, expected: str, found: object) -> None:
    if not holds:
        raise InvalidConfiguration(f"expected {expected}, found {found}")
