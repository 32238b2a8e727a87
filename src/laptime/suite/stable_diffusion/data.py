"""Preparing data: the published files, or pictures generated in the same layout. Untimed; no run is in it."""

import hashlib
import io
import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from laptime.errors import DataProblem
from laptime.events import Sizes
from laptime.suite.stable_diffusion import published
from laptime.suite.stable_diffusion.autoencoder import Autoencoder
from laptime.suite.stable_diffusion.config import StableDiffusionConfig
from laptime.suite.stable_diffusion.judging import shipped
from laptime.suite.stable_diffusion.pictures import GENERATOR, Image, learnt_merges, picture
from laptime.suite.stable_diffusion.text import save_merges
from laptime.training.data.described import GENERATED, Count, check_described
from laptime.training.data.store import Manifest
from laptime.training.data.synth.draw import Stream
from laptime.training.data.tar_shards import TarSample, write_tar
from laptime.training.distributed.world import World
from laptime.training.metrics.frechet import FeatureMoments
from laptime.training.threads import one_thread

NAME = "laion-400m-filtered"
CAPTIONLESS = 1 << 40  # added to a picture's number: the stream that decides whether it has a caption
AT_A_TIME = 250  # pictures through a network
PSNR_LOW, PSNR_HIGH = 24.0, 40.0  # dB, window for what the shipped autoencoder makes of generated pictures


def prepare(config: StableDiffusionConfig, source: Path, root: Path) -> None:
    """Verify the published files under `source` (`published.py`) and reformat them into `root`. Raises DataProblem."""
    published.reformat(config, source, root, name=NAME, generator="published", facts={})


def recipe(config: StableDiffusionConfig) -> str:
    """What generated data was made by: another recipe makes another data set."""
    data = config.data
    return (f"{GENERATOR}, stable_diffusion 1, {data.train_samples} + {data.eval_samples} + {data.statistics_samples} "
            f"of {data.side} pixels in {data.shards} shards, {data.uncaptioned:g} without caption")


def generate(config: StableDiffusionConfig, root: Path, seed: int) -> None:
    """Draw pictures and write them, their captions and the repository's frozen networks in the published layout; then
    reformat them as `prepare` does. Raises DataProblem."""
    with tempfile.TemporaryDirectory(prefix="pictures-") as folder:
        source = Path(folder)
        digest, psnr = write_published(config, source, seed)
        published.reformat(config, source, root, name=NAME + GENERATED, generator=recipe(config), content_hash=digest,
                           facts={"psnr": round(psnr, 2)})


def sizes(config: StableDiffusionConfig, manifest: Manifest) -> Sizes:
    """Sample counts; the run gives up after `schedule.train_steps`.

    Raises DataProblem when the data set is not the one that the configuration describes.
    """
    data = config.data
    expected = {"data.train_samples": data.train_samples, "data.eval_samples": data.eval_samples,
                "latent_side": config.latent_side, "text.length": config.text.length}
    check_described(manifest, (Count(setting, count, manifest.count(setting.rpartition(".")[2]))
                               for setting, count in expected.items()), recipe(config))
    batch = config.global_batch_size
    if batch > data.train_samples:
        raise DataProblem(f"expected a global batch of {batch} samples, found {data.train_samples} for training",
                          hint="Make global_batch_size smaller.")
    return Sizes(data.train_samples, data.eval_samples, data.train_samples // batch * batch,
                 limit_samples=config.schedule.train_steps * batch)


def write_published(config: StableDiffusionConfig, source: Path, seed: int) -> tuple[str, float]:
    """The published layout with generated content; returns a hash of pictures and captions, and the autoencoder's PSNR.

    Raises DataProblem where that is out of its window: such latents would not be those that runs expect.
    """
    for folder in (published.TRAIN, *(str(Path(name).parent) for name in
                                      (published.CAPTIONS, *published.WEIGHTS.values()))):
        (source / folder).mkdir(parents=True, exist_ok=True)
    coder, features = _write_networks(config, source)
    save_merges(learnt_merges(), source / published.MERGES)
    digest = hashlib.blake2b(digest_size=16)
    with one_thread():
        for shard in range(config.data.shards):
            _write_shard(config, coder, source, seed=seed, shard=shard, digest=digest)
        psnr = _kept_by(coder, config, seed)
        _write_captions(config, source, seed, digest)
        _write_statistics(config, features, source, seed)
    if not PSNR_LOW <= psnr <= PSNR_HIGH:
        raise DataProblem(f"expected pictures through the autoencoder at {PSNR_LOW:g} to {PSNR_HIGH:g} dB, found "
                          f"{psnr:.1f}", hint="Another torch or processor may compute it otherwise; please report it.")
    return digest.hexdigest(), psnr


