"""Checkpoints: the weights of one moment are put back for an evaluation, and those of now afterwards."""

from pathlib import Path

import pytest
import torch

from laptime.errors import DataProblem
from laptime.events import At
from laptime.training.checkpoints import Checkpoints
from laptime.training.distributed.world import World

ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture
def model():
    return torch.nn.BatchNorm1d(3)


def test_weights_and_buffers_of_the_moment_are_loaded_and_then_those_of_now(model, tmp_path):
    kept = Checkpoints(ALONE, model, tmp_path / "scratch")
    with torch.no_grad():
        model.weight.fill_(2.0)
        model.running_mean.fill_(5.0)
        path = kept.save(At(samples=640))
        model.weight.fill_(7.0)
    with kept.loaded(path):
        assert model.weight.tolist() == [2.0] * 3
        assert model.running_mean.tolist() == [5.0] * 3
    assert model.weight.tolist() == [7.0] * 3
    assert path.name == "640.pt"


def test_weights_of_now_come_back_after_an_error(model, tmp_path):
    kept = Checkpoints(ALONE, model, tmp_path)
    path = kept.save(At())
    with torch.no_grad():
        model.weight.fill_(7.0)
    with pytest.raises(ZeroDivisionError), kept.loaded(path):
        raise ZeroDivisionError
    assert model.weight.tolist() == [7.0] * 3


@pytest.mark.parametrize("content", [b"", b"junk"])
def test_damaged_checkpoint_is_named(model, tmp_path, content):
    (tmp_path / "1.pt").write_bytes(content)
    with pytest.raises(DataProblem, match=r"1\.pt"), Checkpoints(ALONE, model, tmp_path).loaded(Path(tmp_path / "1.pt")):
        pass
