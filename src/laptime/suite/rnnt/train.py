"""From a configuration to a session: model, optimizer, schedule, loss, averaged weights and evaluation, put together.

Every logged hyperparameter is read back from the object that acts on it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from laptime.benchmark import Context, Session
from laptime.config import Json, Speed
from laptime.suite.rnnt.config import OptimizerConfig, RNNTConfig, ScheduleConfig, validate
from laptime.suite.rnnt.data import (
    EvalBatch,
    EvalBatches,
    TrainBatches,
    steps_per_epoch,
    synthetic_batches,
    synthetic_eval_batches,
)
from laptime.suite.rnnt.decode import Limits, greedy
from laptime.suite.rnnt.model import NAMES, RNNT, initialise
from laptime.suite.rnnt.reader import Micro
from laptime.suite.rnnt.schedule import WarmupHoldDecay
from laptime.suite.rnnt.vocabulary import decode
from laptime.training.loop import Supervised
from laptime.training.metrics.word_errors import WordErrors
from laptime.training.nn.transducer_loss import transducer_loss
from laptime.training.optim.average import Average
from laptime.training.optim.lamb import LAMB
from laptime.training.speed import Precision, apply_tf32, resolve


def build(config: RNNTConfig, ctx: Context) -> Session:
    """A session on random weights. Raises InvalidConfiguration for what `ctx.world` cannot run."""
    validate(config, ctx.world.size)
    speed = resolve(config.speed, ctx.world.device)
    apply_tf32(speed)
    model = build_model(config, ctx, speed)
    average = Average(model, config.ema_factor)
    optimizer = build_optimizer(config.optimizer, model, compiled=speed.fused == "on" and speed.compile != "off")
    guard = GradientGuard(model, config.optimizer.clip_norm)
    schedule = build_schedule(config.optimizer, config.schedule, steps_per_epoch(config, ctx.store.metadata))
    loss = Loss(config.global_batch_size, Precision.of(speed).parameters)
    batches = TrainBatches(ctx.store, config, ctx.seeds, ctx.world)
    evaluation = WordErrorEvaluation(average, config, ctx, speed)
    return Supervised(
        world=ctx.world, plan=ctx.plan, speed=speed, model=model, loss=loss, optimizer=optimizer,
        schedule=AppliedRate(schedule, optimizer), batches=batches, evaluation=evaluation,
        synthetic=lambda: synthetic_batches(config, ctx.store.metadata, ctx.world),
        hyperparameters=hyperparameters(config, optimizer, schedule=schedule, loss=loss, guard=guard,
                                        average=average, evaluation=evaluation),
        initialised=NAMES, after_backward=guard, after_step=average.update, companions={"average": average.module})


def build_model(config: RNNTConfig, ctx: Context, speed: Speed) -> RNNT:
    """The initialised network on its device, in the dtype of `speed`."""
    model = RNNT(config.model, config.data.splice * config.data.mels)
    initialise(model, ctx.seeds.torch("init"))
    return model.to(ctx.world.device, Precision.of(speed).parameters)


def build_optimizer(config: OptimizerConfig, model: torch.nn.Module, *, compiled: bool = False) -> LAMB:
    """LAMB over all tensors, every one decayed and adapted (reference optimizer)."""
    return LAMB(model.parameters(), beta1=config.beta1, beta2=config.beta2, epsilon=config.epsilon,
                weight_decay=config.weight_decay, compiled=compiled)


def build_schedule(optimizer: OptimizerConfig, schedule: ScheduleConfig, epoch_steps: int) -> WarmupHoldDecay:
    return WarmupHoldDecay(optimizer.base_learning_rate, schedule.warmup_epochs, schedule.hold_epochs, schedule.gamma,
                           schedule.minimum, epoch_steps)


@dataclass(frozen=True)
class AppliedRate:
    """A `loop.Schedule`: writes the rate of a step into the optimizer, in place and without synchronisation."""

    schedule: WarmupHoldDecay
    optimizer: LAMB

    def apply(self, step: int) -> None:
        self.optimizer.rate.fill_(self.schedule.value(step))


@dataclass(frozen=True)
class Loss:
    """Transducer loss summed over utterances and divided by `span`, the global batch: micro-batches and ranks add up
    to the mean. A micro-batch whose loss is not finite teaches nothing (reference: it is skipped); where the host would
    have to wait to see that, its whole step teaches nothing (`GradientGuard`)."""

    span: int
    dtype: torch.dtype  # of the weights

    def __call__(self, model: torch.nn.Module, micro: Micro) -> torch.Tensor:
        features, frames, labels, keys, cells = micro
        blank, label = model(features.to(self.dtype), frames, labels, cells, keys)
        losses = transducer_loss(blank, label, cells)
        if losses.device.type == "cpu" and not bool(losses.sum().isfinite()):  # nothing to wait for there
            return untaught(model)
        return torch.where(losses.sum().isfinite(), losses, 0.0).sum() / self.span


def untaught(model: torch.nn.Module) -> torch.Tensor:
    """A loss of 0 whose gradient is 0 for every weight. A factor of 0 would leave numbers that are not finite."""
    return torch.stack([0.0 * weight.reshape(-1)[0] for weight in model.parameters()]).sum()


class GradientGuard:
    """Clips the norm of the whole gradient to `limit` (0: not at all) and replaces one that is not finite by zeros.

    Both on the device, without the host looking.
    """

    def __init__(self, model: torch.nn.Module, limit: float) -> None:
        self.parameters, self.limit = list(model.parameters()), limit

    @torch.no_grad()
    def __call__(self) -> None:
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = torch.stack(torch._foreach_norm(gradients)).norm()
        scale = self.limit / norm.clamp(min=self.limit) if self.limit else torch.ones_like(norm)
        torch._foreach_mul_(gradients, scale)
        if norm.device.type == "cpu" and bool(norm.isfinite()):  # nothing to wait for there
            return
        for gradient in gradients:
            gradient.masked_fill_(~norm.isfinite(), 0.0)


class WordErrorEvaluation:
    """Word error rate of the averaged weights over the whole evaluation set, by greedy decoding (`loop.Evaluation`)."""

    def __init__(self, average: Average[RNNT], config: RNNTConfig, ctx: Context, speed: Speed) -> None:
        self.model, self.config, self.ctx = average.module, config, ctx
        self.limits = Limits(config.data.max_symbols_per_frame, config.data.max_symbols)
        self.batches = EvalBatches(ctx.store, config, ctx.seeds, ctx.world)
        self.precision = Precision.of(speed)

    def __call__(self) -> Mapping[str, float]:
        meant = self.batches.transcripts()
        pieces = [str(piece) for piece in self.ctx.store.metadata.facts["pieces"]]  # type: ignore[union-attr]
        errors = WordErrors(self.ctx.world)
        for batch in self.batches:
            said = [decode(pieces, ids) for ids in self._decoded(batch)]
            errors.add(said, [meant[sample] for sample in batch.samples])
        return {"eval_accuracy": errors.result()}

    def warm_up(self) -> None:
        for batch in synthetic_eval_batches(self.config, self.ctx.store.metadata, self.ctx.world):
            self._decoded(batch)

    def _decoded(self, batch: EvalBatch) -> list[list[int]]:
        dtype = self.precision.autocast
        with torch.autocast(self.ctx.world.device.type, dtype=dtype, enabled=dtype is not None):
            return greedy(self.model, batch.features_TBF.to(self.precision.parameters), batch.frames_B, self.limits)


def hyperparameters(config: RNNTConfig, optimizer: LAMB, *, schedule: WarmupHoldDecay, loss: Loss,
                    guard: GradientGuard, average: Average[RNNT], evaluation: WordErrorEvaluation) -> dict[str, Json]:
    """Our names for what the log says, from the live objects; what the data pipeline does is the configuration's."""
    group, data = optimizer.param_groups[0], config.data
    return {
        "global_batch_size": loss.span,
        "gradient_accumulation_steps": config.parallel.accumulation_steps,
        "opt_name": type(optimizer).__name__.lower(),
        "opt_base_learning_rate": schedule.base,
        "opt_lamb_epsilon": group["epsilon"],
        "opt_lamb_learning_rate_decay_poly_power": schedule.gamma,
        "opt_lamb_learning_rate_hold_epochs": schedule.hold_epochs,
        "opt_learning_rate_warmup_epochs": schedule.warmup_epochs,
        "opt_weight_decay": group["weight_decay"],
        "opt_lamb_beta_1": group["beta1"],
        "opt_lamb_beta_2": group["beta2"],
        "opt_gradient_clip_norm": guard.limit or math.inf,
        "opt_learning_rate_alt_decay_func": isinstance(schedule, WarmupHoldDecay),
        "opt_learning_rate_alt_warmup_func": isinstance(schedule, WarmupHoldDecay),
        "opt_lamb_learning_rate_min": schedule.minimum,
        "data_train_max_duration": data.max_duration,
        "data_train_num_buckets": data.buckets,
        "data_speed_perturbaton_min": data.speed_low,
        "data_speed_perturbaton_max": data.speed_high,
        "data_spec_augment_freq_n": data.frequency_masks,
        "data_spec_augment_freq_min": data.frequency_mask_low,
        "data_spec_augment_freq_max": data.frequency_mask_high,
        "data_spec_augment_time_n": data.time_masks,
        "data_spec_augment_time_min": data.time_mask_low,
        "data_spec_augment_time_max": data.time_mask_high,
        "model_eval_ema_factor": average.decay,
        "model_weights_initialization_scale": average.module.config.initialisation_scale,
        "eval_max_prediction_symbols": evaluation.limits.total,
    }
