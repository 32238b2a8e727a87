"""From a configuration to a session: model, start weights, optimizer, schedule, loss and evaluation, put together.

Every logged hyperparameter is read back from the object that acts on it.
"""

from dataclasses import dataclass

import torch

from laptime.benchmark import Context, Session
from laptime.config import Json, Speed
from laptime.suite.retinanet.config import LossConfig, OptimizerConfig, RetinaNetConfig, validate
from laptime.suite.retinanet.data import Micro, TrainBatches, steps_per_epoch, synthetic_batches
from laptime.suite.retinanet.detect import APEvaluation
from laptime.suite.retinanet.model import RetinaNet, anchors, initialise, map_sizes, reference_names
from laptime.suite.retinanet.pretrain import load_backbone
from laptime.training.distributed.world import World
from laptime.training.loop import Supervised
from laptime.training.nn.boxes import IGNORED, encode, match
from laptime.training.nn.focal import focal_loss
from laptime.training.optim.adam import Adam
from laptime.training.optim.schedules import Applied
from laptime.training.optim.warmup import Warmed
from laptime.training.speed import Precision, apply_tf32, resolve

SMALL = 1 << 20  # scores up to which all levels together cost less than level by level, which makes no copy of them


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


def build(config: RetinaNetConfig, ctx: Context) -> Session:
    """A session on the start weights of the data set. Raises InvalidConfiguration and DataProblem."""
    validate(config, ctx.world.size)
    speed = resolve(config.speed, ctx.world.device)
    apply_tf32(speed)
    model = build_model(config, ctx, speed)
    optimizer = build_optimizer(config.optimizer, model)
    epoch_steps = steps_per_epoch(config, ctx.store.metadata)
    schedule = Warmed(config.optimizer.base_learning_rate, config.schedule.warmup_factor,
                      config.schedule.warmup_epochs * epoch_steps)
    levels = level_anchors(config, Precision.of(speed).parameters, ctx.world.device)
    loss = Loss(config.loss, config.global_batch_size, Shape.of(speed), ctx.world, levels)
    return Supervised(
        world=ctx.world, plan=ctx.plan, speed=speed, model=model, loss=loss, optimizer=optimizer,
        schedule=Applied(schedule, optimizer), batches=TrainBatches(ctx.store, config, ctx.seeds, ctx.world),
        evaluation=APEvaluation(model, config, ctx, speed, levels),
        synthetic=lambda: synthetic_batches(config, ctx.world, ctx.store.metadata.count("max_boxes")),
        hyperparameters=hyperparameters(config, optimizer, schedule=schedule, loss=loss, epoch_steps=epoch_steps),
        initialised=sorted(reference_names(model)))


def build_model(config: RetinaNetConfig, ctx: Context, speed: Speed) -> RetinaNet:
    """The network on its device, in the dtype and memory format of `speed`.

    A manifest whose fact `backbone` is empty (measurements without data) leaves the backbone random, as does the meta
    device, which holds no values.
    """
    model = RetinaNet(config.model)
    initialise(model, ctx.seeds.torch("init"))
    name = ctx.store.metadata.facts.get("backbone")
    if name and config.model.pretrained and ctx.world.device.type != "meta":
        load_backbone(model.backbone["body"], ctx.store.weights(str(name)))  # type: ignore[arg-type]
    shape = Shape.of(speed)
    return model.to(ctx.world.device, shape.dtype).to(memory_format=shape.memory_format)  # type: ignore[call-overload]


def build_optimizer(config: OptimizerConfig, model: torch.nn.Module) -> Adam:
    """Adam over everything that is trained."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return Adam(trained, betas=(config.beta1, config.beta2), epsilon=config.epsilon, weight_decay=config.weight_decay)


def level_anchors(config: RetinaNetConfig, dtype: torch.dtype, device: torch.device) -> list[torch.Tensor]:
    """The anchors of each level, (R, 4)."""
    sizes, size = config.model.anchor_sizes, config.data.size
    pairs = zip(sizes, map_sizes(size, len(sizes)), strict=True)
    return [anchors((one,), size, (rows,)).to(device, dtype) for one, rows in pairs]


class Loss:
    """Focal loss of all classes plus L1 of box deltas, each over its number of positive anchors; mean over images.

    `count` is the global batch, so that micro-batches and ranks add up to the mean over it.
    """

    def __init__(self, config: LossConfig, count: int, shape: Shape, world: World, levels: list[torch.Tensor]) -> None:
        self.config, self.count, self.shape, self.world = config, count, shape, world
        self.anchors, self.rows = torch.cat(levels), [len(level) for level in levels]

    def __call__(self, model: torch.nn.Module, micro: Micro) -> torch.Tensor:
        scores, deltas = model(self.shape.fit(micro.images))
        with torch.no_grad():
            labels, weights, targets = self.targets(micro)
        if sum(one.numel() for one in scores) <= SMALL:
            return self._level(torch.cat(scores, 1), torch.cat(deltas, 1), labels, weights, targets)
        parts = zip(scores, deltas, labels.split(self.rows, 1), weights.split(self.rows, 1),
                    targets.split(self.rows, 1), strict=True)
        return torch.stack([self._level(*part) for part in parts]).sum()

    def targets(self, micro: Micro) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Per anchor: class (N, A), -1 for none; weight of its terms (N, A), 0 where ignored; box deltas (N, A, 4)."""
        boxes = micro.boxes.to(self.anchors.dtype)
        index = match(boxes, micro.labels >= 0, self.anchors, high=self.config.high, low=self.config.low)
        positive = index >= 0
        chosen = index.clamp(min=0)
        labels = torch.where(positive, micro.labels.gather(1, chosen), -1)
        targets = encode(boxes.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 4)), self.anchors)
        share = self.config.span / (self.count * self._pooled(positive.sum(1)).clamp(min=1).to(self.anchors.dtype))
        return labels, share.unsqueeze(1) * (index != IGNORED), targets

    def _pooled(self, counts: torch.Tensor) -> torch.Tensor:
        """Positive anchors of the span that each image of this micro-batch belongs to: (N) -> (N)."""
        span, images = self.config.span, len(counts)
        if span == 1:
            return counts
        if span <= images:
            return counts.view(-1, span).sum(1).repeat_interleave(span)
        everyone = torch.zeros(self.world.size, dtype=counts.dtype, device=counts.device)
        everyone[self.world.rank] = counts.sum()
        ranks = span // images
        return self.world.sum(everyone).view(-1, ranks).sum(1)[self.world.rank // ranks].expand(images)

    def _level(self, scores: torch.Tensor, deltas: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor,
               targets: torch.Tensor) -> torch.Tensor:
        classes = focal_loss(scores, labels, weights, alpha=self.config.alpha, gamma=self.config.gamma)
        distance = (deltas.to(targets.dtype) - targets).abs().sum(-1)
        return classes + (distance * weights * (labels >= 0)).sum()


def hyperparameters(config: RetinaNetConfig, optimizer: Adam, *, schedule: Warmed, loss: Loss,
                    epoch_steps: int) -> dict[str, Json]:
    """Our names for what the log says, from the live objects; accumulation is the configuration's own."""
    return {
        "global_batch_size": loss.count,
        "gradient_accumulation_steps": config.parallel.accumulation_steps,
        "opt_name": type(optimizer).__name__.lower(),
        "opt_base_learning_rate": schedule.base,
        "opt_weight_decay": optimizer.param_groups[0]["weight_decay"],
        "opt_learning_rate_warmup_epochs": schedule.warmup_steps // epoch_steps,
        "opt_learning_rate_warmup_factor": schedule.factor,
    }
