"""Columns held by two processes become all columns of each one's samples, gradients come back averaged; gathering."""

import json
import subprocess
import sys
from pathlib import Path

import torch

from laptime.training.distributed.exchange import Exchange, gathered
from laptime.training.distributed.world import World

RANK = '''
import json, sys
from pathlib import Path
import torch
from laptime.training.distributed.exchange import Exchange, gathered
from laptime.training.distributed.world import join, leave

world = join("cpu", timeout_s=60)
shares = ((1,), (0, 2))
everything = torch.arange(4 * 3 * 2, dtype=torch.float64).view(4, 3, 2)
held = everything[:, list(shares[world.rank])].clone().requires_grad_()
mine = Exchange(world, shares)(held)
(mine * mine).sum().backward()
found = {"mine": mine.tolist(), "gradient": held.grad.tolist(),
         "gathered": gathered(world, torch.tensor([world.rank, 7])).tolist()}
Path(sys.argv[1] + str(world.rank)).write_text(json.dumps(found))
leave(world)
'''


def test_two_processes_exchange_columns_for_samples_and_gradients_back(tmp_path):
    (tmp_path / "rank.py").write_text(RANK)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
               str(tmp_path / "rank.py"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (json.loads(Path(f"{tmp_path}/out{rank}").read_text()) for rank in range(2))
    everything = torch.arange(4 * 3 * 2, dtype=torch.float64).view(4, 3, 2)
    assert first["mine"] + second["mine"] == everything.tolist()
    assert first["gradient"] == everything[:, [1]].tolist()  # 2 x of the square, halved for two processes
    assert second["gradient"] == everything[:, [0, 2]].tolist()
    assert first["gathered"] == second["gathered"] == [0, 7, 1, 7]


def test_world_of_one_returns_its_argument():
    alone, values = World(0, 1, torch.device("cpu")), torch.ones(3, 2, 1)
    assert Exchange(alone, ((0, 1),))(values) is values
    assert gathered(alone, values) is values
