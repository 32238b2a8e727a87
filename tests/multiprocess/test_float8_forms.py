"""Float8 products under every way to spread a model: the losses of one process, up to what bfloat16 sums leave open."""

import forms
import pytest
import torch

from laptime.training.distributed.world import World

pytestmark = pytest.mark.seconds
STEPS = 3
OVERRIDES = ["speed.dtype=float8", "width=64", "optimizer=adam"]
ALWAYS = ["shard=2", "tensor=2 sequence=true"]  # products of whole weights and of parts; each form takes half a minute
OTHERS = ["data=2", "accumulation_steps=2", "shard=2 accumulation_steps=2 checkpointing=blocks", "tensor=2", "context=2",
          "pipeline=2 accumulation_steps=2", "pipeline=2 checkpointing=blocks"]


@pytest.fixture(scope="module")
def reference():
    torch.set_num_threads(1)
    alone = World(0, 1, torch.device("cpu"))
    return {name: forms.decoder_losses(alone, [f"speed.dtype={name}", *OVERRIDES[1:]], STEPS)
            for name in ("float8", "bfloat16")}


def worst(found, expected):
    return max(abs(a - b) / abs(b) for a, b in zip(found, expected, strict=True))


def test_losses_in_float8_are_not_those_in_bfloat16(reference):
    assert 1e-4 < worst(reference["float8"], reference["bfloat16"]) < 0.05


@pytest.mark.parametrize("form", [*ALWAYS, *(pytest.param(form, marks=pytest.mark.slow) for form in OTHERS)])
def test_losses_of_two_processes_stay_near_those_of_one(pair, reference, form):
    for found in pair.run("forms:decoder_losses", [*OVERRIDES, *(f"parallel.{one}" for one in form.split())], STEPS):
        assert worst(found, reference["float8"]) <= 1e-2
