"""Tensor and sequence parallelism put into a model, as its layout says: parameters cut in place, calls wrapped.

Modules keep their classes and parameters their names. Between the products of a layer, x is whole on every process;
with shared positions (`sequence`), x is this process's piece of them there, and gathered where a layer is entered.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import cast

import torch
from torch.nn import functional as F

from laptime.errors import InvalidConfiguration
from laptime.training.distributed.collectives import entered, gathered, scattered, sliced, summed
from laptime.training.distributed.layout import Layout, Split
from laptime.training.distributed.pieces import Cut
from laptime.training.distributed.world import World
from laptime.training.nn import float8

POSITIONS = 1  # the dimension of positions in x


@dataclass
class Divided:
    """What was done: the cut of each cut parameter, and parameters whose gradients must be summed over the world."""

    cuts: dict[str, Cut] = field(default_factory=dict)
    partial: set[str] = field(default_factory=set)


def matching(model: torch.nn.Module, pattern: str) -> Iterator[tuple[str, torch.nn.Module]]:
    """Modules of a dotted name in which `*` stands for one name. Raises InvalidConfiguration when there is none."""
    expression = re.compile(re.escape(pattern).replace(r"\*", r"[^.]+"))
    found = [(name, module) for name, module in model.named_modules() if expression.fullmatch(name)]
    if not found:
        raise InvalidConfiguration(f"expected modules '{pattern}', as the model's layout says, found none",
                                   hint="Correct the layout beside the model.")
    yield from found


def split(model: torch.nn.Module, layout: Layout, world: World, *, sequence: bool) -> Divided:
    """Divide the layers of `model` over `world` in place. `sequence`: divide positions between them."""
    done = Divided()
    if world.size == 1:
        return done
    for one in layout.splits:
        for name, module in matching(model, one.modules):
            _divide_counts(name, module, one, world)
            _apply(name, module, one, world, sequence, done)
    return done


def share_positions(embedding: torch.nn.Module, world: World) -> None:
    """From here on x has this process's positions only."""
    embedding.register_forward_hook(lambda module, arguments, x: sliced(x, world, POSITIONS))


def _apply(name: str, module: torch.nn.Module, one: Split, world: World,  # noqa: PLR0917
           sequence: bool, done: Divided) -> None:
    match one.style:
        case "enter":
            module.register_forward_pre_hook(_entering(world, sequence))
        case "columns":
            for tensors in (module._parameters, module._buffers):
                _cut(name, tensors, Cut(world, 0, one.parts), done)
        case "rows":
            _cut(name, module._parameters, Cut(world, 1, one.parts), done)
            module.forward = _by_rows(cast(torch.nn.Linear, module), world, sequence)
            done.partial |= {f"{name}.bias"} if sequence and module._parameters.get("bias") is not None else set()
        case "vocabulary":
            _cut(name, module._parameters, Cut(world, 0), done)
            module.forward = _by_words(cast(torch.nn.Embedding, module), world)
        case "sequence" if not sequence:
            pass
        case "sequence" | "partial":
            done.partial |= {f"{name}.{key}" for key, value in module._parameters.items() if value is not None}


def _cut(name: str, tensors: dict, cut: Cut, done: Divided) -> None:
    """Keep a part of every tensor of a module that has the dimension."""
    for key, whole in tensors.items():
        if whole is None or whole.ndim <= cut.dim:
            continue
        if whole.shape[cut.dim] % (cut.parts * cut.world.size):
            raise InvalidConfiguration(
                f"expected dimension {cut.dim} of {name}.{key} divisible by {cut.parts} x parallel.tensor = "
                f"{cut.world.size}, found {whole.shape[cut.dim]}", hint="Choose another parallel.tensor.")
        part = cut.of(whole.detach())
        if isinstance(whole, torch.nn.Parameter):
            tensors[key] = torch.nn.Parameter(part, requires_grad=whole.requires_grad)
            done.cuts[f"{name}.{key}"] = cut
        else:
            tensors[key] = part


def _divide_counts(name: str, module: torch.nn.Module, one: Split, world: World) -> None:
    for count in one.counts:
        whole = getattr(module, count)
        if whole % world.size:
            raise InvalidConfiguration(f"expected {name}.{count} divisible by parallel.tensor = {world.size}, found "
                                       f"{whole}", hint="Choose another parallel.tensor.")
        setattr(module, count, whole // world.size)


def _entering(world: World, sequence: bool) -> Callable[[torch.nn.Module, tuple], tuple]:
    def hook(module: torch.nn.Module, arguments: tuple) -> tuple:
        x, *others = arguments
        return gathered(x, world, POSITIONS) if sequence else entered(x, world), *others

    return hook


def _by_rows(module: torch.nn.Linear, world: World, sequence: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    def forward(x: torch.Tensor) -> torch.Tensor:
        product = module.product(x) if isinstance(module, float8.Linear) else F.linear(x, module.weight)
        y = scattered(product, world, POSITIONS) if sequence else summed(product, world)
        return y if module.bias is None else y + module.bias

    return forward


def _by_words(module: torch.nn.Embedding, world: World) -> Callable[[torch.Tensor], torch.Tensor]:
    def forward(words: torch.Tensor) -> torch.Tensor:
        here = words - world.rank * len(module.weight)
        mine = (here >= 0) & (here < len(module.weight))
        found = F.embedding(here.clamp(0, len(module.weight) - 1), module.weight)
        return summed(torch.where(mine[..., None], found, 0.0), world)

    return forward
