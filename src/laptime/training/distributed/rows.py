"""Rows of numbers that each process has a different number of, known to all processes."""

from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from laptime.training.distributed.exchange import gathered
from laptime.training.distributed.world import World

Number = TypeVar("Number", bound=np.generic)


def all_rows(world: World, rows: NDArray[Number]) -> NDArray[Number]:
    """The rows of all processes, rank after rank; shape beyond the first dimension and type are equal on all.

    They travel as bytes, padded to the longest share.
    """
    if world.size == 1:
        return rows
    counts = gathered(world, torch.tensor([len(rows)], device=world.device)).tolist()
    width = rows.dtype.itemsize * int(np.prod(rows.shape[1:], dtype=np.int64))
    longest = max(counts) * width
    if not longest:
        return rows
    mine = torch.zeros(longest, dtype=torch.uint8)
    mine[:len(rows) * width] = torch.from_numpy(np.ascontiguousarray(rows).reshape(-1).view(np.uint8))
    shares = gathered(world, mine.to(world.device)).cpu().numpy().reshape(world.size, longest)
    whole = np.concatenate([share[:count * width] for share, count in zip(shares, counts, strict=True)])
    return whole.view(rows.dtype).reshape(-1, *rows.shape[1:])
