"""From a configuration to a session: network, optimizer, schedule, loss and evaluation, put together.

Every logged hyperparameter is read back from the object that acts on it.
"""

from collections.abc import Mapping

import torch

from laptime.benchmark import Context, Session
from laptime.config import Json
from laptime.suite.llama2_70b_lora.config import LoraConfig, OptimizerConfig, layout, validate
from laptime.suite.llama2_70b_lora.data import EvalBatches, TrainBatches, synthetic, synthetic_batches
from laptime.suite.llama2_70b_lora.loss import EvalLoss, MeanSampleLoss
from laptime.suite.llama2_70b_lora.model import AdaptedLlama, narrow
from laptime.suite.llama2_70b_lora.published import weights_of
from laptime.suite.llama2_70b_lora.weights import draw_adapters, draw_frozen, fill_constants, load_frozen
from laptime.training.data.sampler import Spread
from laptime.training.disclosure import disclosed
from laptime.training.distributed.engine import Engine
from laptime.training.distributed.parallelize import parallelize
from laptime.training.loop import Supervised
from laptime.training.optim.adamw import AdamW
from laptime.training.optim.clip import NormClip
from laptime.training.optim.cosine import WarmedCosine
from laptime.training.optim.schedules import Applied
from laptime.training.speed import Precision, apply_tf32, resolve

FILE = "suite/llama2_70b_lora/config.py"  # where every value of a run has its name


def build(config: LoraConfig, ctx: Context) -> Session:
    """A session on the frozen weights. Raises InvalidConfiguration for what `ctx.world` cannot run."""
    validate(config, ctx.world.data.size)
    speed = resolve(config.speed, ctx.world.device)
    apply_tf32(speed)
    precision, world = Precision.of(speed), ctx.world
    model, engine = build_model(config, ctx, precision, compiled=speed.compile == "step")
    optimizer = build_optimizer(config.optimizer, model)
    schedule = build_schedule(config)
    spread = Spread(config.global_batch_size, world.data.size, world.data.rank, config.parallel.accumulation_steps)
    return Supervised(
        world=world, plan=ctx.plan, speed=speed, model=model, engine=engine,
        loss=MeanSampleLoss(config.global_batch_size, world), optimizer=optimizer,
        schedule=Applied(schedule, optimizer),
        batches=TrainBatches(ctx.store, config.data, ctx.seeds, world.data, spread),
        evaluation=EvalLoss(engine, model, EvalBatches(ctx.store, config.data, world.data),
                            lambda: synthetic(config, config.data.eval_batch_size, world.data), world, precision),
        synthetic=lambda: synthetic_batches(config, spread, world.data),
        hyperparameters={**hyperparameters(config, optimizer, model=model, schedule=schedule, spread=spread),
                         **disclosed(speed, config.parallel, micro_batch_size=spread.micro_batch_size,
                                     config_filename=FILE)},
        initialised=sorted(name for name, parameter in model.named_parameters() if parameter.requires_grad),
        after_backward=NormClip(model.parameters(), config.optimizer.clip_norm))


def build_model(config: LoraConfig, ctx: Context, precision: Precision, *, compiled: bool) -> tuple[AdaptedLlama,
                                                                                                   Engine]:
    """The network, as much of it as this process has, and what runs it.

    Frozen weights are kept as they are multiplied (bfloat16 where that is the run's dtype), adapters as they are
    trained. A data set that is only described has no weights: they are drawn.
    """
    with torch.device("meta"):
        model = AdaptedLlama(config.model, config.adapter)
    model.to(precision.parameters)
    narrow(model, precision.autocast or precision.parameters)
    engine = parallelize(model, layout(config), config.parallel, ctx.world, compiled=compiled)
    checkpoint = weights_of(ctx.store) if config.data.start else None
    if checkpoint is None:
        draw_frozen(model, ctx.seeds)
    else:
        load_frozen(model, checkpoint)
    draw_adapters(model, ctx.seeds)
    fill_constants(model, ctx.world)
    return model, engine


def build_optimizer(config: OptimizerConfig, model: torch.nn.Module) -> AdamW:
    """AdamW over the adapters, all of them decayed."""
    return AdamW([one for one in model.parameters() if one.requires_grad], betas=(config.beta1, config.beta2),
                 epsilon=config.epsilon, weight_decay=config.weight_decay)


def build_schedule(config: LoraConfig) -> WarmedCosine:
    """Step s: base (1 + cos(pi s / max_steps)) / 2, without warm-up (transformers' cosine schedule)."""
    return WarmedCosine(config.optimizer.base_learning_rate, 0.0, 0, config.schedule.max_steps)


def hyperparameters(config: LoraConfig, optimizer: AdamW, *, model: AdaptedLlama, schedule: WarmedCosine,
                    spread: Spread) -> Mapping[str, Json]:
    """Our names for what the log says, from the live objects; accumulation is the configuration's own."""
    group = optimizer.param_groups[0]
    return {
        "global_batch_size": spread.global_batch_size,
        "gradient_accumulation_steps": spread.accumulation,
        "max_sequence_length": config.data.length,
        "opt_name": type(optimizer).__name__.lower(),
        "opt_base_learning_rate": schedule.base,
        "opt_learning_rate_training_steps": schedule.decay_steps,
        "opt_learning_rate_warmup_ratio": schedule.warmup_steps / schedule.decay_steps,
        "opt_adamw_weight_decay": group["weight_decay"],
        "opt_gradient_clip_norm": config.optimizer.clip_norm,
        "lora_rank": model.adapter.rank,
        "lora_alpha": model.adapter.alpha,
        "lora_dropout": model.adapter.dropout,
    }
