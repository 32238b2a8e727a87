"""What `laptime bench` measures of this benchmark: training steps beside torch's own modules, at their best.

The peer is the same network of torch's convolutions and batch norms with torch's fused SGD, eager or compiled, in the
dtype that ours has. How fast the games are played is measured by `playouts.py`.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from laptime.config import Json, override
from laptime.errors import UserError
from laptime.suite.minigo.config import MinigoConfig, full, mini
from laptime.suite.minigo.examples import Destination, synthetic
from laptime.suite.minigo.features import COUNT
from laptime.suite.minigo.published import described
from laptime.training.distributed.world import World
from laptime.training.speed import Precision, can_compile, resolve

Step = Callable[[], None]
FULL_BATCH, SMALL_BATCH = {"cuda": 4096}, 64  # a step of the full network takes about half a second on two CPU cores


def full_case(device: torch.device) -> MinigoConfig:
    """The 19x19 network, on accelerators at the reference's batch."""
    batch = FULL_BATCH.get(device.type, SMALL_BATCH)
    return override(full(), [f"global_batch_size={batch}", "norm_span=64"])


def mini_case(device: torch.device) -> MinigoConfig:
    """As it is run."""
    return mini()


class Peer(nn.Module):
    """The dual network in torch's modules."""

    def __init__(self, config: MinigoConfig) -> None:
        super().__init__()
        model, points = config.model, config.game.size ** 2
        self.tower = nn.Sequential(_layer(COUNT[model.planes], model.width, 3), nn.ReLU(),
                                   *(Residual(model.width) for _ in range(model.blocks)))
        self.policy = nn.Sequential(_layer(model.width, 2, 1), nn.ReLU(), nn.Flatten(),
                                    nn.Linear(2 * points, points + 1))
        self.value = nn.Sequential(_layer(model.width, 1, 1), nn.ReLU(), nn.Flatten(),
                                   nn.Linear(points, model.value_hidden), nn.ReLU(), nn.Linear(model.value_hidden, 1))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.tower(x)
        return self.policy(x), torch.tanh(self.value(x)).squeeze(1)


class Residual(nn.Module):
    """Two layers and the way around them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_layer(width, width, 3), nn.ReLU(), _layer(width, width, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.body(x))


def _layer(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding="same", bias=False), nn.BatchNorm2d(outputs))


def peer(config: MinigoConfig, device: torch.device, *, compiled: bool, memory_format: torch.memory_format) -> Step:
    """One whole training step on a batch that stays. Raises UserError without a C compiler."""
    if compiled and not can_compile():
        raise UserError("no C compiler found: the compiled peer is left out")
    precision = Precision.of(resolve(config.speed, device))
    model = Peer(config).train().to(device, precision.parameters)
    model = model.to(memory_format=memory_format)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=config.optimizer.momentum,
                                weight_decay=config.optimizer.weight_decay, fused=True)
    to = Destination(World(0, 1, device), precision.parameters, memory_format)
    batch = synthetic(config, config.global_batch_size, to)

    def loss() -> torch.Tensor:
        scores, values = model(batch.planes)
        return F.cross_entropy(scores.float(), batch.policy.float()) \
            + config.optimizer.value_cost * F.mse_loss(values.float(), batch.outcome.float())

    forward = torch.compile(loss, dynamic=False) if compiled else loss

    def step() -> None:
        with torch.autocast(device.type, dtype=precision.autocast, enabled=precision.autocast is not None):
            value = forward()
        value.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def facts(config: MinigoConfig) -> Mapping[str, Json]:
    """What the manifest of this configuration's data says."""
    return described(config)



def feed(samples: int) -> MinigoConfig:
    """A generation of mini, played and trained on once; its games are what the run's data are."""
    return override(mini(), ["data.window=1", "data.start_generations=1", "data.passes=1",
                             "data.opponent=untrained", "data.start_low=0", "data.start_high=1",
                             f"data.games={max(8, samples // 8)}", "global_batch_size=16", "norm_span=16"])


CASES: Mapping[str, Callable[[torch.device], MinigoConfig]] = {"mini": mini_case, "full": full_case}
FACTS = facts
FORMATS = {"channels last": torch.channels_last, "contiguous": torch.contiguous_format}
PEERS: Mapping[str, Callable[[MinigoConfig, torch.device], Step]] = {
    f"torch, {how}, {name}": partial(peer, compiled=how == "compiled", memory_format=memory_format)
    for how in ("eager", "compiled") for name, memory_format in FORMATS.items()}
FEEDS: Mapping[str, Callable[[int], MinigoConfig]] = {"mini self-play": feed}
