"""The dual network: a residual tower with a head for moves and one for the value (Silver et al. 2017; the reference).

Convolution, batch norm, ReLU; residual blocks of two; 1x1 convolutions to 2 and 1 channels before the dense layers.
Batch norm of the heads neither scales nor shifts. `Frozen` is the same function with batch norm folded away.
"""

from collections.abc import Mapping

import torch
from torch.nn import functional as F

from laptime.suite.minigo.config import ModelConfig
from laptime.suite.minigo.features import COUNT
from laptime.training.distributed.world import World
from laptime.training.nn.batch_norm import SpanBatchNorm2d

Tensors = Mapping[str, torch.Tensor]


class Layer(torch.nn.Module):
    """Convolution and batch norm; `scaled`: whether the norm has scale and shift."""

    def __init__(self, config: ModelConfig, channels: tuple[int, int], kernel: int, norm: "Norm", scaled: bool) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(*channels, kernel, padding=kernel // 2, bias=config.convolution_bias)
        self.norm = norm(channels[1])
        for parameter in self.norm.parameters():
            parameter.requires_grad_(scaled)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x))


class Norm:
    """Makes the batch norms of one network."""

    def __init__(self, config: ModelConfig, span: int, world: World) -> None:
        self.config, self.span, self.world = config, span, world

    def __call__(self, features: int) -> SpanBatchNorm2d:
        return SpanBatchNorm2d(features, self.span, self.world, momentum=self.config.norm_momentum,
                               epsilon=self.config.norm_epsilon)


