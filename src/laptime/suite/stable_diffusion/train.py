"""From a configuration to a session: model, optimizer, schedule, loss and evaluation, put together.

Every logged hyperparameter is read back from the object that acts on it.
"""

from collections.abc import Mapping

import torch
from torch import nn

from laptime.benchmark import Context, Session
from laptime.config import Json, Speed
from laptime.suite.stable_diffusion.clip import Clip, TextTower
from laptime.suite.stable_diffusion.config import OptimizerConfig, StableDiffusionConfig, validate
from laptime.suite.stable_diffusion.diffusion import Noising, drawn_latents
from laptime.suite.stable_diffusion.evaluate import FIDAndCLIP, Pictures
from laptime.suite.stable_diffusion.model import UNet, initialise
from laptime.suite.stable_diffusion.published import load_network
from laptime.suite.stable_diffusion.reader import Micro, TrainBatches, synthetic_batches
from laptime.training.checkpoints import Checkpoints
from laptime.training.loop import Supervised
from laptime.training.nn.keyed_noise import KeyedNoise
from laptime.training.optim.adamw import AdamW
from laptime.training.optim.schedules import Applied
from laptime.training.optim.warmup import Warmed
from laptime.training.speed import Precision, apply_tf32, resolve


def build(config: StableDiffusionConfig, ctx: Context) -> Session:
    """A session on random weights. Raises InvalidConfiguration for what `ctx.world` cannot run."""
    validate(config, ctx.world.size)
    speed = resolve(config.speed, ctx.world.device)
    apply_tf32(speed)
    model = build_model(config, ctx, speed)
    optimizer = build_optimizer(config.optimizer, model)
    schedule = Warmed(config.learning_rate, config.schedule.warmup_start, config.schedule.warmup_steps)
    text = build_text(config, ctx, speed)
    loss = Loss(config, text).to(ctx.world.device)
    pictures = Pictures(config, model, text, ctx, speed)
    return Supervised(
        world=ctx.world, plan=ctx.plan, speed=speed, model=model, loss=loss.__call__, optimizer=optimizer,
        schedule=Applied(schedule, optimizer), batches=TrainBatches(ctx.store, config, ctx.seeds, ctx.world),
        evaluation=FIDAndCLIP(config, pictures, ctx), synthetic=lambda: synthetic_batches(config, ctx.world),
        hyperparameters=hyperparameters(config, optimizer, schedule=schedule, loss=loss),
        initialised=[name for name, _ in model.named_parameters()],
        checkpoints=Checkpoints(ctx.world, model, ctx.scratch))


def build_model(config: StableDiffusionConfig, ctx: Context, speed: Speed) -> UNet:
    """The network with random weights on its device."""
    model = UNet(config.model, context=config.text.width, channels=config.autoencoder.latent)
    initialise(model, ctx.seeds.torch("init"))
    layout = torch.channels_last if speed.memory_format == "channels_last" else torch.contiguous_format
    return model.to(ctx.world.device, Precision.of(speed).parameters).to(memory_format=layout)  # type: ignore[call-overload]


def build_text(config: StableDiffusionConfig, ctx: Context, speed: Speed) -> TextTower:
    """The frozen text tower with its published weights.

    A manifest without them (of a data set that is only described) leaves the weights as they are.
    """
    tower = TextTower(config.text, config.vision.embedding)
    if "clip.pt" in ctx.store.metadata.files:
        clip = Clip(config.text, config.vision)
        load_network(clip, ctx.store.weights("clip.pt"))
        wanted = tower.state_dict()
        tower.load_state_dict({name: tensor for name, tensor in clip.state_dict().items() if name in wanted})
    return tower.eval().requires_grad_(False).to(ctx.world.device, Precision.of(speed).parameters)


def build_optimizer(config: OptimizerConfig, model: nn.Module) -> AdamW:
    """AdamW over every parameter of the network, norms and biases too (reference)."""
    return AdamW(model.parameters(), betas=(config.beta1, config.beta2), epsilon=config.epsilon,
                 weight_decay=config.weight_decay)


class Loss(nn.Module):
    """Mean squared error of the predicted velocity over all elements of the global batch.

    Latents and noise follow from each sample's key: micro-batches and ranks add up to the loss of the whole.
    """

    def __init__(self, config: StableDiffusionConfig, text: TextTower) -> None:
        super().__init__()
        shape = (config.autoencoder.latent, config.latent_side, config.latent_side)
        self.span, self.scale = config.global_batch_size, config.autoencoder.scale
        self.text, self.noising = text, Noising(config.diffusion)
        self.spread, self.noise = KeyedNoise("latent", *shape), KeyedNoise("noise", *shape)

    def forward(self, model: nn.Module, micro: Micro) -> torch.Tensor:
        dtype = self.text.positional_embedding.dtype
        with torch.no_grad():
            context = self.text.context(micro.captions)
            latents = drawn_latents(micro.moments.to(dtype), self.spread(micro.keys, dtype), self.scale)
            seen, wanted = self.noising(latents, self.noise(micro.keys, dtype), micro.levels)
        found = model(seen, micro.levels, context)
        wide = torch.promote_types(found.dtype, torch.float32)
        return (found.to(wide) - wanted.to(wide)).square().sum() / (self.span * wanted[0].numel())


def hyperparameters(config: StableDiffusionConfig, optimizer: AdamW, *, schedule: Warmed,
                    loss: Loss) -> Mapping[str, Json]:
    """Our names for what the log says, from the live objects; accumulation is the configuration's own.

    The logged rate is the scaled one, as in the reference's logs.
    """
    group = optimizer.param_groups[0]
    return {
        "global_batch_size": loss.span,
        "gradient_accumulation_steps": config.parallel.accumulation_steps,
        "opt_name": type(optimizer).__name__.lower(),
        "opt_adamw_beta_1": group["betas"][0],
        "opt_adamw_beta_2": group["betas"][1],
        "opt_adamw_epsilon": group["eps"],
        "opt_adamw_weight_decay": group["weight_decay"],
        "opt_base_learning_rate": schedule.base,
        "opt_learning_rate_warmup_steps": schedule.warmup_steps,
    }
