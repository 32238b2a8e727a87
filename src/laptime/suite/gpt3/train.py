"""From a configuration to a session: model, optimizer, schedule, loss and evaluation, put together.

Every logged hyperparameter is read back from the object that acts on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

import torch

from laptime.benchmark import Context, Session
from laptime.config import Json, Speed
from laptime.suite.gpt3.checkpoint import MOMENTS, Checkpoint
from laptime.suite.gpt3.config import Gpt3Config, OptimizerConfig, layout, validate
from laptime.suite.gpt3.data import EvalBatches, Micro, TrainBatches, synthetic, synthetic_batches
from laptime.suite.gpt3.model import Gpt3
from laptime.suite.gpt3.published import START
from laptime.suite.gpt3.zarr import METADATA
from laptime.training.distributed.context import own_positions
from laptime.training.distributed.engine import Engine
from laptime.training.distributed.parallelize import parallelize
from laptime.training.distributed.pieces import held, mark, write
from laptime.training.distributed.vocabulary import cross_entropy
from laptime.training.distributed.world import World
from laptime.training.loop import Supervised
from laptime.training.optim.adamw import AdamW
from laptime.training.optim.clip import NormClip
from laptime.training.optim.cosine import WarmedCosine
from laptime.training.optim.schedules import Applied
from laptime.training.seeds import Seeds
from laptime.training.speed import Precision, apply_tf32, resolve


def build(config: Gpt3Config, ctx: Context) -> Session:
    """A session on the starting checkpoint. Raises InvalidConfiguration for what `ctx.world` cannot run."""
    validate(config, ctx.world.data.size)
    speed = resolve(config.speed, ctx.world.device)
    apply_tf32(speed)
    with torch.device("meta"):
        model = Gpt3(config.model, config.data.length)
    engine = parallelize(model, layout(config), config.parallel, ctx.world, dtype=Precision.of(speed).parameters,
                         compiled=speed.compile == "step")
    optimizer = begin(config, ctx, model)
    schedule = build_schedule(config)
    clip = NormClip(model.parameters(), config.optimizer.clip_norm)
    return Supervised(
        world=ctx.world, plan=ctx.plan, speed=speed, model=model, engine=engine,
        loss=Loss(config.global_batch_size * (config.data.length - 1), ctx.world), optimizer=optimizer,
        schedule=Applied(schedule, optimizer), batches=TrainBatches(ctx.store, config, ctx.seeds, ctx.world.data),
        evaluation=LogPerplexity(engine, config, ctx, speed),
        synthetic=lambda: synthetic_batches(config, ctx.world.data),
        hyperparameters=hyperparameters(config, optimizer, schedule, clip),
        initialised=[name for name, _ in model.named_parameters()], after_backward=clip)


def begin(config: Gpt3Config, ctx: Context, model: Gpt3) -> AdamW:
    """Write weights and moments of the starting checkpoint and return the optimizer.

    A manifest without one (of a data set that is only described) leaves weights as they are drawn and moments at zero.
    """
    described = (name for name in ctx.store.metadata.files if name.startswith(f"{START}/") and name.endswith(METADATA))
    listed = next(described, None)
    if listed is None or not config.model.start:
        initialise(model, config, ctx.seeds)
        return build_optimizer(config.optimizer, model)
    start = Checkpoint(ctx.store.weights(listed).parents[1])
    for name, parameter in model.named_parameters():
        if not parameter.is_meta:
            write(parameter, torch.from_numpy(start.weight(name)))
    optimizer = build_optimizer(config.optimizer, model)
    load_moments(start, model, optimizer, config.schedule.start_sequences / config.data.start_batch)
    return optimizer


def load_moments(start: Checkpoint, model: Gpt3, optimizer: AdamW, steps: float) -> None:
    """Both moments of every parameter, and how many steps made them."""
    for name, parameter in model.named_parameters():
        state = optimizer.state[parameter]
        state["step"].fill_(steps)
        for which in MOMENTS:
            if (how := held(parameter)) is not None:
                mark(state[which], how)
            if not parameter.is_meta:
                write(state[which], torch.from_numpy(start.moment(which, name)))


@torch.no_grad()
def initialise(model: Gpt3, config: Gpt3Config, seeds: Seeds) -> None:
    """Normal weights, zero biases, norms of scale 1 (whose weight is 0). Whole tensors, drawn by name on the CPU."""
    with torch.device("meta"):
        whole = dict(Gpt3(config.model, config.data.length).named_parameters())
    for name, parameter in model.named_parameters():
        if parameter.is_meta:
            continue
        drawn = torch.zeros(whole[name].shape, device="cpu")
        if drawn.ndim > 1:
            drawn.normal_(0.0, config.model.initial_std, generator=seeds.torch(f"init {name}"))
        write(parameter, drawn)


def build_optimizer(config: OptimizerConfig, model: torch.nn.Module) -> AdamW:
    """AdamW over every parameter, norms and biases included (rules, hyperparameter table)."""
    return AdamW(model.parameters(), learning_rate=config.base_learning_rate, betas=(config.beta1, config.beta2),
                 epsilon=config.epsilon, weight_decay=config.weight_decay)


def build_schedule(config: Gpt3Config) -> WarmedCosine:
    """Sequences as steps of this batch, rounded up (rules, hyperparameter table)."""
    schedule, batch = config.schedule, config.global_batch_size
    return WarmedCosine(config.optimizer.base_learning_rate, config.optimizer.end_learning_rate,
                        warmup_steps=ceil(schedule.warmup_sequences / batch),
                        decay_steps=ceil(schedule.decay_sequences / batch),
                        start=ceil(schedule.start_sequences / batch))


def losses(model: torch.nn.Module, micro: Micro, world: World) -> torch.Tensor:
    """Cross entropy of this process's positions, 0 where nothing is to be predicted."""
    positions = own_positions(micro.tokens.shape[1], world.context)
    scores = model(micro.tokens[:, positions], positions)
    return cross_entropy(scores, micro.labels[:, positions], world.tensor)


