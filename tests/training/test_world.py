"""A world of one, and devices by name."""

import pytest
import torch

from laptime.errors import InvalidConfiguration
from laptime.training.distributed.replicate import gradient_exchange, replicate
from laptime.training.distributed.world import World, choose_device, join, leave

ALONE = World(0, 1, torch.device("cpu"))


@pytest.mark.parametrize("operation", [ALONE.sum, ALONE.broadcast, ALONE.sum_with_gradient])
def test_collectives_of_one_return_their_argument(operation):
    tensor = torch.arange(3.0)
    assert operation(tensor) is tensor
    assert tensor.tolist() == [0, 1, 2]


@pytest.mark.parametrize("verdict", [True, False])
def test_one_agrees_with_itself(verdict):
    assert ALONE.agree(verdict) is verdict


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_first_is_rank_zero(rank):
    assert World(rank, 4, torch.device("cpu")).first == (rank == 0)


def test_model_of_one_process_is_not_wrapped():
    model = torch.nn.Linear(2, 1)
    assert replicate(model, ALONE) is model
    for exchange in (True, False):
        with gradient_exchange(model, exchange=exchange):
            model(torch.ones(1, 2)).sum().backward()
    assert model.weight.grad.tolist() == [[2, 2]]


def test_peak_memory_of_this_process_is_that_of_a_python_with_torch():
    (peak,) = ALONE.peak_memory_bytes().values()
    assert 50e6 < peak < 1e12


def test_join_without_a_launcher_is_a_world_of_one(monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    world = join("cpu")
    assert world == ALONE
    world.barrier()
    world.synchronise()
    leave(world)


@pytest.mark.parametrize("name", ["warp", "cuda:99", "", "cpu:x", "meta me"])
def test_device_that_is_not_there_is_one_line(name):
    with pytest.raises(InvalidConfiguration, match="cannot be used here") as error:
        choose_device(name)
    assert "\n" not in str(error.value)
    assert "laptime doctor" in error.value.hint


def test_auto_device_can_compute():
    assert float(torch.ones(2, device=choose_device("auto")).sum()) == 2
