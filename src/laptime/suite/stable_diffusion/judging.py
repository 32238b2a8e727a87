"""Makes the networks that define the mini target, once: their files in `judges/` belong to the repository.

    python -m laptime.suite.stable_diffusion.judging --to FOLDER [features] [clip] [autoencoder]

One thread, float32, fixed seeds, pictures of a seed of their own. Files hold half-precision numbers less their last
bits under the names of published files; a run reads copies of them from its data set. The committed autoencoder came
from other settings than those here (README): it is replaced only together with the target that was set with it.
"""

import argparse
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from laptime.errors import DataProblem
from laptime.suite.stable_diffusion.autoencoder import Autoencoder
from laptime.suite.stable_diffusion.clip import Clip, initialise
from laptime.suite.stable_diffusion.config import StableDiffusionConfig, mini
from laptime.suite.stable_diffusion.features import PictureFeatures
from laptime.suite.stable_diffusion.pictures import learnt_merges, picture
from laptime.suite.stable_diffusion.text import BytePairs
from laptime.training.seeds import Seeds

FOLDER = Path(__file__).with_name("judges")
SEED = 20231115  # any fixed number
PICTURES, HELD_OUT = 8000, 500
SPARED_BITS = 3  # of the 11 significant ones of half precision
VARIANCE = 100.0  # of all features together
KL_WEIGHT = 1e-3  # of the latents' distance from a standard normal, beside the mean squared error
CLIP_STEPS, CLIP_BATCH, CLIP_RATE = 1500, 128, 1.5e-3
FEATURE_STEPS, FEATURE_BATCH, FEATURE_RATE = 800, 64, 2e-3
CODER_STEPS, CODER_BATCH, CODER_RATE = 1200, 32, 2e-3


class Examples:
    """Pictures (N, 3, H, W) in [0, 1], captions as numbers (N, L), labels (N, 5)."""

    def __init__(self, config: StableDiffusionConfig, first: int, count: int) -> None:
        made = [picture(config.data.side, SEED, first + i) for i in range(count)]
        vocabulary = BytePairs(learnt_merges())
        self.pictures = torch.from_numpy(np.stack([image for image, _ in made])).permute(0, 3, 1, 2).float() / 255
        self.numbers = torch.from_numpy(np.stack([vocabulary.encoded(scene.caption, config.text.length)
                                                  for _, scene in made])).long()
        self.labels = torch.tensor([scene.labels() for _, scene in made])

    def batches(self, size: int, steps: int, purpose: str) -> Iterator[torch.Tensor]:
        generator = Seeds(SEED).torch(purpose)
        for _ in range(steps):
            yield torch.randint(len(self.labels), (size,), generator=generator)