class Block(torch.nn.Module):
    """Two layers and the way around them."""

    def __init__(self, config: ModelConfig, norm: Norm) -> None:
        super().__init__()
        width = (config.width, config.width)
        self.first, self.second = (Layer(config, width, 3, norm, True) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.second(F.relu(self.first(x), inplace=True))
        return F.relu(y.add_(x), inplace=True)  # no gradient needs what a batch norm returned


class DualNetwork(torch.nn.Module):
    """(B, planes, N, N) -> scores of moves (B, N * N + 1) and values for Black (B,) in [-1, 1]."""

    def __init__(self, config: ModelConfig, size: int, span: int, world: World) -> None:
        super().__init__()
        norm, points = Norm(config, span, world), size * size
        self.entry = Layer(config, (COUNT[config.planes], config.width), 3, norm, True)
        self.blocks = torch.nn.Sequential(*(Block(config, norm) for _ in range(config.blocks)))
        self.policy = Layer(config, (config.width, 2), 1, norm, False)
        self.moves = torch.nn.Linear(2 * points, points + 1)
        self.value = Layer(config, (config.width, 1), 1, norm, False)
        self.hidden = torch.nn.Linear(points, config.value_hidden)
        self.outcome = torch.nn.Linear(config.value_hidden, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.blocks(F.relu(self.entry(x), inplace=True))
        policy, value = self._heads(x)
        scores = self.moves(policy.permute(0, 2, 3, 1).flatten(1))  # the reference's order: channels last
        value = F.relu(self.hidden(value.permute(0, 2, 3, 1).flatten(1)))
        return scores, torch.tanh(self.outcome(value)).squeeze(1)

    def _heads(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 2, N, N) and (B, 1, N, N): the first layers of both heads."""
        both = pointwise(x, *(joined(self.policy.conv, self.value.conv)))
        policy, value = (part.contiguous(memory_format=torch.channels_last) for part in both.split([2, 1], 1))
        return F.relu(self.policy.norm(policy), inplace=True), F.relu(self.value.norm(value), inplace=True)

    def layers(self) -> list[Layer]:
        """Convolutions with their norms in the reference's order."""
        blocks = [layer for block in self.blocks if isinstance(block, Block) for layer in (block.first, block.second)]
        return [self.entry, *blocks, self.policy, self.value]

    def dense(self) -> list[torch.nn.Linear]:
        return [self.moves, self.hidden, self.outcome]


def joined(*convolutions: torch.nn.Conv2d) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Weights and biases of convolutions 1x1 of the same input as those of one."""
    biases = [one.bias for one in convolutions if one.bias is not None]
    return torch.cat([one.weight for one in convolutions]), torch.cat(biases) if biases else None


def pointwise(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """A convolution 1x1 as one matrix product: kernels for convolutions are slow where few channels come out."""
    return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)


@torch.no_grad()
def initialise(model: DualNetwork, generator: torch.Generator) -> None:
    """Glorot uniform kernels, zero biases, norms at 1 and 0 (TensorFlow 1's defaults)."""
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.xavier_uniform_(module.weight, generator=generator)
            if module.bias is not None:
                module.bias.zero_()


def reference_tensors(model: DualNetwork) -> dict[str, torch.Tensor]:
    """Live tensors by the reference's names; kernels are stored there with the outputs last (`transposed`)."""
    found: dict[str, torch.Tensor] = {}
    for number, layer in enumerate(model.layers()):
        end = f"_{number}" if number else ""
        found[f"conv2d{end}/kernel"] = layer.conv.weight
        if layer.conv.bias is not None:
            found[f"conv2d{end}/bias"] = layer.conv.bias
        norm = f"batch_normalization{end}"
        if layer.norm.weight.requires_grad:
            found |= {f"{norm}/gamma": layer.norm.weight, f"{norm}/beta": layer.norm.bias}
        found |= {f"{norm}/moving_mean": layer.norm.running_mean, f"{norm}/moving_variance": layer.norm.running_var}
    for number, linear in enumerate(model.dense()):
        end = f"_{number}" if number else ""
        found |= {f"dense{end}/kernel": linear.weight, f"dense{end}/bias": linear.bias}
    return found


def initialised_names(model: DualNetwork) -> list[str]:
    """Names of the tensors that initialisation draws or sets, and the counter of steps (published logs)."""
    return [*(name for name in reference_tensors(model) if "/moving_" not in name), "global_step"]


def transposed(tensor: torch.Tensor) -> torch.Tensor:
    """A kernel between (out, in, h, w) or (out, in) and the reference's (h, w, in, out) or (in, out); others as are."""
    if tensor.dim() == 4:
        return tensor.permute(2, 3, 1, 0)
    return tensor.t() if tensor.dim() == 2 else tensor


def untransposed(tensor: torch.Tensor) -> torch.Tensor:
    """The way back."""
    if tensor.dim() == 4:
        return tensor.permute(3, 2, 0, 1)
    return tensor.t() if tensor.dim() == 2 else tensor


class Frozen:
    """A copy of the network for play: running statistics folded into the convolutions, no gradients."""

    def __init__(self, model: DualNetwork) -> None:
        *self.tower, policy, value = (_folded(layer) for layer in model.layers())
        self.heads = [torch.cat(pair) for pair in zip(policy, value, strict=True)]
        self.dense = [(linear.weight.detach().clone(), linear.bias.detach().clone()) for linear in model.dense()]

    @torch.no_grad()
    def __call__(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, planes, N, N) -> probabilities (B, N * N + 1), values for Black (B,)."""
        x = F.conv2d(x, *self.tower[0], padding=1).relu_()
        for first, second in zip(self.tower[1::2], self.tower[2::2], strict=True):
            x = F.conv2d(F.conv2d(x, *first, padding=1).relu_(), *second, padding=1).add_(x).relu_()
        both = pointwise(x, *self.heads).permute(0, 2, 3, 1).relu_()
        policy, value = both[..., :2].flatten(1), both[..., 2:].flatten(1)
        value = F.linear(F.relu(F.linear(value, *self.dense[1])), *self.dense[2])
        return F.linear(policy, *self.dense[0]).softmax(1), torch.tanh(value).squeeze(1)


@torch.no_grad()
def _folded(layer: Layer) -> tuple[torch.Tensor, torch.Tensor]:
    norm, conv = layer.norm, layer.conv
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.epsilon)
    shift = norm.running_mean if conv.bias is None else norm.running_mean - conv.bias
    weight = (conv.weight * scale[:, None, None, None]).contiguous()  # play is the same however the weights lie
    return weight, norm.bias - shift * scale
