"""Start weights of the backbone: the published ones of an ImageNet classifier, or, for generated data, those of a small
classifier of single objects trained here. Untimed, while data is prepared; the file holds weights and norm statistics.
"""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from laptime.errors import DataProblem
from laptime.suite.retinanet.config import ModelConfig, RetinaNetConfig
from laptime.suite.retinanet.model import Backbone, features
from laptime.suite.retinanet.scenes import single
from laptime.training.optim.adam import Adam
from laptime.training.seeds import Seeds
from laptime.training.threads import one_thread

PUBLISHED = "resnext50_32x4d-7cdf4587.pth"  # the reference's; the digits are the first of its SHA-256
TEST_SHARE = 6  # one picture in so many is kept for measuring
PICTURES_KEY = 1 << 32  # of the generator: other pictures than those of the data set

Tensors = dict[str, torch.Tensor]


def published_backbone(config: ModelConfig, source: Path, target: Path) -> None:
    """Check the published file and keep what the backbone needs of it. Raises DataProblem."""
    path = source / PUBLISHED
    expected = path.stem.rpartition("-")[2]
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise DataProblem(f"expected start weights of the backbone at {path}, found no such file",
                          hint="Download the file of this name from PyTorch's model zoo.") from None
    if not found.startswith(expected):
        raise DataProblem(f"expected a SHA-256 that begins with {expected} of {path}, found {found[:len(expected)]}",
                          hint="Download this file again.")
    keep(config, _loaded(path), path, target)


def keep(config: ModelConfig, tensors: Tensors, path: Path, target: Path) -> None:
    """Write those of `tensors` that a backbone has to `target`. Raises DataProblem naming what is missing."""
    with torch.device("meta"):
        wanted = Backbone(config).state_dict()
    _check(wanted, tensors, path)
    torch.save({name: tensors[name] for name in wanted}, target)


def load_backbone(backbone: Backbone, path: Path) -> None:
    """Fill a backbone with start weights. Raises DataProblem for a file of another network."""
    tensors = _loaded(path)
    _check(backbone.state_dict(), tensors, path)
    backbone.load_state_dict(tensors)


def _loaded(path: Path) -> Tensors:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, LookupError, TypeError, ValueError, EOFError, AttributeError,
            pickle.UnpicklingError) as error:
        raise DataProblem(f"expected tensors at {path}, found other ({type(error).__name__})", hint=_AGAIN) from None
    if not isinstance(content, dict):
        raise DataProblem(f"expected named tensors at {path}, found other", hint=_AGAIN)
    return content


_AGAIN = "Make the data again: `laptime prepare --force`."


def _check(wanted: Tensors, found: Tensors, path: Path) -> None:
    for name, tensor in wanted.items():
        if name not in found:
            raise DataProblem(f"expected a tensor '{name}' in {path}, found none", hint=_AGAIN)
        if found[name].shape != tensor.shape:
            raise DataProblem(f"expected '{name}' of shape {tuple(tensor.shape)} in {path}, found "
                              f"{tuple(found[name].shape)}", hint=_AGAIN)


class Classifier(torch.nn.Module):
    """A backbone with live batch norm, mean over the image, and one dense layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.body = Backbone(config, live=True)
        self.fc = torch.nn.Linear(features(config)[-1], config.classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(self.body(images)[-1].mean((2, 3)))


def train_backbone(config: RetinaNetConfig, target: Path, seed: int) -> float:
    """Train a classifier of single objects and write its backbone; returns its accuracy on pictures it has not seen.

    On one thread: equal wherever the arithmetic is. How far a run has to go depends on this start.
    Raises DataProblem when that lies outside the stated window: such a start would not be the one that runs expect.
    """
    images, labels = _pictures(config, seed)
    test = len(labels) // TEST_SHARE
    with one_thread():
        model = _trained(config, images[test:], labels[test:], Seeds(seed))
        accuracy = _accuracy(model, images[:test], labels[:test])
    low, high = config.pretrain.accuracy_low, config.pretrain.accuracy_high
    if not low <= accuracy <= high:
        raise DataProblem(f"expected start weights of accuracy {low:g} to {high:g}, found {accuracy:.3f}",
                          hint="Another torch or processor may need other pretrain settings.")
    keep(config.model, model.body.state_dict(), target, target)
    return accuracy


def _pictures(config: RetinaNetConfig, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """All single objects, normalised as training images are."""
    start, data = config.pretrain, config.data
    made = [single(data, config.model.classes, start.size, seed + PICTURES_KEY, i) for i in range(start.images)]
    pixels = torch.from_numpy(np.stack([image for image, _ in made])).float() / 255
    images = ((pixels - torch.tensor(data.mean)) / torch.tensor(data.std)).permute(0, 3, 1, 2)
    return images, torch.tensor([label for _, label in made])


def _trained(config: RetinaNetConfig, images: torch.Tensor, labels: torch.Tensor, seeds: Seeds) -> Classifier:
    start = config.pretrain
    model = Classifier(config.model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    _initialise(model, seeds.torch("backbone"))
    optimizer = Adam(model.train().parameters())
    shuffle = seeds.torch("backbone order")
    for step in range(start.steps):
        chosen = torch.randint(len(labels), (start.batch,), generator=shuffle)
        optimizer.rate.fill_(start.learning_rate * (1 - step / start.steps))
        F.cross_entropy(model(images[chosen]), labels[chosen]).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return model


@torch.no_grad()
def _initialise(model: Classifier, generator: torch.Generator) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
    model.fc.weight.normal_(0.0, 0.01, generator=generator)
    model.fc.bias.zero_()


@torch.no_grad()
def _accuracy(model: Classifier, images: torch.Tensor, labels: torch.Tensor) -> float:
    model.eval()
    found = torch.cat([model(part).argmax(1) for part in images.split(100)])
    return float((found == labels).double().mean())