def fitted(model: nn.Module, loss: Callable[[torch.Tensor], torch.Tensor], batches: Iterator[torch.Tensor], steps: int,
           rate: float) -> None:
    """AdamW with a short warm-up and a cosine decay to nothing."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps + 1, pct_start=0.1)
    for step, chosen in enumerate(batches):
        value = loss(chosen)
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        if step % 100 == 0:
            sys.stdout.write(f"{type(model).__name__} step {step}: {value.item():.4f}\n")
            sys.stdout.flush()


def features_network(config: StableDiffusionConfig, train: Examples, test: Examples) -> PictureFeatures:
    model = PictureFeatures(config.data.features)

    def loss(chosen: torch.Tensor) -> torch.Tensor:
        scores = model.scores(train.pictures[chosen])
        return torch.stack([F.cross_entropy(s, train.labels[chosen, i]) for i, s in enumerate(scores)]).sum()

    fitted(model, loss, train.batches(FEATURE_BATCH, FEATURE_STEPS, "features"), FEATURE_STEPS, FEATURE_RATE)
    model.load_state_dict(_as_files_hold_it(model))  # what is scaled is what a file can hold
    _scale(model, train.pictures)
    with torch.no_grad():
        found = [s.argmax(1) for s in model.scores(test.pictures)]
        right = [float((one == test.labels[:, i]).float().mean()) for i, one in enumerate(found)]
    sys.stdout.write(f"features: accuracy of the heads {', '.join(f'{share:.3f}' for share in right)}\n")
    return model


@torch.no_grad()
def _scale(model: PictureFeatures, pictures: torch.Tensor) -> None:
    """Multiply the features so that their variances add up to `VARIANCE`; what the heads say of them stays the same."""
    found = torch.cat([model(part) for part in pictures.split(500)])
    factor = (VARIANCE / found.var(0).sum()).sqrt()
    model.last.weight.mul_(factor)
    model.last.bias.mul_(factor)
    for head in model.heads:
        assert isinstance(head, nn.Linear)
        head.weight.div_(factor)


def contrastive_network(config: StableDiffusionConfig, train: Examples, test: Examples) -> Clip:
    model = Clip(config.text, config.vision)
    initialise(model, Seeds(SEED).torch("clip"))
    with torch.no_grad():
        model.logit_scale.fill_(np.log(1 / 0.07))  # published

    def loss(chosen: torch.Tensor) -> torch.Tensor:
        images = F.normalize(model.embedded_images(train.pictures[chosen]), dim=1)
        words = F.normalize(model.embedded(train.numbers[chosen]), dim=1)
        same = (train.labels[chosen][:, None] == train.labels[chosen]).all(2)
        wanted = same.float() / same.sum(1, keepdim=True)
        logits = model.logit_scale.clamp(max=np.log(100)).exp() * images @ words.T
        return (F.cross_entropy(logits, wanted) + F.cross_entropy(logits.T, wanted)) / 2

    fitted(model, loss, train.batches(CLIP_BATCH, CLIP_STEPS, "contrastive"), CLIP_STEPS, CLIP_RATE)
    with torch.no_grad():
        real = model.similarity(test.pictures, test.numbers).mean()
        shuffled = model.similarity(test.pictures, test.numbers.roll(1, 0)).mean()
    sys.stdout.write(f"clip: cosine of real pairs {real:.3f}, of shuffled ones {shuffled:.3f}\n")
    return model


def coder_network(config: StableDiffusionConfig, train: Examples, test: Examples) -> Autoencoder:
    model, generator = Autoencoder(config.autoencoder), Seeds(SEED).torch("noise")

    def loss(chosen: torch.Tensor) -> torch.Tensor:
        pictures = train.pictures[chosen]
        mean, logarithm = model.moments(pictures).chunk(2, 1)
        noise = torch.randn(mean.shape, generator=generator)
        latents = mean + (0.5 * logarithm.clamp(-30, 20)).exp() * noise
        found = model.decoder(model.post_quant_conv(latents))
        divergence = 0.5 * (mean.square() + logarithm.exp() - 1 - logarithm).mean()
        return F.mse_loss(found, 2 * pictures - 1) + KL_WEIGHT * divergence

    fitted(model, loss, train.batches(CODER_BATCH, CODER_STEPS, "autoencoder"), CODER_STEPS, CODER_RATE)
    with torch.no_grad():
        latents = model.moments(test.pictures).chunk(2, 1)[0]
        error = (model.decoded(latents * model.scale) - test.pictures).square().mean()
    sys.stdout.write(f"autoencoder: PSNR {-10 * float(error.log10()):.2f} dB, standard deviation of means "
                     f"{float(latents.std()):.3f}, by channel {[round(float(x), 2) for x in latents.std((0, 2, 3))]}\n")
    return model


MAKERS: Mapping[str, Callable[[StableDiffusionConfig, Examples, Examples], nn.Module]] = {
    "features": features_network, "clip": contrastive_network, "autoencoder": coder_network}


def save(model: nn.Module, path: Path) -> None:
    """Tensors in half precision less its last bits, by name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, allow_pickle=False, **_halves(model))


def _halves(model: nn.Module) -> dict[str, NDArray[np.float16]]:
    return {name: _rounded(tensor.numpy().astype(np.float16)) for name, tensor in model.state_dict().items()}


def _as_files_hold_it(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(values.astype(np.float32)) for name, values in _halves(model).items()}


def _rounded(values: NDArray[np.float16]) -> NDArray[np.float16]:
    """To 8 significant bits, so that files compress better: half a unit is added, then the last bits are cut."""
    bits = np.atleast_1d(values).view(np.uint16) + np.uint16(1 << SPARED_BITS - 1)
    return (bits >> SPARED_BITS << SPARED_BITS).astype(np.uint16).view(np.float16).reshape(values.shape)


def shipped(name: str) -> dict[str, torch.Tensor]:
    """The tensors of a network of the repository, in single precision. Raises DataProblem."""
    try:
        with (FOLDER / f"{name}.npz").open("rb") as file, np.load(file, allow_pickle=False) as content:
            return {key: torch.from_numpy(content[key].astype(np.float32)) for key in content.files}
    except (OSError, ValueError, KeyError, EOFError, AttributeError, BadZipFile, zlib.error) as error:
        raise DataProblem(f"expected a network at {FOLDER / name}.npz, found other ({error})",
                          hint="Install laptime again.") from None


def make(name: str, folder: Path) -> None:
    """One network as a file in `folder`, the same whichever others were made before it in this process."""
    torch.manual_seed(SEED)  # noqa: TID251  initial weights of layers that torch draws by itself
    config = mini()
    train, test = Examples(config, 0, PICTURES), Examples(config, PICTURES, HELD_OUT)
    save(MAKERS[name](config, train, test), folder / f"{name}.npz")


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m laptime.suite.stable_diffusion.judging")
    parser.add_argument("names", nargs="*", help=f"of the networks, all by default: {', '.join(MAKERS)}")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="where the files go")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.names) - set(MAKERS):
        parser.error(f"expected names out of {', '.join(MAKERS)}, found '{min(unknown)}'")
    torch.set_num_threads(1)
    for name in chosen.names or MAKERS:
        make(name, chosen.to)


if __name__ == "__main__":
    main(sys.argv[1:])