def _write_networks(config: StableDiffusionConfig, source: Path) -> tuple[Autoencoder, nn.Module]:
    """Put the repository's networks where the published ones lie; returns autoencoder and feature network."""
    made = published.networks(config)
    for kept, module in made.items():
        tensors = shipped(Path(kept).stem)
        module.load_state_dict(tensors)
        prefix = published.PREFIX if kept == "autoencoder.pt" else ""
        torch.save({"state_dict": {prefix + name: tensor for name, tensor in tensors.items()}} if prefix else tensors,
                   source / published.WEIGHTS[kept])
    coder = made["autoencoder.pt"]
    assert isinstance(coder, Autoencoder)
    return coder, made["features.pt"]


def _pictures(config: StableDiffusionConfig, seed: int, numbers: range) -> Iterator[tuple[list[Image], list[str]]]:
    """Pictures and captions, some at a time."""
    for start in range(numbers.start, numbers.stop, AT_A_TIME):
        made = [picture(config.data.side, seed, i) for i in range(start, min(start + AT_A_TIME, numbers.stop))]
        yield [image for image, _ in made], [scene.caption for _, scene in made]


def _tensor(images: Iterable[Image]) -> torch.Tensor:
    """(N, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.stack(list(images))).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def _write_shard(config: StableDiffusionConfig, coder: Autoencoder, source: Path, *, seed: int, shard: int,
                 digest: "hashlib.blake2b") -> None:
    """One tar file of samples."""
    numbers = range(*(i * config.data.train_samples // config.data.shards for i in (shard, shard + 1)))
    samples, number = [], numbers.start
    for images, captions in _pictures(config, seed, numbers):
        pictures = _tensor(images)
        moments = coder.moments(pictures)
        for image, caption, moment in zip(images, captions, moments.numpy(), strict=True):
            bare = Stream(seed, number + CAPTIONLESS).fraction() < config.data.uncaptioned
            text = "" if bare else caption
            digest.update(image.tobytes() + text.encode())
            samples.append(_sample(number, moment, text))
            number += 1
    write_tar(source / published.TRAIN / f"{shard:05d}.tar", samples)


@torch.no_grad()
def _kept_by(coder: Autoencoder, config: StableDiffusionConfig, seed: int) -> float:
    """The peak signal-to-noise ratio, in decibels, of the first pictures through the autoencoder."""
    images, _ = next(_pictures(config, seed, range(AT_A_TIME)))
    pictures = _tensor(images)
    found = coder.decoded(coder.moments(pictures).chunk(2, 1)[0] * coder.scale)
    return -10 * float((found - pictures).square().mean().log10())


def _sample(number: int, moment: np.ndarray, caption: str) -> TarSample:
    array = io.BytesIO()
    np.save(array, moment[None], allow_pickle=False)
    facts = json.dumps({"key": f"{number:09d}", "caption": caption}, sort_keys=True)
    return TarSample(f"{number:09d}", {"npy": array.getvalue(), "txt": caption.encode(), "json": facts.encode()})


def _write_captions(config: StableDiffusionConfig, source: Path, seed: int, digest: "hashlib.blake2b") -> None:
    """Captions of pictures that no training sample shows."""
    first = config.data.train_samples
    rows = ["image_id\tid\tcaption\n"]
    for _, captions in _pictures(config, seed, range(first, first + config.data.eval_samples)):
        rows += [f"{first + len(rows) - 1 + i}\t{len(rows) - 1 + i}\t{caption}\n" for i, caption in enumerate(captions)]
    digest.update("".join(rows).encode())
    (source / published.CAPTIONS).write_text("".join(rows), encoding="utf-8")


@torch.no_grad()
def _write_statistics(config: StableDiffusionConfig, features: nn.Module, source: Path, seed: int) -> None:
    """Mean and covariance of the features of the evaluation captions' pictures and others after them."""
    moments, first = FeatureMoments(World(0, 1, torch.device("cpu")), config.data.features), config.data.train_samples
    for images, _ in _pictures(config, seed, range(first, first + config.data.statistics_samples)):
        moments.add(features(_tensor(images)))
    real = moments.result()
    np.savez(source / published.STATISTICS, mu=real.mean.numpy(), sigma=real.covariance.numpy())
