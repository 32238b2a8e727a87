"""What can be had without learning to draw what is asked: baselines that no honest target may lie within reach of.

Each takes an unlocked store and returns both metrics of some pictures for the evaluation captions.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch

from laptime.benchmark import Context
from laptime.events import Cadence, Plan, Point
from laptime.suite.stable_diffusion.autoencoder import Autoencoder
from laptime.suite.stable_diffusion.clip import Clip
from laptime.suite.stable_diffusion.config import StableDiffusionConfig
from laptime.suite.stable_diffusion.data import sizes
from laptime.suite.stable_diffusion.evaluate import Pictures, judging_networks
from laptime.suite.stable_diffusion.reader import Evaluated, unpacked
from laptime.suite.stable_diffusion.train import build_model, build_text
from laptime.training.data.shards import Shards
from laptime.training.data.store import Store
from laptime.training.distributed.world import World
from laptime.training.metrics.frechet import FeatureMoments, frechet_distance
from laptime.training.metrics.mean import Mean
from laptime.training.seeds import Seeds
from laptime.training.speed import resolve

LEARNT_FROM, RIDGE = 1000, 1e-3  # training pictures of the linear baselines, and what keeps them solvable
ALONE = World(0, 1, torch.device("cpu"))
Draw = Callable[[torch.Tensor, np.ndarray], torch.Tensor]  # captions (N, L), their numbers -> pictures (N, 3, H, W)


class Judges:
    """The frozen networks, and both metrics of what a method draws."""

    def __init__(self, config: StableDiffusionConfig, store: Store) -> None:
        self.config, self.store = config, store
        plan = Plan(1, Point(1, "epochs"), Cadence("epochs", (1,)), sizes(config, store.metadata))
        self.ctx = Context(ALONE, store, Seeds(0), plan, store.root)
        self.networks = judging_networks(config, self.ctx)
        coder = self.networks["autoencoder.pt"]
        assert isinstance(coder, Autoencoder)
        self.coder = coder

    @torch.no_grad()
    def metrics(self, draw: Draw) -> dict[str, float]:
        clip, features = self.networks["clip.pt"], self.networks["features.pt"]
        assert isinstance(clip, Clip)
        data, cosines = Evaluated(self.store, self.config, ALONE), Mean(ALONE)
        moments = FeatureMoments(ALONE, self.config.data.features)
        for numbers, captions in data.batches():
            pictures = draw(captions, numbers)
            moments.add(features(pictures))
            cosines.add(clip.similarity(pictures, captions))
        return {"FID": frechet_distance(moments.result(), data.real()), "CLIP": cosines.result()}

    @torch.no_grad()
    def training(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(pictures, captions) of the first training samples, through the autoencoder."""
        shards, chosen = Shards(self.store, "train"), np.arange(count)
        moments, captions = unpacked(self.config, [shards[int(i)] for i in chosen], shards, chosen)
        latents = torch.from_numpy(moments).chunk(2, 1)[0] * self.coder.scale
        return self.coder.decoded(latents), torch.from_numpy(captions.astype(np.int64))


def untrained_network(config: StableDiffusionConfig, store: Store) -> Mapping[str, float]:
    """Random weights: the last layer says zero."""
    judges = Judges(config, store)
    speed = resolve(config.speed, ALONE.device)
    model, text = build_model(config, judges.ctx, speed), build_text(config, judges.ctx, speed)
    pictures = Pictures(config, model, text, judges.ctx, speed)
    return judges.metrics(lambda captions, numbers: pictures(judges.coder, numbers, captions))


def mean_picture(config: StableDiffusionConfig, store: Store) -> Mapping[str, float]:
    """The mean of training pictures, always."""
    judges = Judges(config, store)
    mean = judges.training(500)[0].mean(0, keepdim=True)
    return judges.metrics(lambda captions, numbers: mean.expand(len(captions), -1, -1, -1))


def noise(config: StableDiffusionConfig, store: Store) -> Mapping[str, float]:
    """Decoded normal noise."""
    judges, generator = Judges(config, store), torch.Generator().manual_seed(1)
    shape = (config.autoencoder.latent, config.latent_side, config.latent_side)
    return judges.metrics(lambda captions, numbers: judges.coder.decoded(
        torch.randn(len(captions), *shape, generator=generator)))


def real_pictures_of_other_captions(config: StableDiffusionConfig, store: Store) -> Mapping[str, float]:
    """Training pictures in the order they come: a perfect FID."""
    judges = Judges(config, store)
    pictures, _ = judges.training(config.data.eval_samples)
    return judges.metrics(lambda captions, numbers: pictures[numbers])


def bag_of_words(config: StableDiffusionConfig, store: Store) -> Mapping[str, float]:
    """Pixels as a linear function of which words a caption holds, by least squares: words without an order."""
    judges = Judges(config, store)
    pictures, theirs = judges.training(LEARNT_FROM)
    words = _bags(theirs, config.text.vocabulary)
    weights = torch.linalg.lstsq(words.T @ words + RIDGE * torch.eye(words.shape[1], dtype=words.dtype),
                                 words.T @ pictures.flatten(1).double()).solution
    return judges.metrics(lambda captions, numbers: (_bags(captions, config.text.vocabulary) @ weights).to(
        pictures.dtype).unflatten(1, pictures.shape[1:]))


def plain_colour(config: StableDiffusionConfig, store: Store) -> Mapping[str, float]:
    """The mean colour that a bag of words expects, without any shape."""
    judges = Judges(config, store)
    pictures, theirs = judges.training(LEARNT_FROM)
    words = _bags(theirs, config.text.vocabulary)
    weights = torch.linalg.lstsq(words.T @ words + RIDGE * torch.eye(words.shape[1], dtype=words.dtype),
                                 words.T @ pictures.mean((2, 3)).double()).solution
    return judges.metrics(lambda captions, numbers: (_bags(captions, config.text.vocabulary) @ weights).to(
        pictures.dtype)[:, :, None, None].expand(-1, -1, *pictures.shape[2:]))


def _bags(captions: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """(N, vocabulary) normalised counts of words; start, end and padding do not count."""
    counts = torch.nn.functional.one_hot(captions, vocabulary).sum(1).double()
    counts[:, [0, vocabulary - 2, vocabulary - 1]] = 0
    return torch.nn.functional.normalize(counts, dim=1)


SHORTCUTS: dict[str, Callable[[StableDiffusionConfig, Store], Mapping[str, float]]] = {
    "untrained network": untrained_network,
    "mean picture": mean_picture,
    "noise": noise,
    "real pictures of other captions": real_pictures_of_other_captions,
    "bag of words": bag_of_words,
    "colour only": plain_colour,
}
