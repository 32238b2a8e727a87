"""What `laptime bench` measures of this benchmark, and the independent implementation beside it.

The peer is transformers' ResNetForImageClassification in its v1.5 form with torch's own SGD, fused, in both memory
formats, eager and compiled, in the dtype that ours has. It updates by plain SGD where our full preset computes LARS.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch.nn import functional as F

from laptime.config import Json, override
from laptime.errors import UserError
from laptime.suite.resnet.config import ResNetConfig, full, mini
from laptime.suite.resnet.data import synthetic_batches
from laptime.suite.resnet.model import EXPANSION
from laptime.training.distributed.world import World
from laptime.training.speed import Precision, can_compile, resolve

Step = Callable[[], None]
FULL_BATCH = {"cuda": 512}  # one accelerator with 80 GB or more in bfloat16
SMALL_BATCH = 8  # a step of the full network then takes a second or two on two CPU cores
RATE = 1e-3  # of the peer; what it learns does not matter


def full_case(device: torch.device) -> ResNetConfig:
    """The full network and images at a batch that one device holds."""
    batch = FULL_BATCH.get(device.type, SMALL_BATCH)
    return override(full(), [f"global_batch_size={batch}", f"model.norm_span={min(batch, 128)}"])


def mini_case(device: torch.device) -> ResNetConfig:
    """As it is run."""
    return mini()


def facts(config: ResNetConfig) -> Mapping[str, Json]:
    """What the manifest of this configuration's data says."""
    return {"train_samples": config.data.train_images, "eval_samples": config.data.eval_images,
            "classes": config.model.classes}


def mini_feed(images: int) -> ResNetConfig:
    """The generated images of mini, decoded anew in every epoch."""
    batch = min(64, images)
    return override(mini(), [f"data.train_images={images}", "data.eval_images=10", f"global_batch_size={batch}",
                             f"model.norm_span={batch}", "data.cache_bytes=0"])


def full_feed(images: int) -> ResNetConfig:
    """A few photographs' worth of pixels (375 to 500 on each side, the usual size of ILSVRC-2012), cropped to 224."""
    few = min(64, images)
    return override(mini_feed(few), ["data.crop=224", "data.eval_resize=256", "data.image_low=375",
                                     "data.image_high=500", "global_batch_size=16", "model.norm_span=16"])


def peer(config: ResNetConfig, device: torch.device, *, compiled: bool, memory_format: torch.memory_format) -> Step:
    """One whole training step on a batch that stays. Raises UserError without transformers or a C compiler."""
    if compiled and not can_compile():
        raise UserError("no C compiler found: the compiled peer is left out")
    precision = Precision.of(resolve(config.speed, device))
    model = network(config).train().to(device, precision.parameters)
    model = model.to(memory_format=memory_format)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=config.optimizer.momentum,
                                weight_decay=config.optimizer.weight_decay, fused=True)
    ((images, labels),) = next(synthetic_batches(config, World(0, 1, device))).micro
    images = images.to(dtype=precision.parameters, memory_format=memory_format)

    def loss(pictures: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(model(pictures).logits.float(), classes, label_smoothing=config.label_smoothing)

    forward = torch.compile(loss, dynamic=False) if compiled else loss

    def step() -> None:
        with torch.autocast(device.type, dtype=precision.autocast, enabled=precision.autocast is not None):
            value = forward(images, labels)
        value.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def network(config: ResNetConfig) -> torch.nn.Module:
    """transformers' network of the same sizes. Raises UserError without it."""
    try:
        from transformers import ResNetConfig as TheirConfig
        from transformers import ResNetForImageClassification
    except ImportError:
        raise UserError("the peer is the package transformers, of the extra dev: pip install 'laptime[dev]'") from None
    model = config.model
    outputs = [model.width * 2**i * EXPANSION for i in range(len(model.blocks))]
    their = TheirConfig(embedding_size=model.width, hidden_sizes=outputs, depths=list(model.blocks),
                        layer_type="bottleneck", downsample_in_bottleneck=False)
    their.num_labels = model.classes
    network: torch.nn.Module = ResNetForImageClassification(their)
    return network


CASES: Mapping[str, Callable[[torch.device], ResNetConfig]] = {"mini": mini_case, "full": full_case}
FACTS = facts
FORMATS = {"channels last": torch.channels_last, "contiguous": torch.contiguous_format}
PEERS: Mapping[str, Callable[[ResNetConfig, torch.device], Step]] = {
    f"transformers, {how}, {name}": partial(peer, compiled=how == "compiled", memory_format=memory_format)
    for how in ("eager", "compiled") for name, memory_format in FORMATS.items()}
FEEDS: Mapping[str, Callable[[int], ResNetConfig]] = {"mini images": mini_feed,
                                                      "375-500 pixel images at 224": full_feed}
