"""Configurations of RNN-T on LibriSpeech: `full` is the reference, `mini` replaces sizes only. No torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from laptime.config import Parallel, Speed
from laptime.errors import InvalidConfiguration


@dataclass(frozen=True)
class ModelConfig:
    """The network. `vocabulary`: pieces of text; blank is one more class after them."""

    encoder_width: int = 1024
    pre_layers: int = 2
    post_layers: int = 3
    time_stack: int = 2  # neighbouring steps made one between the two parts of the encoder
    prediction_width: int = 512
    prediction_layers: int = 2
    joint_width: int = 512
    vocabulary: int = 1023
    encoder_dropout: float = 0.1
    prediction_dropout: float = 0.3
    joint_dropout: float = 0.3
    forget_bias: float = 1.0
    hidden_bias_scale: float = 0.0  # of the forget part of the second bias
    initialisation_scale: float = 0.5  # of all LSTM tensors, the forget bias included
    cells_at_a_time: int = 1 << 18  # of the joint network; more are recomputed in the backward pass to save memory
    hears_labels: bool = True  # False (a planted fault): the prediction network sees no labels


@dataclass(frozen=True)
class OptimizerConfig:
    """LAMB, with decay on every tensor. `clip_norm` 0: no clipping."""

    base_learning_rate: float = 0.004  # reference command for batch 1024
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-9
    weight_decay: float = 0.001
    clip_norm: float = 1.0


@dataclass(frozen=True)
class ScheduleConfig:
    """Linear warm-up, hold, then the rate times `gamma` per epoch, never below `minimum`."""

    warmup_epochs: int = 6
    hold_epochs: int = 40
    gamma: float = 0.935
    minimum: float = 1e-5
    train_epochs: int = 100


@dataclass(frozen=True)
class DataConfig:
    """Speech. Times in seconds, frequencies in Hz, sizes in samples or frames."""

    train_splits: tuple[str, ...] = ("train-clean-100", "train-clean-360", "train-other-500")
    train_utterances: tuple[int, ...] = (28539, 104014, 148688)  # of each split, before long ones are left out
    eval_split: str = "dev-clean"
    eval_utterances: int = 2703
    sample_rate: int = 16000
    max_duration: float = 16.7  # of training utterances
    buckets: int = 1  # 1: plain shuffle
    speed_low: float = 0.85
    speed_high: float = 1.15
    resample_lobes: int = 16  # of the windowed sinc, on each side
    silence_db: float = -60.0  # below the loudest window; what is quieter at the ends is cut off
    silence_window: int = 2048  # samples
    dither: float = 1e-5
    preemphasis: float = 0.97
    fft: int = 512
    window: int = 320  # 20 ms
    step: int = 160  # 10 ms
    mels: int = 80
    splice: int = 3  # frames stacked, and every third kept
    frequency_masks: int = 2
    frequency_mask_low: int = 0
    frequency_mask_high: int = 20
    time_masks: int = 10
    time_mask_low: float = 0.0
    time_mask_high: float = 0.03  # of the frames of an utterance
    max_symbols_per_frame: int = 30
    max_symbols: int = 300
    eval_batch_size: int = 128  # per process
    cache_bytes: int = 1 << 30  # per process; evaluation features up to this size stay in memory after their first use
    augment: bool = True  # False (a planted fault): neither speed perturbation nor masks in training
    normalise: bool = True  # False (a planted fault): features keep the loudness of each utterance
    shuffle_transcripts: bool = False  # a planted fault
    # only for generated data:
    words_low: int = 2
    words_high: int = 5
    spread: float = 1.0  # how much more evaluation speakers differ than training speakers


@dataclass(frozen=True)
class RNNTConfig:
    """Everything about a run. `ema_factor`: of the averaged weights that are evaluated."""

    global_batch_size: int = 1024
    ema_factor: float = 0.999
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    data: DataConfig = field(default_factory=DataConfig)
    parallel: Parallel = field(default_factory=Parallel)
    speed: Speed = field(default_factory=lambda: Speed(compile="off"))  # recurrent kernels and lengths of any size


def full() -> RNNTConfig:
    """The reference: batch 1024 on 8 accelerators with accumulation 8, up to 100 epochs (reference train.sh)."""
    return replace(RNNTConfig(), parallel=Parallel(accumulation_steps=8))


def v1_0() -> RNNTConfig:
    """The first round: six buckets of duration (rules v1.0); later rounds leave their number free."""
    reference = full()
    return replace(reference, data=replace(reference.data, buckets=6))


def mini() -> RNNTConfig:
    """Two CPU cores, about a minute: narrow and shallow, generated speech of number words."""
    reference = full()
    return replace(
        reference,
        global_batch_size=16,
        ema_factor=0.97,
        parallel=Parallel(),
        model=replace(reference.model, encoder_width=96, pre_layers=1, post_layers=1, prediction_width=64,
                      prediction_layers=1, joint_width=96, vocabulary=24),
        optimizer=replace(reference.optimizer, base_learning_rate=0.015),
        schedule=replace(reference.schedule, warmup_epochs=1, hold_epochs=4, gamma=0.8, train_epochs=10),
        data=replace(reference.data, train_utterances=(128, 384, 512), eval_utterances=160, resample_lobes=1,
                     eval_batch_size=160, words_low=2, words_high=4),
    )


def smoke() -> RNNTConfig:
    """A few seconds on one core: proves the chain, not the quality."""
    small = mini()
    return replace(
        small,
        global_batch_size=8,
        ema_factor=0.9,
        model=replace(small.model, encoder_width=64, prediction_width=32, joint_width=48, encoder_dropout=0.0,
                      prediction_dropout=0.0, joint_dropout=0.0),
        optimizer=replace(small.optimizer, base_learning_rate=0.02),
        schedule=replace(small.schedule, warmup_epochs=1, hold_epochs=19, train_epochs=20),
        data=replace(small.data, train_utterances=(16, 48, 64), eval_utterances=32, words_low=2, words_high=2,
                     eval_batch_size=32, spread=0.0),
    )


PRESETS: Mapping[str, Callable[[], RNNTConfig]] = {"full": full, "v1.0": v1_0, "mini": mini, "smoke": smoke}


# Planted faults: what a target must tell apart from sound training (`laptime rcp faults`).
FAULTS: Mapping[str, tuple[str, ...]] = {
    "shuffled transcripts": ("data.shuffle_transcripts=true",),
    "learning rate x10": (f"optimizer.base_learning_rate={10 * mini().optimizer.base_learning_rate:g}",),
    "augmentation removed": ("data.augment=false",),
    "average of weights lags": ("ema_factor=0.9995",),
    "prediction network hears no labels": ("model.hears_labels=false",),
}


def validate(config: RNNTConfig, processes: int) -> None:
    """Raises InvalidConfiguration for what cannot be run on `processes` processes, before anything is built."""
    shares = processes * config.parallel.accumulation_steps
    _expect(config.parallel.accumulation_steps >= 1 and config.global_batch_size >= 1
            and config.global_batch_size % shares == 0,
            f"a global_batch_size divisible by processes x accumulation_steps = {shares}", config.global_batch_size)
    _expect(config.global_batch_size <= sum(config.data.train_utterances),
            f"a global_batch_size of at most the training utterances = {sum(config.data.train_utterances)}",
            config.global_batch_size)
    _expect(0 <= config.ema_factor < 1, "ema_factor in [0, 1)", config.ema_factor)
    _check_model(config.model)
    _check_schedule(config.schedule)
    _expect(config.optimizer.clip_norm >= 0, "optimizer.clip_norm of at least 0", config.optimizer.clip_norm)
    _check_data(config.data)


def _expect(holds: bool, expected: str, found: object) -> None:
    if not holds:
        raise InvalidConfiguration(f"expected {expected}, found {found}")


def _at_least_one(part: object, prefix: str, *names: str) -> None:
    for name in names:
        _expect(getattr(part, name) >= 1, f"{prefix}.{name} of at least 1", getattr(part, name))


def _check_model(model: ModelConfig) -> None:
    _at_least_one(model, "model", "encoder_width", "pre_layers", "post_layers", "time_stack", "prediction_width",
                  "prediction_layers", "joint_width", "cells_at_a_time")
    _expect(2 <= model.vocabulary < 1 << 16, "model.vocabulary from 2 to 65535", model.vocabulary)
    for name in ("encoder_dropout", "prediction_dropout", "joint_dropout"):
        _expect(0 <= getattr(model, name) < 1, f"model.{name} in [0, 1)", getattr(model, name))


def _check_schedule(schedule: ScheduleConfig) -> None:
    _expect(min(schedule.warmup_epochs, schedule.hold_epochs) >= 0,
            "schedule.warmup_epochs and schedule.hold_epochs of at least 0",
            f"{schedule.warmup_epochs} and {schedule.hold_epochs}")
    _expect(schedule.train_epochs >= 1, "schedule.train_epochs of at least 1", schedule.train_epochs)
    _expect(0 < schedule.gamma <= 1, "schedule.gamma in (0, 1]", schedule.gamma)


def _check_data(data: DataConfig) -> None:
    _expect(len(data.train_splits) == len(data.train_utterances) > 0, "one of data.train_utterances for each of "
            "data.train_splits", f"{len(data.train_utterances)} and {len(data.train_splits)}")
    _expect(min(data.train_utterances) >= 0, "data.train_utterances of at least 0", min(data.train_utterances))
    _at_least_one(data, "data", "eval_utterances", "sample_rate", "buckets", "resample_lobes", "silence_window", "mels",
                  "splice", "eval_batch_size", "max_symbols_per_frame", "max_symbols", "words_low", "step")
    _expect(data.words_low <= data.words_high <= 12, "data.words_low <= data.words_high <= 12",
            f"{data.words_low} and {data.words_high}")
    _expect(0 < data.speed_low <= data.speed_high <= 2, "0 < data.speed_low <= data.speed_high <= 2",
            f"{data.speed_low} and {data.speed_high}")
    _expect(2 <= data.window <= data.fft and data.window % 2 == 0, "an even data.window of at most data.fft",
            data.window)
    _expect(0 <= data.frequency_mask_low <= data.frequency_mask_high <= data.mels,
            "0 <= data.frequency_mask_low <= data.frequency_mask_high <= data.mels",
            f"{data.frequency_mask_low} and {data.frequency_mask_high}")
    _expect(0 <= data.time_mask_low <= data.time_mask_high <= 1, "0 <= data.time_mask_low <= data.time_mask_high <= 1",
            f"{data.time_mask_low} and {data.time_mask_high}")
    _expect(data.max_duration > 0 and data.cache_bytes >= 0,
            "data.max_duration above 0 and data.cache_bytes of at least 0",
            f"{data.max_duration} and {data.cache_bytes}")
