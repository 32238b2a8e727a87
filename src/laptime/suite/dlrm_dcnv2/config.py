"""Configurations of DLRM-DCNv2 on multi-hot Criteo: `full` is the reference, `mini` replaces sizes only. No torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from laptime.config import Parallel, Speed
from laptime.errors import InvalidConfiguration
from laptime.training.distributed.layout import Layout

ROWS = (  # of the 26 tables: reference command, num_embeddings_per_feature; 204,184,588 in all
    40000000, 39060, 17295, 7424, 20265, 3, 7122, 1543, 63, 40000000, 3067956, 405282, 10, 2209, 11938, 155, 4, 976, 14,
    40000000, 40000000, 40000000, 590152, 12973, 108, 36)
BAGS = (3, 2, 1, 2, 6, 1, 1, 1, 1, 7, 3, 8, 1, 6, 9, 5, 1, 1, 1, 12, 100, 27, 10, 3, 1, 1)  # multi_hot_sizes; 214
LARGEST_ROW = 2**31 - 1  # ids are published as int32


@dataclass(frozen=True)
class ModelConfig:
    """The network. `rows` and `bags`: of each table, rows in it and rows that a sample looks up in it."""

    dense_features: int = 13
    rows: tuple[int, ...] = ROWS
    bags: tuple[int, ...] = BAGS
    width: int = 128  # of embeddings, and of the last layer of the bottom network
    bottom: tuple[int, ...] = (512, 256, 128)
    cross_layers: int = 3
    cross_rank: int = 512
    top: tuple[int, ...] = (1024, 1024, 512, 256)  # hidden layers; one logit follows
    tables_learn: bool = True  # False (a planted fault): embeddings stay as they were drawn


@dataclass(frozen=True)
class OptimizerConfig:
    """Adagrad for everything, at a constant rate."""

    base_learning_rate: float = 0.004  # reference convergence points up to batch 102400
    epsilon: float = 1e-8  # rules, hyperparameter table
    initial_accumulator: float = 0.0  # rules, hyperparameter table


@dataclass(frozen=True)
class DataConfig:
    """Days of clicks: all but the last are for training, the first half of the last is for evaluation."""

    days: int = 24
    train_samples: int = 4195197692
    eval_samples: int = 89137319
    eval_batch_size: int = 131072  # samples of a batch over all processes together
    shuffle_labels: bool = False  # a planted fault
    # only for generated data:
    hidden: int = 2  # hidden tastes per id
    main_effect: float = 0.5  # standard deviations of the two parts of the true logit
    joint_effect: float = 2.2


@dataclass(frozen=True)
class DLRMConfig:
    """Everything about a run."""

    global_batch_size: int = 65536
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    data: DataConfig = field(default_factory=DataConfig)
    parallel: Parallel = field(default_factory=Parallel)
    speed: Speed = field(default_factory=lambda: Speed(dtype="float32"))  # the target's fifth digit decides


def full() -> DLRMConfig:
    """The reference: batch 65536, Adagrad at 0.004, one pass over 4.2 billion samples, 20 evaluations."""
    return DLRMConfig()


def mini() -> DLRMConfig:
    """Two CPU cores, half a minute: small tables, narrow layers, generated clicks."""
    reference = full()
    return replace(
        reference,
        global_batch_size=512,
        model=replace(reference.model, rows=tuple(min(rows, 100) for rows in ROWS),
                      bags=tuple(min(bag, 4) for bag in BAGS), width=16, bottom=(64, 32, 16), cross_rank=32,
                      top=(64, 64, 32)),
        optimizer=replace(reference.optimizer, base_learning_rate=0.04),
        data=replace(reference.data, days=4, train_samples=512000, eval_samples=20000, eval_batch_size=4096),
    )


def smoke() -> DLRMConfig:
    """A few seconds on one core: proves the chain, not the quality."""
    small = mini()
    return replace(
        small,
        global_batch_size=128,
        model=replace(small.model, rows=tuple(min(rows, 40) for rows in ROWS),
                      bags=tuple(min(bag, 2) for bag in BAGS), width=8, bottom=(16, 8), cross_rank=8, top=(16, 8)),
        data=replace(small.data, days=3, train_samples=12800, eval_samples=2000, eval_batch_size=500,
                     main_effect=1.5, joint_effect=0.5),
    )


PRESETS: Mapping[str, Callable[[], DLRMConfig]] = {"full": full, "mini": mini, "smoke": smoke}


def layout(config: DLRMConfig) -> Layout:
    """How the network can be spread over processes: tables, whole or by rows; all else is copied."""
    return Layout(tables=True)


# Planted faults: what a target must tell apart from sound training (`laptime rcp faults`).
FAULTS: Mapping[str, tuple[str, ...]] = {
    "shuffled labels": ("data.shuffle_labels=true",),
    "cross network off": ("model.cross_layers=0",),
    "embeddings never learn": ("model.tables_learn=false",),
    "learning rate / 10": (f"optimizer.base_learning_rate={mini().optimizer.base_learning_rate / 10:g}",),
    "learning rate x10": (f"optimizer.base_learning_rate={mini().optimizer.base_learning_rate * 10:g}",),
}


def validate(config: DLRMConfig, processes: int) -> None:
    """Raises InvalidConfiguration for what cannot be run on `processes` processes, before anything is built."""
    shares = processes * config.parallel.accumulation_steps
    if config.parallel.accumulation_steps < 1 or config.global_batch_size < 1 or config.global_batch_size % shares:
        raise InvalidConfiguration(
            f"expected a global_batch_size divisible by processes x accumulation_steps = {shares}, "
            f"found {config.global_batch_size}", hint="Change global_batch_size or parallel.accumulation_steps.")
    _check_model(config.model, processes, config.parallel.tables)
    _check_data(config, processes)
    _expect(config.optimizer.epsilon >= 0 and config.optimizer.initial_accumulator >= 0,
            "optimizer.epsilon and optimizer.initial_accumulator of at least 0",
            f"{config.optimizer.epsilon} and {config.optimizer.initial_accumulator}")


def _check_model(model: ModelConfig, processes: int, tables: str) -> None:
    _expect(len(model.rows) == len(model.bags) >= 1, "one of model.bags for each of model.rows",
            f"{len(model.bags)} for {len(model.rows)}")
    _expect(all(1 <= rows <= LARGEST_ROW for rows in model.rows), "model.rows from 1 to 2**31 - 1",
            f"{min(model.rows)} to {max(model.rows)}")
    _expect(min(model.bags) >= 1, "model.bags of at least 1", min(model.bags))
    _expect(min(model.dense_features, model.width, model.cross_rank, *model.bottom, *model.top) >= 1
            and model.cross_layers >= 0, "sizes of the model of at least 1", model)
    _expect(bool(model.bottom) and model.bottom[-1] == model.width,
            f"a last layer of model.bottom as wide as model.width = {model.width}", model.bottom)
    _expect(tables == "rows" or processes <= len(model.rows), f"at most one process per table ({len(model.rows)})",
            processes, "Spread the rows of every table: parallel.tables=rows.")


def _check_data(config: DLRMConfig, processes: int) -> None:
    data = config.data
    _expect(config.global_batch_size <= data.train_samples,
            f"a global_batch_size of at most data.train_samples = {data.train_samples}", config.global_batch_size)
    _expect(data.days >= 2 and data.eval_samples >= 2, "data.days and data.eval_samples of at least 2",
            f"{data.days} and {data.eval_samples}")
    _expect(data.eval_batch_size >= 1 and data.eval_batch_size % processes == 0,
            f"a data.eval_batch_size divisible by {processes} processes", data.eval_batch_size)
    _expect(data.hidden >= 1 and data.main_effect >= 0 and data.joint_effect >= 0,
            "data.hidden of at least 1 and effects of at least 0",
            f"{data.hidden}, {data.main_effect} and {data.joint_effect}")


def _expect(holds: bool, expected: str, found: object, hint: str = "") -> None:
    if not holds:
        raise InvalidConfiguration(f"expected {expected}, found {found}", hint=hint)
