"""What `laptime bench` measures of this benchmark, and the independent implementation beside it.

The peer is `plain.py` with torch's own Adam, fused, in both memory formats, eager and with the network compiled, in the
dtype that ours has. Its matching and loss loop over the images of a batch and depend on how many anchors match, so
they stay eager.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch

from laptime.config import Json, override
from laptime.errors import UserError
from laptime.suite.retinanet.config import RetinaNetConfig, full, mini
from laptime.suite.retinanet.data import synthetic_batches
from laptime.suite.retinanet.plain import PlainRetinaNet, plain_anchors, plain_loss
from laptime.training.distributed.world import World
from laptime.training.speed import Precision, can_compile, resolve

Step = Callable[[], None]
FULL_BATCH = {"cuda": 32}  # one accelerator with 80 GB or more in bfloat16
SMALL_SIZE = 256  # pixels: a step of the full network on two images then takes a second or two on two CPU cores
MOST_BOXES = 8  # of an image in the synthetic input


def full_case(device: torch.device) -> RetinaNetConfig:
    """The full network at a batch that one device holds; on a CPU two small images."""
    if device.type in FULL_BATCH:
        return override(full(), [f"global_batch_size={FULL_BATCH[device.type]}"])
    return override(full(), ["global_batch_size=2", f"data.size={SMALL_SIZE}", "data.eval_batch_size=1"])


def work() -> RetinaNetConfig:
    """Two images of the full size: what planning counts operations of."""
    return override(full(), ["global_batch_size=2", "data.eval_batch_size=1"])


def mini_case(device: torch.device) -> RetinaNetConfig:
    """As it is run."""
    return mini()


def facts(config: RetinaNetConfig) -> Mapping[str, Json]:
    """What the manifest of this configuration's data says; there are no start weights."""
    return {"train_samples": config.data.train_images, "eval_samples": config.data.eval_images,
            "classes": config.model.classes, "max_boxes": MOST_BOXES, "backbone": ""}


def mini_feed(images: int) -> RetinaNetConfig:
    """The generated images of mini, decoded anew in every epoch."""
    return override(mini(), [f"data.train_images={images}", "data.eval_images=10", "data.cache_bytes=0",
                             f"global_batch_size={min(8, images)}", "pretrain.steps=0"])


def full_feed(images: int) -> RetinaNetConfig:
    """A few photographs' worth of pixels (768 to 1,024 on each side, as Open Images has them), resized to 800."""
    few = min(32, images)
    return override(mini_feed(few), ["data.size=800", "data.image_low=768", "data.image_high=1024"])


def peer(config: RetinaNetConfig, device: torch.device, *, compiled: bool,
         memory_format: torch.memory_format) -> Step:
    """One whole training step on a batch that stays. Raises UserError without a C compiler."""
    if compiled and not can_compile():
        raise UserError("no C compiler found: the compiled peer is left out")
    precision = Precision.of(resolve(config.speed, device))
    model = PlainRetinaNet(config).to(device, precision.parameters)
    model = model.to(memory_format=memory_format)  # type: ignore[call-overload]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=config.optimizer.base_learning_rate, fused=True)
    (micro,) = next(synthetic_batches(config, World(0, 1, device), MOST_BOXES)).micro
    images = micro.images.to(dtype=precision.parameters, memory_format=memory_format)
    anchors = plain_anchors(config).to(device, precision.parameters)
    real = micro.labels >= 0
    boxes = [one[keep].to(anchors.dtype) for one, keep in zip(micro.boxes, real, strict=True)]
    labels = [one[keep] for one, keep in zip(micro.labels, real, strict=True)]
    network = torch.compile(model, dynamic=False) if compiled else model

    def step() -> None:
        with torch.autocast(device.type, dtype=precision.autocast, enabled=precision.autocast is not None):
            outputs = network(images)
            value = plain_loss(outputs, boxes, labels, anchors, config)
        value.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


CASES: Mapping[str, Callable[[torch.device], RetinaNetConfig]] = {"mini": mini_case, "full": full_case}
FACTS = facts
WORK = work
FORMATS = {"channels last": torch.channels_last, "contiguous": torch.contiguous_format}
PEERS: Mapping[str, Callable[[RetinaNetConfig, torch.device], Step]] = {
    f"plain PyTorch, {how}, {name}": partial(peer, compiled=how == "compiled", memory_format=memory_format)
    for how in ("eager", "compiled") for name, memory_format in FORMATS.items()}
FEEDS: Mapping[str, Callable[[int], RetinaNetConfig]] = {"mini images": mini_feed,
                                                         "768-1024 pixel images at 800": full_feed}