@dataclass(frozen=True)
class Loss:
    """The mean over the `predicted` tokens of a global batch: micro-batches and ranks add up to it.

    All windows ask for equally many, so this is also the mean of the means of micro-batches (reference).
    """

    predicted: int
    world: World

    def __call__(self, model: torch.nn.Module, micro: Micro) -> torch.Tensor:
        return losses(model, micro, self.world).sum() / self.predicted


class LogPerplexity:
    """Mean cross entropy over every token of the validation set (`loop.Evaluation`)."""

    def __init__(self, engine: Engine, config: Gpt3Config, ctx: Context, speed: Speed) -> None:
        self.engine, self.config, self.world = engine, config, ctx.world
        self.batches = EvalBatches(ctx.store, config, ctx.world.data)
        self.precision = Precision.of(speed)
        self.losses = torch.compile(losses) if speed.compile == "step" and engine.whole else losses

    def __call__(self) -> Mapping[str, float]:
        total, count = self.engine.sums(self._sums, self.batches).tolist()
        return {"eval_accuracy": total / count}

    def warm_up(self) -> None:
        self.engine.sums(self._sums, [synthetic(self.config, self.config.data.eval_batch_size, self.world)])

    def _sums(self, model: torch.nn.Module, micro: Micro) -> torch.Tensor:
        """(sum of losses, how many)."""
        with torch.autocast(self.world.device.type, dtype=self.precision.autocast,
                            enabled=self.precision.autocast is not None):
            each = self.losses(model, micro, self.world)
        counted = micro.labels[:, own_positions(micro.labels.shape[1], self.world.context)] >= 0
        return torch.stack([each.double().sum(), counted.sum().double()])


def hyperparameters(config: Gpt3Config, optimizer: AdamW, schedule: WarmedCosine, clip: NormClip) -> dict[str, Json]:
    """Our names for what the log says, from the live objects; batch and length are the configuration's own."""
    group = optimizer.param_groups[0]
    return {
        "global_batch_size": config.global_batch_size,
        "gradient_accumulation_steps": config.parallel.accumulation_steps,
        "max_sequence_length": config.data.length,
        "opt_name": "adam",  # rules: the name of AdamW
        "opt_base_learning_rate": schedule.base,
        "opt_end_learning_rate": schedule.end,
        "opt_learning_rate_decay_steps": schedule.decay_steps,
        "opt_learning_rate_warmup_steps": schedule.warmup_steps,
        "opt_learning_rate_decay_schedule": "cosine with linear warmup",
        "opt_adam_beta_1": group["betas"][0],
        "opt_adam_beta_2": group["betas"][1],
        "opt_adam_epsilon": group["eps"],
        "opt_weight_decay": group["weight_decay"],
        "opt_gradient_clip_norm": clip.limit,
        "init_checkpoint_step": schedule.start,
        "dropout": 0.0,  # the network has none
    }
