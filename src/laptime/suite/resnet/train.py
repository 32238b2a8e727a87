"""From a configuration to a session: model, optimizer, schedule, loss and evaluation, put together.

Every logged hyperparameter is read back from the object that acts on it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from laptime.benchmark import Context, Session
from laptime.config import Json, Speed
from laptime.suite.resnet.config import OptimizerConfig, ResNetConfig, ScheduleConfig, validate
from laptime.suite.resnet.data import (
    EvalBatch,
    EvalBatches,
    Micro,
    TrainBatches,
    steps_per_epoch,
    synthetic_batches,
    synthetic_eval_batches,
)
from laptime.suite.resnet.model import ResNet, initialise, reference_names
from laptime.training.loop import Supervised
from laptime.training.metrics.accuracy import TopOne
from laptime.training.nn.batch_norm import RunningStatistics, SpanBatchNorm2d, check_span
from laptime.training.optim.lars import LARS
from laptime.training.optim.momentum import Momentum
from laptime.training.optim.schedules import Applied, Polynomial, Step
from laptime.training.optim.sgd import SGD
from laptime.training.speed import Precision, apply_tf32, resolve


@dataclass(frozen=True)
class Shape:
    """The dtype and memory format that weights and images share."""

    dtype: torch.dtype
    memory_format: torch.memory_format

    @classmethod
    def of(cls, speed: Speed) -> "Shape":
        last = speed.memory_format == "channels_last"
        return cls(Precision.of(speed).parameters, torch.channels_last if last else torch.contiguous_format)

    def fit(self, images: torch.Tensor) -> torch.Tensor:
        return images.to(dtype=self.dtype, memory_format=self.memory_format)


def build(config: ResNetConfig, ctx: Context) -> Session:
    """A session on random weights. Raises InvalidConfiguration for what `ctx.world` cannot run."""
    validate(config, ctx.world.size)
    micro_batch = config.global_batch_size // (ctx.world.size * config.parallel.accumulation_steps)
    check_span(config.model.norm_span, micro_batch, ctx.world.size)
    speed = resolve(config.speed, ctx.world.device)
    apply_tf32(speed)
    model = build_model(config, ctx, speed)
    optimizer = build_optimizer(config.optimizer, model, compiled=speed.fused == "on" and speed.compile != "off")
    epoch_steps = steps_per_epoch(config, ctx.store.metadata)
    schedule = build_schedule(config.optimizer, config.schedule, epoch_steps)
    shape = Shape.of(speed)
    loss = Loss(config.label_smoothing, config.global_batch_size, shape)
    batches = TrainBatches(ctx.store, config, ctx.seeds, ctx.world)
    statistics = RunningStatistics(model, ctx.world)
    return Supervised(
        world=ctx.world, plan=ctx.plan, speed=speed, model=model, loss=loss, optimizer=optimizer,
        schedule=Applied(schedule, optimizer), batches=batches,
        evaluation=TopOneEvaluation(model, config, ctx, speed),
        synthetic=lambda: synthetic_batches(config, ctx.world),
        hyperparameters=hyperparameters(config, model, optimizer, schedule=schedule, loss=loss,
                                        epoch_steps=epoch_steps),
        initialised=sorted(reference_names(model).values()), after_backward=statistics.commit)


def build_model(config: ResNetConfig, ctx: Context, speed: Speed) -> ResNet:
    """The initialised network on its device, in the dtype and memory format of `speed`."""
    model = ResNet(config.model, ctx.world)
    initialise(model, ctx.seeds.torch("init"))
    shape = Shape.of(speed)
    return model.to(ctx.world.device, shape.dtype).to(memory_format=shape.memory_format)  # type: ignore[call-overload]


def build_optimizer(config: OptimizerConfig, model: torch.nn.Module, *, compiled: bool = False) -> Momentum:
    """SGD or LARS over two groups: tensors with weight decay, and those without.

    Batch-norm tensors are never decayed; the dense bias is decayed by SGD and skipped by LARS (both references).
    """
    norms = {id(p) for layer in model.modules() if isinstance(layer, SpanBatchNorm2d) for p in layer.parameters()}
    skip_biases = config.name == "lars"
    plain = [p for p in model.parameters() if id(p) in norms or (skip_biases and p.ndim == 1)]
    skipped = {id(p) for p in plain}
    decayed = [p for p in model.parameters() if id(p) not in skipped]
    groups: list[dict] = [{"params": decayed}]
    if config.name == "sgd":
        groups += [{"params": plain, "weight_decay": 0.0}] if plain else []
        return SGD(groups, momentum=config.momentum, weight_decay=config.weight_decay, form=config.momentum_form,
                   compiled=compiled)
    groups += [{"params": plain, "weight_decay": 0.0, "adapt": False}]
    return LARS(groups, momentum=config.momentum, weight_decay=config.weight_decay, eta=config.lars_eta,
                epsilon=config.lars_epsilon, form=config.momentum_form, compiled=compiled)


def build_schedule(optimizer: OptimizerConfig, schedule: ScheduleConfig, epoch_steps: int) -> Polynomial | Step:
    """Epochs turned into steps. Polynomial: the decay lasts T - W + 1 steps, as in the reference."""
    warmup = schedule.warmup_epochs * epoch_steps
    if schedule.name == "step":
        return Step(optimizer.base_learning_rate, warmup, tuple(b * epoch_steps for b in schedule.boundaries),
                    schedule.factors)
    total = schedule.train_epochs * epoch_steps
    return Polynomial(optimizer.base_learning_rate, optimizer.end_learning_rate, schedule.power, warmup,
                      total - warmup + 1)


@dataclass(frozen=True)
class Loss:
    """Softmax cross entropy in float32 (float64 for float64 scores), summed over samples and divided by `span`.

    `span` is the global batch, so that micro-batches and ranks add up to the mean over the batch.
    """

    smoothing: float
    span: int
    shape: Shape

    def __call__(self, model: torch.nn.Module, micro: Micro) -> torch.Tensor:
        images, labels = micro
        scores = model(self.shape.fit(images))
        wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
        return F.cross_entropy(wide, labels, label_smoothing=self.smoothing, reduction="sum") / self.span


class TopOneEvaluation:
    """Top-1 accuracy over the whole validation set, with the running statistics (`loop.Evaluation`)."""

    def __init__(self, model: ResNet, config: ResNetConfig, ctx: Context, speed: Speed) -> None:
        self.model, self.config, self.ctx = model, config, ctx
        self.batches = EvalBatches(ctx.store, config, ctx.world)
        self.precision, self.shape = Precision.of(speed), Shape.of(speed)
        self.scores = torch.compile(model) if speed.compile == "step" else model

    def __call__(self) -> Mapping[str, float]:
        return {"eval_accuracy": self._accuracy(self.batches)}

    def warm_up(self) -> None:
        self._accuracy(synthetic_eval_batches(self.config, self.ctx.world))

    @torch.no_grad()
    def _accuracy(self, batches: Iterable[EvalBatch]) -> float:
        top_one = TopOne(self.ctx.world)
        self.model.eval()
        for images, labels, mask in batches:
            with torch.autocast(self.ctx.world.device.type, dtype=self.precision.autocast,
                                enabled=self.precision.autocast is not None):
                scores = self.scores(self.shape.fit(images))
            top_one.add(scores, labels, mask)
        self.model.train()
        return top_one.result()


def hyperparameters(config: ResNetConfig, model: ResNet, optimizer: Momentum, *, schedule: Polynomial | Step,
                    loss: Loss, epoch_steps: int) -> dict[str, Json]:
    """Our names for what the log says, from the live objects; accumulation is the configuration's own."""
    group = optimizer.param_groups[0]
    spans = {layer.span for layer in model.modules() if isinstance(layer, SpanBatchNorm2d)}
    values: dict[str, Json] = {
        "global_batch_size": loss.span,
        "gradient_accumulation_steps": config.parallel.accumulation_steps,
        "opt_name": type(optimizer).__name__.lower(),
        "opt_base_learning_rate": schedule.base,
        "opt_learning_rate_warmup_epochs": schedule.warmup_steps // epoch_steps,
        "opt_momentum": group["momentum"],
        "opt_weight_decay": group["weight_decay"],
        "model_bn_span": max(spans, default=0),
        "label_smoothing": loss.smoothing,
    }
    if isinstance(optimizer, LARS):
        values |= {"opt_epsilon": group["epsilon"], "lars_eta": group["eta"]}
    return values | _schedule_values(schedule, epoch_steps)


def _schedule_values(schedule: Polynomial | Step, epoch_steps: int) -> dict[str, Json]:
    if isinstance(schedule, Step):
        return {"opt_learning_rate_decay_boundary_epochs": [b // epoch_steps for b in schedule.boundaries],
                "opt_learning_rate_decay_factors": list(schedule.factors)}
    return {"opt_end_learning_rate": schedule.end, "opt_learning_rate_decay_poly_power": schedule.power,
            "opt_learning_rate_decay_steps": schedule.decay_steps}
