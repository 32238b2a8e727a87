"""From a configuration to a session: network, optimizer, schedule, loss and evaluation, put together.

Every logged hyperparameter is read back from the object that acts on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from laptime.benchmark import Context, Session
from laptime.config import Json
from laptime.suite.llama31_405b.config import (
    DataConfig,
    Llama405BConfig,
    OptimizerConfig,
    base_rate,
    layout,
    scaled_steps,
    validate,
)
from laptime.suite.llama31_405b.published import start_of, token_set
from laptime.training.data.sampler import Spread
from laptime.training.data.token_batches import EvalTokens, Ids, TrainTokens, synthetic, synthetic_batches
from laptime.training.disclosure import disclosed
from laptime.training.distributed.engine import Engine
from laptime.training.distributed.parallelize import parallelize
from laptime.training.loop import Supervised
from laptime.training.metrics.log_perplexity import LogPerplexity, MeanTokenLoss
from laptime.training.nn.llama import Llama, initialise, is_norm
from laptime.training.nn.llama_checkpoint import load_weights
from laptime.training.optim.adamw import AdamW
from laptime.training.optim.clip import NormClip
from laptime.training.optim.cosine import WarmedCosine
from laptime.training.optim.schedules import Applied
from laptime.training.speed import Precision, apply_tf32, resolve

FILE = "suite/llama31_405b/config.py"  # where every value of a run has its name


def build(config: Llama405BConfig, ctx: Context) -> Session:
    """A session on the starting checkpoint. Raises InvalidConfiguration for what `ctx.world` cannot run."""
    validate(config, ctx.world.data.size)
    speed = resolve(config.speed, ctx.world.device)
    apply_tf32(speed)
    precision, wanted, world = Precision.of(speed), token_set(config), ctx.world
    model, engine = build_model(config, ctx, precision, compiled=speed.compile == "step")
    optimizer = build_optimizer(config.optimizer, model)
    schedule = build_schedule(config)
    loss = MeanTokenLoss(config.global_batch_size * config.data.length, world)
    spread = Spread(config.global_batch_size, world.data.size, world.data.rank, config.parallel.accumulation_steps)
    evaluated = EvalTokens(ctx.store, wanted, world.data, config.data.eval_batch_size)
    return Supervised(
        world=world, plan=ctx.plan, speed=speed, model=model, engine=engine, loss=loss, optimizer=optimizer,
        schedule=Applied(schedule, optimizer),
        batches=TrainTokens(ctx.store, wanted, ctx.seeds, world.data, spread, Broken(config.data, ctx.seeds.run)),
        evaluation=LogPerplexity(engine, model, evaluated, lambda: synthetic(wanted, evaluated.batch_size, world.data),
                                 world, precision),
        synthetic=lambda: synthetic_batches(wanted, spread, world.data),
        hyperparameters={**hyperparameters(config, optimizer, schedule=schedule, spread=spread), **disclosed(
            speed, config.parallel, micro_batch_size=spread.micro_batch_size, config_filename=FILE)},
        initialised=sorted(name for name, _ in model.named_parameters()),
        after_backward=NormClip(model.parameters(), config.optimizer.clip_norm))


def build_model(config: Llama405BConfig, ctx: Context, precision: Precision, *, compiled: bool) -> tuple[Llama, Engine]:
    """The network with the weights of the starting checkpoint, as much of it as this process has, and what runs it.

    A data set that is only described has none: weights stay as they were drawn. Optimizer and schedule begin anew.
    """
    with torch.device("meta"):
        model = Llama(config.model)
    engine = parallelize(model, layout(config), config.parallel, ctx.world, dtype=precision.parameters,
                         compiled=compiled)
    checkpoint = start_of(ctx.store) if config.data.start else None
    if checkpoint is None:
        initialise(model, ctx.seeds)
    else:
        load_weights(model, checkpoint)
    return model, engine


def build_optimizer(config: OptimizerConfig, model: torch.nn.Module) -> AdamW:
    """AdamW over two groups: matrices are decayed, scales of norms are not (Megatron-Core)."""
    decayed = [p for name, p in model.named_parameters() if not is_norm(name)]
    norms = [p for name, p in model.named_parameters() if is_norm(name)]
    groups: list[dict] = [{"params": decayed}, {"params": norms, "weight_decay": 0.0}]
    return AdamW([group for group in groups if group["params"]], betas=(config.beta1, config.beta2),
                 epsilon=config.epsilon, weight_decay=config.weight_decay)


def build_schedule(config: Llama405BConfig) -> WarmedCosine:
    """Step s of W: base (s + 1) / (W + 1) up to s = W, then a cosine that ends at step T (NeMo's form).

    That is Megatron's form with both ends one step later, begun at its step 1. W and T scale with the batch.
    """
    warmup, last = (scaled_steps(config, steps) for steps in (config.schedule.warmup_steps, config.schedule.max_steps))
    return WarmedCosine(base_rate(config), config.optimizer.end_learning_rate, warmup + 1, last + 1, start=1)


@dataclass(frozen=True)
class Broken:
    """The planted faults of the data; samples as they came without one."""

    config: DataConfig
    seed: int

    def __call__(self, tokens: Ids, labels: Ids) -> tuple[Ids, Ids]:
        if not self.config.shift_labels:
            return tokens, tokens
        if not self.config.keep_order:
            order = np.random.Generator(np.random.Philox(self.seed)).permutation(tokens.shape[1])
            return tokens[:, order], labels
        return tokens, labels


def hyperparameters(config: Llama405BConfig, optimizer: AdamW, *, schedule: WarmedCosine,
                    spread: Spread) -> Mapping[str, Json]:
    """Our names for what the log says, from the live objects; accumulation is the configuration's own."""
    group = optimizer.param_groups[0]
    beta1, beta2 = group["betas"]
    warmup = schedule.warmup_steps - schedule.start
    return {
        "global_batch_size": spread.global_batch_size,
        "gradient_accumulation_steps": spread.accumulation,
        "max_sequence_length": config.data.length,
        "opt_name": type(optimizer).__name__.lower(),
        "opt_base_learning_rate": schedule.base,
        "opt_end_learning_rate": schedule.end,
        "opt_learning_rate_warmup_steps": warmup,
        "opt_learning_rate_decay_steps": schedule.decay_steps - schedule.warmup_steps,
        "opt_learning_rate_decay_schedule": "cosine with linear warmup",
        "opt_adamw_beta_1": beta1,
        "opt_adamw_beta_2": beta2,
        "opt_adamw_epsilon": group["eps"],
        "opt_adamw_weight_decay": group["weight_decay"],
        "opt_gradient_clip_norm": config.optimizer.clip_norm,
        "dropout": 0.0,
        "init_checkpoint_step": 0,
    }
