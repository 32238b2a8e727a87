"""Both metrics of a checkpoint: pictures are made from captions, then compared with real ones and with their captions.

Off the clock. Every rank makes the pictures of its share of the captions; what is summed over ranks are statistics, so
both values are those of all pictures on every rank. The frozen networks that only judge are loaded for the evaluation.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from laptime.benchmark import Context
from laptime.config import Speed
from laptime.suite.stable_diffusion.autoencoder import Autoencoder
from laptime.suite.stable_diffusion.clip import Clip, TextTower
from laptime.suite.stable_diffusion.config import StableDiffusionConfig
from laptime.suite.stable_diffusion.diffusion import guided, sampled
from laptime.suite.stable_diffusion.published import load_network, networks
from laptime.suite.stable_diffusion.reader import Evaluated, sample_keys
from laptime.training.metrics.frechet import FeatureMoments, frechet_distance
from laptime.training.metrics.mean import Mean
from laptime.training.nn.keyed_noise import KeyedNoise
from laptime.training.speed import Precision


class Pictures:
    """Pictures from captions by the network that is trained."""

    def __init__(self, config: StableDiffusionConfig, model: nn.Module, text: TextTower, ctx: Context,
                 speed: Speed) -> None:
        self.config, self.model, self.text, self.world = config, model, text, ctx.world
        self.key, self.precision = ctx.seeds.number("sampling"), Precision.of(speed)
        side = config.latent_side
        self.noise = KeyedNoise("sample", config.autoencoder.latent, side, side).to(ctx.world.device)
        self.empty = empty_caption(config)

    @torch.no_grad()
    def __call__(self, coder: Autoencoder, numbers: np.ndarray, captions: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) in [0, 1] of captions (N, L), whose noise follows from the run's seed and their numbers."""
        keys = torch.from_numpy(sample_keys(self.key, numbers)).to(self.world.device)
        noise = self.noise(keys, self.precision.parameters)
        context = self.text.context(captions)
        without = self.text.context(self.empty.to(captions.device)).expand_as(context)
        velocity = guided(self._velocity, context, without, self.config.sampling.guidance)
        return coder.decoded(sampled(self.config.diffusion, self.config.sampling.steps, noise, velocity))

    def _velocity(self, seen: torch.Tensor, levels: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        dtype = self.precision.autocast
        with torch.autocast(self.world.device.type, dtype=dtype, enabled=dtype is not None):
            found: torch.Tensor = self.model(seen, levels, context)
        return found


def empty_caption(config: StableDiffusionConfig) -> torch.Tensor:
    """(1, L): start and end, the last two numbers of the vocabulary."""
    numbers = torch.zeros(1, config.text.length, dtype=torch.int64, device="cpu")
    numbers[0, :2] = torch.tensor([config.text.vocabulary - 2, config.text.vocabulary - 1], device="cpu")
    return numbers


class FIDAndCLIP:
    """Fréchet distance and mean cosine of all evaluation captions' pictures (`loop.Evaluation`)."""

    def __init__(self, config: StableDiffusionConfig, pictures: Pictures, ctx: Context) -> None:
        self.config, self.pictures, self.ctx = config, pictures, ctx

    def warm_up(self) -> None:
        """No clock runs over an evaluation, so nothing need be warm."""

    @torch.no_grad()
    def __call__(self) -> Mapping[str, float]:
        judges = judging_networks(self.config, self.ctx)
        coder, clip, features = judges["autoencoder.pt"], judges["clip.pt"], judges["features.pt"]
        assert isinstance(coder, Autoencoder)
        assert isinstance(clip, Clip)
        world, data = self.ctx.world, Evaluated(self.ctx.store, self.config, self.ctx.world)
        moments, cosines = FeatureMoments(world, self.config.data.features), Mean(world)
        was_training = self.pictures.model.training
        self.pictures.model.eval()
        for numbers, captions in data.batches():
            pictures = self.pictures(coder, numbers, captions)
            moments.add(features(pictures))
            cosines.add(clip.similarity(pictures, captions))
        self.pictures.model.train(was_training)
        return {"FID": frechet_distance(moments.result(), data.real()), "CLIP": cosines.result()}


def judging_networks(config: StableDiffusionConfig, ctx: Context) -> dict[str, nn.Module]:
    """The frozen networks with their weights, on the device. Raises DataProblem."""
    judges = networks(config)
    for name, module in judges.items():
        load_network(module, ctx.store.weights(name))
        module.eval().requires_grad_(False).to(ctx.world.device)
    return judges
