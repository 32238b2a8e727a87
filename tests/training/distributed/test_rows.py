"""Rows of different numbers on every process, known to all."""

import sys

import numpy as np
import pytest
import torch

from laptime.training.distributed.rows import all_rows
from laptime.training.distributed.world import World


def test_rows_of_one_process_are_its_own():
    rows = np.arange(6).reshape(3, 2)
    assert all_rows(World(0, 1, torch.device("cpu")), rows) is rows


@pytest.mark.parametrize(("kind", "shape"), [("float32", (3,)), ("uint8", (2, 2)), ("int64", ())])
@pytest.mark.parametrize("counts", [(2, 3), (0, 1), (4, 0), (0, 0)])
def test_rows_travel_as_they_are(monkeypatch, kind, shape, counts):
    """The exchange itself is a stand-in that plays both processes in turn."""
    shares = [np.random.default_rng(rank).integers(0, 9, (count, *shape)).astype(kind) for rank, count in enumerate(counts)]
    sent = {0: [], 1: []}

    def exchange(world, values):
        sent[world.rank].append(values)
        other = sent[1 - world.rank]
        if len(other) < len(sent[world.rank]):  # what the other process will send
            width = shares[0].dtype.itemsize * int(np.prod(shape, dtype=int))
            mine = shares[1 - world.rank]
            content = torch.tensor([len(mine)]) if len(sent[world.rank]) == 1 else torch.zeros(max(counts) * width, dtype=torch.uint8)
            if len(sent[world.rank]) == 2:
                content[:mine.nbytes] = torch.from_numpy(mine.reshape(-1).view(np.uint8))
            pair = [values, content] if world.rank == 0 else [content, values]
        return torch.cat(pair)

    monkeypatch.setattr(sys.modules[all_rows.__module__], "gathered", exchange)
    for rank in (0, 1):
        sent[0], sent[1] = [], []
        found = all_rows(World(rank, 2, torch.device("cpu")), shares[rank])
        assert found.dtype == np.dtype(kind)
        assert np.array_equal(found, np.concatenate(shares))
