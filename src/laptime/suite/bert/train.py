"""From a configuration to a session: model, optimizer, schedule, loss and evaluation, put together.

Every logged hyperparameter is read back from the object that acts on it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from laptime.benchmark import Context, Session
from laptime.config import Json, Speed
from laptime.suite.bert.config import BertConfig, OptimizerConfig, layout, validate
from laptime.suite.bert.data import EvalBatches, TrainBatches, synthetic, synthetic_batches
from laptime.suite.bert.model import Bert, initialise, reference_names
from laptime.suite.bert.published import START, load_start
from laptime.suite.bert.samples import Micro
from laptime.training.distributed.engine import Engine
from laptime.training.distributed.parallelize import parallelize
from laptime.training.loop import Supervised
from laptime.training.metrics.accuracy import TopOne
from laptime.training.optim.clip import NormClip
from laptime.training.optim.lamb import LAMB
from laptime.training.optim.schedules import Applied
from laptime.training.optim.warmed_decay import WarmedDecay
from laptime.training.speed import Precision, apply_tf32, resolve

UNADAPTED = ("LayerNorm", "layer_norm", "bias")  # parts of names that LAMB neither decays nor adapts (reference)


def build(config: BertConfig, ctx: Context) -> Session:
    """A session on the starting checkpoint. Raises InvalidConfiguration for what `ctx.world` cannot run."""
    world = ctx.world.data
    validate(config, world.size)
    speed = resolve(config.speed, ctx.world.device)
    apply_tf32(speed)
    model = build_model(config, ctx)
    initialised = sorted(reference_names(model).values())
    engine = parallelize(model, layout(config), config.parallel, ctx.world, dtype=Precision.of(speed).parameters,
                         compiled=speed.compile == "step")
    optimizer = build_optimizer(config.optimizer, model, compiled=speed.fused == "on" and speed.compile != "off")
    schedule = build_schedule(config)
    loss = Loss(config.global_batch_size)
    return Supervised(
        world=ctx.world, plan=ctx.plan, speed=speed, model=model, loss=loss, optimizer=optimizer,
        schedule=Applied(schedule, optimizer), batches=TrainBatches(ctx.store, config, ctx.seeds, world),
        evaluation=MaskedWords(model, engine, config, ctx, speed), synthetic=lambda: synthetic_batches(config, world),
        hyperparameters=hyperparameters(config, optimizer, schedule=schedule, loss=loss),
        initialised=initialised, engine=engine,
        after_backward=NormClip(model.parameters(), config.optimizer.clip_norm))


def build_model(config: BertConfig, ctx: Context) -> Bert:
    """The whole network, with the weights of the starting checkpoint.

    A manifest without one (of a data set that is only described) leaves the weights as they were drawn.
    """
    model = Bert(config.model)
    initialise(model, ctx.seeds.torch("init"), config.model.initial_std)
    if config.model.start and START in ctx.store.metadata.files:
        load_start(model, ctx.store.weights(START))
    return model


def build_optimizer(config: OptimizerConfig, model: torch.nn.Module, *, compiled: bool = False) -> LAMB:
    """LAMB over two groups: tensors that are decayed and adapted, and those whose name says neither."""
    plain = [p for name, p in model.named_parameters() if any(part in name for part in UNADAPTED)]
    skipped = {id(p) for p in plain}
    groups: list[dict] = [{"params": [p for p in model.parameters() if id(p) not in skipped], "adapt": config.adapt},
                          {"params": plain, "weight_decay": 0.0, "adapt": False}]
    return LAMB(groups, beta1=config.beta1, beta2=config.beta2, epsilon=config.epsilon,
                weight_decay=config.weight_decay, compiled=compiled)


def build_schedule(config: BertConfig) -> WarmedDecay:
    schedule = config.schedule
    return WarmedDecay(config.optimizer.base_learning_rate, schedule.power, schedule.train_steps,
                       schedule.warmup_steps, schedule.start_warmup_step)


@dataclass(frozen=True)
class Loss:
    """Masked words plus next sentence, in float32 at least.

    The first is a sum with the weights of the batch (`samples.loss_weights`), the second the mean over the `span`
    samples of the global batch: micro-batches and ranks add up to the loss of the whole.
    """

    span: int

    def __call__(self, model: torch.nn.Module, micro: Micro) -> torch.Tensor:
        words, following = model(micro.tokens, micro.masked)
        each = F.cross_entropy(wide(words), micro.labels, reduction="none")
        return (each * micro.weights.to(each.dtype)).sum() + F.cross_entropy(
            wide(following), micro.next_labels, reduction="sum") / self.span


def wide(scores: torch.Tensor) -> torch.Tensor:
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


class MaskedWords:
    """Share of masked words guessed right over the whole evaluation set (`loop.Evaluation`)."""

    def __init__(self, model: Bert, engine: Engine, config: BertConfig, ctx: Context, speed: Speed) -> None:
        self.model, self.engine, self.config, self.world = model, engine, config, ctx.world.data
        self.batches = EvalBatches(ctx.store, config, self.world)
        self.precision = Precision.of(speed)
        self.compiled = torch.compile(model) if speed.compile == "step" and engine.whole else None

    def __call__(self) -> Mapping[str, float]:
        return {"eval_accuracy": self._accuracy(self.batches)}

    def warm_up(self) -> None:
        size = self.config.data.eval_batch_size
        self._accuracy(synthetic(self.config, size, self.world, seed) for seed in (0, 1))

    def _accuracy(self, batches: Iterable[Micro]) -> float:
        self.model.eval()
        right, count = self.engine.sums(self._counts, batches).tolist()
        self.model.train()
        return right / count

    def _counts(self, model: torch.nn.Module, batch: Micro) -> torch.Tensor:
        """(2): masked words guessed right, masked words."""
        with torch.autocast(self.world.device.type, dtype=self.precision.autocast,
                            enabled=self.precision.autocast is not None):
            words, _ = (self.compiled or model)(batch.tokens, batch.masked)
        right = TopOne(self.world.alone)
        right.add(words, batch.labels, torch.ones_like(batch.labels, dtype=torch.bool))
        return right.counts


def hyperparameters(config: BertConfig, optimizer: LAMB, *, schedule: WarmedDecay, loss: Loss) -> dict[str, Json]:
    """Our names for what the log says, from the live objects; accumulation is the configuration's own."""
    group = optimizer.param_groups[0]
    return {
        "global_batch_size": loss.span,
        "gradient_accumulation_steps": config.parallel.accumulation_steps,
        "opt_name": type(optimizer).__name__.lower(),
        "opt_base_learning_rate": schedule.base,
        "opt_lamb_epsilon": group["epsilon"],
        "opt_learning_rate_training_steps": schedule.train_steps,
        "opt_learning_rate_warmup_steps": schedule.warmup_steps,
        "num_warmup_steps": schedule.warmup_steps,
        "start_warmup_step": schedule.start_warmup_step,
        "opt_lamb_beta_1": group["beta1"],
        "opt_lamb_beta_2": group["beta2"],
        "opt_lamb_weight_decay_rate": group["weight_decay"],
        "opt_lamb_learning_rate_decay_poly_power": schedule.power,
        "max_sequence_length": config.data.length,
        "max_predictions_per_seq": config.data.predictions,
    }
