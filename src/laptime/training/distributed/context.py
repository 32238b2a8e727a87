"""Context parallelism: the positions of a sample over processes (Llama 3: Grattafiori et al. 2024, section 3.3.2).

Each of c processes holds two pieces of 2 c, one early and its mirror image: with causal attention all work equally.
"""

import torch

from laptime.training.distributed.collectives import gathered
from laptime.training.distributed.layout import CHUNKS
from laptime.training.distributed.world import World


def own_positions(length: int, world: World) -> torch.Tensor:
    """The positions (length / size), on the device, that this process of `world` (a context world) computes."""
    positions = torch.arange(length, device=world.device)
    if world.size == 1:
        return positions
    pieces = positions.chunk(CHUNKS * world.size)
    return torch.cat([pieces[world.rank], pieces[-1 - world.rank]])


def in_order(x: torch.Tensor, world: World, dim: int) -> torch.Tensor:
    """Own positions of x along `dim` -> those of the whole sample, in order. Gradients of all processes add up."""
    if world.size == 1:
        return x
    pieces = gathered(x, world, dim).chunk(CHUNKS * world.size, dim)
    return torch.cat([*pieces[::2], *reversed(pieces[1::2])], dim)
