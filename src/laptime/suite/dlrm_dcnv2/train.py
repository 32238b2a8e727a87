"""From a configuration to a session: model, optimizer, schedule, loss and evaluation, put together.

Every logged hyperparameter is read back from the object that acts on it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from laptime.benchmark import Context, Session
from laptime.config import Json, Speed
from laptime.suite.dlrm_dcnv2.config import DLRMConfig, OptimizerConfig, validate
from laptime.suite.dlrm_dcnv2.data import (
    EvalBatch,
    EvalBatches,
    Micro,
    TrainBatches,
    synthetic_batches,
    synthetic_eval_batches,
    synthetic_rows,
)
from laptime.suite.dlrm_dcnv2.model import DLRM, initialise
from laptime.training.loop import Supervised
from laptime.training.metrics.auc import ROCAUC
from laptime.training.optim.adagrad import Adagrad
from laptime.training.optim.schedules import Applied
from laptime.training.optim.warmup import Warmed
from laptime.training.speed import Precision, apply_tf32, resolve


def build(config: DLRMConfig, ctx: Context) -> Session:
    """A session on random weights. Raises InvalidConfiguration for what `ctx.world` cannot run."""
    validate(config, ctx.world.size)
    speed = resolve(config.speed, ctx.world.device)
    apply_tf32(speed)
    model = build_model(config, ctx, speed)
    optimizer = build_optimizer(config.optimizer, model, compiled=speed.fused == "on" and speed.compile != "off")
    schedule = Warmed(config.optimizer.base_learning_rate, 0.0, 0)  # constant (rules: no warm-up, no decay)
    loss = Loss(config.global_batch_size, Precision.of(speed).parameters)
    return Supervised(
        world=ctx.world, plan=ctx.plan, speed=speed, model=model, loss=loss, optimizer=optimizer,
        schedule=Applied(schedule, optimizer), batches=TrainBatches(ctx.store, config, ctx.world),
        evaluation=ClickRanking(model, config, ctx, speed), synthetic=lambda: synthetic_batches(config, ctx.world),
        hyperparameters=hyperparameters(config, optimizer, schedule=schedule, loss=loss),
        initialised=sorted(name for name, _ in model.named_parameters()),
        touched={"tables.weight": lambda: synthetic_rows(config, ctx.world)})


def build_model(config: DLRMConfig, ctx: Context, speed: Speed) -> DLRM:
    """The initialised network on its device."""
    model = DLRM(config.model, ctx.world, config.parallel.tables)
    initialise(model, ctx.seeds)
    return model.to(ctx.world.device, Precision.of(speed).parameters)


def build_optimizer(config: OptimizerConfig, model: torch.nn.Module, *, compiled: bool = False) -> Adagrad:
    """Adagrad over everything: dense tensors, and the rows of the tables that a batch touched."""
    return Adagrad(model.parameters(), epsilon=config.epsilon, initial=config.initial_accumulator, compiled=compiled)


@dataclass(frozen=True)
class Loss:
    """Binary cross entropy of logits, in float32 at least, summed over samples and divided by `span`.

    `span` is the global batch, so that micro-batches and ranks add up to the mean over the batch.
    """

    span: int
    dtype: torch.dtype

    def __call__(self, model: torch.nn.Module, micro: Micro) -> torch.Tensor:
        logits = model(micro.dense.to(self.dtype), micro.lookups)
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return F.binary_cross_entropy_with_logits(wide, micro.labels.to(wide.dtype), reduction="sum") / self.span


class ClickRanking:
    """Area under the ROC curve over the whole evaluation set, exact (`loop.Evaluation`)."""

    def __init__(self, model: DLRM, config: DLRMConfig, ctx: Context, speed: Speed) -> None:
        self.model, self.config, self.world = model, config, ctx.world
        self.batches = EvalBatches(ctx.store, config, ctx.world)
        self.precision = Precision.of(speed)
        self.scores = torch.compile(model) if speed.compile == "step" else model

    def __call__(self) -> Mapping[str, float]:
        return {"eval_accuracy": self._area(self.batches)}

    def warm_up(self) -> None:
        self._area(synthetic_eval_batches(self.config, self.world))

    @torch.no_grad()
    def _area(self, batches: Iterable[EvalBatch]) -> float:
        ranking = ROCAUC(self.world)
        self.model.eval()
        for dense, labels, lookups, valid in batches:
            with torch.autocast(self.world.device.type, dtype=self.precision.autocast,
                                enabled=self.precision.autocast is not None):
                logits = self.scores(dense.to(self.precision.parameters), lookups)
            ranking.add(logits, labels, valid)
        self.model.train()
        return ranking.result()


def hyperparameters(config: DLRMConfig, optimizer: Adagrad, *, schedule: Warmed, loss: Loss) -> dict[str, Json]:
    """Our names for what the log says, from the live objects; accumulation is the configuration's own."""
    group = optimizer.param_groups[0]
    return {
        "global_batch_size": loss.span,
        "gradient_accumulation_steps": config.parallel.accumulation_steps,
        "opt_name": type(optimizer).__name__.lower(),
        "opt_base_learning_rate": schedule.base,
        "opt_adagrad_learning_rate_decay": group["learning_rate_decay"],
        "opt_weight_decay": group["weight_decay"],
        "opt_adagrad_initial_accumulator_value": group["initial"],
        "opt_adagrad_epsilon": group["epsilon"],
        "opt_learning_rate_warmup_steps": schedule.warmup_steps,
        "opt_learning_rate_decay_start_step": 0,  # `Warmed` has no decay
        "opt_learning_rate_decay_steps": 0,
    }
